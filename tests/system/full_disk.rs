//! A database on a full disk: adds are rejected, nothing acknowledged is lost, and writing resumes
//! when there is space again.
//!
//! One test mounts a small file system, which needs root, and is skipped where that is impossible.
//! The other limits the size of the daemon's files with `prlimit`.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::support::daemon::{DaemonHome, utf8};
use crate::support::fake_server::{FakeServer, JobEnd, JobScript};
use crate::support::{EVENT_TIMEOUT, FAST_POLLING_TOML, db};

/// A file system of 12 MB on a loop device; unmounted when dropped.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    /// `None`, with a message, where no file system can be mounted.
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let (image, mount_point) = (dir.path().join("image"), dir.path().join("disk"));
        fs::create_dir(&mount_point).expect("a mount point");
        let script = format!(
            "truncate -s 12M {0} && mkfs.ext4 -q -m 0 {0} && mount -o loop {0} {1}",
            image.display(),
            mount_point.display()
        );
        let mounted = Command::new("sh").args(["-ec", &script]).output().expect("a shell");
        if mounted.status.success() {
            return Some(Self { dir });
        }
        println!("skipped: no loop mount here: {}", utf8(&mounted.stderr));
        None
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("disk")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_14_a_full_disk_rejects_adds_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount() else { return };
    let dune = FakeServer::start().await;
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let config = fs::read_to_string(home.path("config.toml")).expect("the config");
    let state = home.path("state").display().to_string();
    let database = disk.path().join("state/jobtrack.db");
    home.write_config(&config.replace(&state, &disk.path().join("state").display().to_string()));
    let daemon = home.start();
    dune.add_job(
        "01ENDS",
        JobScript::starting_at_first_request()
            .running(Duration::from_secs(2))
            .ending_with(JobEnd::Completed),
    );
    dune.add_job(
        "01LONG",
        JobScript::new().running(Duration::from_hours(1)).ending_with(JobEnd::Completed),
    );
    home.run_client_ok(&["add", "dune", "01ENDS", "01LONG"]);
    dune.wait_for_requests_for("01LONG", 3, EVENT_TIMEOUT).await;
    let filler = fs::File::create(disk.path().join("filler")).expect("a file");
    while (&filler).write(&[0; 4096]).is_ok_and(|written| written > 0) {}

    let mut acknowledged = vec!["01ENDS".to_owned()];
    let mut error = String::new();
    for n in 0..20_000 {
        let id = format!("01FULL{n}");
        let added =
            home.run_client(&["add", "dune", &id, "--label", &format!("x={}", "x".repeat(200))]);
        if !added.status.success() {
            error = utf8(&added.stderr);
            break;
        }
        acknowledged.push(id);
    }
    assert!(error.contains("the database cannot grow or be written"), "{error}");
    let requests_before = dune.request_count_for_job("01LONG");
    dune.wait_for_requests_for("01LONG", requests_before + 10, EVENT_TIMEOUT).await;
    daemon.wait_for_status(&home, |status| status["degraded_reasons"][0].is_string()).await;
    fs::remove_file(disk.path().join("filler")).expect("the filler can be removed");
    drop(filler);
    assert!(home.run_client(&["wait", "1", "--timeout", "25s"]).status.success(), "{}", home.log());
    home.run_client_ok(&["add", "dune", "01AFTER"]);
    daemon
        .wait_for_status(&home, |status| {
            status["degraded_reasons"].as_array().is_some_and(Vec::is_empty)
        })
        .await;
    let stored = db::query_rows(&database, "SELECT remote_id FROM jobs");
    assert!(acknowledged.iter().all(|id| stored.contains(id)), "an acknowledged job is lost");
    assert_eq!(db::history_violations(&database), [""; 0]);
    home.wait_for_log("the database can be written again", 1);
    daemon.stop();
}

/// Sets the soft limit of the file size only, so that it can be raised again.
fn limit_file_size(pid: u32, bytes: &str) {
    let mut prlimit = Command::new("prlimit");
    prlimit.args([format!("--pid={pid}"), format!("--fsize={bytes}:")]);
    assert!(prlimit.status().expect("prlimit is installed").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_09_14_a_full_disk_rejects_adds_and_only_delays_the_history() {
    let dune = FakeServer::start().await;
    dune.add_job("A", JobScript::new().running(Duration::from_secs(9999)));
    dune.add_job("B", JobScript::new().running(Duration::from_secs(9999)));
    let home = DaemonHome::new(
        &dune.base_url(),
        "requests_per_minute = 6000\n[polling]\npolicy = \"backoff\"\nmax_interval = \"1s\"",
    );
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "A"]);
    dune.wait_for_requests_for("A", 2, EVENT_TIMEOUT).await;

    // Each commit appends to the WAL; from here on no file may grow.
    let wal_size = fs::metadata(home.path("state/jobtrack.db-wal")).expect("the WAL").len();
    limit_file_size(daemon.pid(), &wal_size.to_string());
    for _ in 0..4 {
        let rejected = home.run_client(&["add", "dune", "B"]);
        assert!(!rejected.status.success(), "an add was acknowledged on a full disk");
        let error = utf8(&rejected.stderr);
        assert!(error.contains("the database cannot grow or be written"), "{error}");
    }
    dune.add_job("A", JobScript::new().running(Duration::ZERO).ending_with(JobEnd::Completed));
    let read_status = || home.run_client_ok(&["--json", "status"]);
    let has_unwritten_change = |status: &String| status.contains(r#""unwritten_changes":1"#);
    let mut statuses = std::iter::repeat_with(read_status).take(3000);
    let status = statuses
        .find(has_unwritten_change)
        .expect("polling continues and its change is not written");
    assert!(
        status.contains("the database cannot grow or be written"),
        "the status does not report the full disk: {status}"
    );
    assert_eq!(
        db::query_rows(&home.database(), "SELECT remote_id, state FROM jobs"),
        ["A|running"]
    );

    // Without polls, the change can only be written from the daemon's memory.
    dune.pause().await;
    limit_file_size(daemon.pid(), "unlimited");
    home.run_client_ok(&["wait", "dune/A", "--timeout", "30s"]);
    home.run_client_ok(&["add", "dune", "B"]);
    let rows = "SELECT remote_id, terminal FROM jobs ORDER BY id";
    assert_eq!(db::query_rows(&home.database(), rows), ["A|1", "B|0"]);
    assert_eq!(db::history_violations(&home.database()), [""; 0]);
    assert!(daemon.stop().success());
}
