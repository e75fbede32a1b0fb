//! A database on a disk that is full, has reached a quota or became read-only: adds are rejected, nothing
//! acknowledged is lost, and writing resumes when that is possible again.
//!
//! Most tests mount a small file system, which needs root. The last one limits the size of the daemon's
//! files with `prlimit`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::loop_mount::LoopMount;
use crate::support::daemon::{Daemon, DaemonHome, path_arg, utf8};
use crate::support::fake_server::{FakeServer, JobEnd, JobScript};
use crate::support::{EVENT_TIMEOUT, FAST_POLLING_TOML, db, report_unavailable};

/// A daemon whose database is on this disk.
fn home_on_disk(disk: &LoopMount, dune: &FakeServer) -> DaemonHome {
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let config = fs::read_to_string(home.path("config.toml")).expect("the config");
    let state = path_arg(&home.path("state"));
    home.write_config(&config.replace(&state, &path_arg(&disk.path().join("state"))));
    home
}

/// Adds jobs until one is rejected. Returns the acknowledged jobs and the error.
fn add_until_rejected(home: &DaemonHome) -> (Vec<String>, String) {
    let mut acknowledged = Vec::new();
    for n in 0..20_000 {
        let id = format!("01FULL{n}");
        let added =
            home.run_client(&["add", "dune", &id, "--label", &format!("x={}", "x".repeat(200))]);
        if !added.status.success() {
            return (acknowledged, utf8(&added.stderr));
        }
        acknowledged.push(id);
    }
    panic!("the disk does not fill");
}

/// A file that takes all free space; removed when dropped.
struct Filler(PathBuf);

impl Filler {
    fn write(path: PathBuf) -> Self {
        let mut file = fs::File::create(&path).expect("a file");
        while file.write(&[0; 4096]).is_ok_and(|written| written > 0) {}
        Self(path)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        fs::remove_file(&self.0).expect("the filler can be removed");
    }
}

/// An `strace` that lets the daemon's writes to the database fail as a reached quota does, until it is
/// dropped.
struct QuotaInjection(Child);

impl QuotaInjection {
    fn attach(daemon: &Daemon, database: &Path) -> Self {
        let wal = format!("{}-wal", database.display());
        let mut strace = Command::new("strace")
            .args(["-f", "-p", &daemon.pid().to_string(), "-o", "/dev/null"])
            .args(["-P", &path_arg(database), "-P", &wal])
            .args(["-e", "inject=pwrite64:error=EDQUOT"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace is installed");
        let stderr = BufReader::new(strace.stderr.as_mut().expect("a pipe"));
        let attached = stderr.lines().map_while(Result::ok).any(|line| line.contains("attached"));
        assert!(attached, "strace cannot attach to the daemon");
        Self(strace)
    }
}

impl Drop for QuotaInjection {
    fn drop(&mut self) {
        // strace detaches from the daemon when it is interrupted.
        kill_process(Pid::from_child(&self.0), Signal::INT).expect("strace runs");
        self.0.wait().expect("strace exits");
    }
}

/// While the result of `fill` exists, adds are rejected and polling continues; afterwards everything is
/// written.
async fn assert_full_disk_only_delays<Full>(
    dune: &FakeServer,
    home: &DaemonHome,
    database: &Path,
    fill: impl FnOnce(&Daemon) -> Full,
) {
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
    let full_disk = fill(&daemon);
    let (acknowledged, error) = add_until_rejected(home);
    assert!(error.contains("the database cannot grow or be written"), "{error}\n{}", home.log());
    let requests_before = dune.request_count_for_job("01LONG");
    dune.wait_for_requests_for("01LONG", requests_before + 10, EVENT_TIMEOUT).await;
    daemon.wait_for_status(home, |status| status["degraded_reasons"][0].is_string()).await;
    drop(full_disk);
    assert!(home.run_client(&["wait", "1", "--timeout", "25s"]).status.success(), "{}", home.log());
    home.run_client_ok(&["add", "dune", "01AFTER"]);
    daemon
        .wait_for_status(home, |status| {
            status["degraded_reasons"].as_array().is_some_and(Vec::is_empty)
        })
        .await;
    let stored = db::query_rows(database, "SELECT remote_id FROM jobs");
    assert!(acknowledged.iter().all(|id| stored.contains(id)), "an acknowledged job is lost");
    assert!(stored.contains(&"01ENDS".to_owned()) && stored.contains(&"01AFTER".to_owned()));
    assert_eq!(db::history_violations(database), [""; 0]);
    home.wait_for_log("the database can be written again", 1);
    assert!(daemon.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_14_a_full_disk_rejects_adds_and_loses_nothing() {
    let Some(disk) = LoopMount::ext4() else { return };
    let dune = FakeServer::start().await;
    let home = home_on_disk(&disk, &dune);
    let fill = |_: &Daemon| Filler::write(disk.path().join("filler"));
    assert_full_disk_only_delays(&dune, &home, &disk.path().join("state/jobtrack.db"), fill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_15_an_exceeded_quota_rejects_adds_and_loses_nothing() {
    if Command::new("strace").arg("--version").stdout(Stdio::null()).status().is_err() {
        return report_unavailable("strace is not installed");
    }
    let dune = FakeServer::start().await;
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let database = home.database();
    let fill = |daemon: &Daemon| QuotaInjection::attach(daemon, &database);
    assert_full_disk_only_delays(&dune, &home, &database, fill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_14_a_backup_without_space_for_the_copy_names_the_directory_and_the_space() {
    let Some(disk) = LoopMount::ext4() else { return };
    let dune = FakeServer::start().await;
    let home = home_on_disk(&disk, &dune);
    let _daemon = home.start();
    let target = home.path("copy.db");
    let refused = home.run_client(&["backup", &path_arg(&target)]);
    let error = utf8(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{error}");
    let state = path_arg(&disk.path().join("state"));
    let needed = format!("inside {state}, whose file system needs 65 MiB of free space");
    assert!(error.contains(&needed), "{error}");
    let by_hand = format!("sqlite3 {state}/jobtrack.db '.backup FILE'");
    assert!(error.contains(&by_hand) && !error.contains("cannot be read"), "{error}");
    assert!(!target.exists());
}

/// Btrfs needs new space even for a change of SQLite's shared memory file. If it gets none, the kernel
/// ends the daemon (SIGBUS).
#[tokio::test(flavor = "multi_thread")]
async fn fault_15_a_quota_of_btrfs_loses_nothing_although_it_may_end_the_daemon() {
    let Some(disk) = LoopMount::btrfs_with_quota() else { return };
    let dune = FakeServer::start().await;
    let home = home_on_disk(&disk, &dune);
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "01FIRST"]);
    let filler = Filler::write(disk.path().join("state/filler"));
    let (mut acknowledged, _) = add_until_rejected(&home);
    acknowledged.push("01FIRST".into());
    disk.run("btrfs qgroup limit none disk/state");
    drop((filler, daemon));
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "01AFTER"]);
    let database = disk.path().join("state/jobtrack.db");
    let stored = db::query_rows(&database, "SELECT remote_id FROM jobs");
    assert!(acknowledged.iter().all(|id| stored.contains(id)), "an acknowledged job is lost");
    assert_eq!(db::query_value(&database, "PRAGMA integrity_check"), "ok");
    assert_eq!(db::history_violations(&database), [""; 0]);
    assert!(daemon.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_15_a_file_system_that_becomes_read_only_rejects_adds_and_loses_nothing() {
    let Some(disk) = LoopMount::ext4() else { return };
    let dune = FakeServer::start().await;
    let home = home_on_disk(&disk, &dune);
    let database = disk.path().join("state/jobtrack.db");
    dune.add_job("01LONG", JobScript::new().running(Duration::from_secs(9999)));
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "01LONG"]);
    dune.wait_for_requests_for("01LONG", 3, EVENT_TIMEOUT).await;
    // As after a damaged block: the kernel makes the file system read-only while files are open.
    disk.run("echo x > /sys/fs/ext4/$(basename $(findmnt -no SOURCE disk))/trigger_fs_error");

    let rejected = home.run_client(&["add", "dune", "01NEVER"]);
    assert!(!rejected.status.success(), "an add was acknowledged on a read-only disk");
    let error = utf8(&rejected.stderr);
    assert!(error.contains("the database cannot grow or be written"), "{error}");
    dune.add_job("01LONG", JobScript::new().running(Duration::ZERO).ending_with(JobEnd::Completed));
    daemon
        .wait_for_status(&home, |status| {
            status["degraded_reasons"][0].is_string() && status["unwritten_changes"] == 1
        })
        .await;
    assert_eq!(db::query_rows(&database, "SELECT remote_id, state FROM jobs"), ["01LONG|running"]);
    drop(daemon);
    let refused = home.run_daemon_to_exit(&[]);
    assert_eq!(refused.status.code(), Some(74), "{}", utf8(&refused.stderr));

    // A copy, since a container of another test may keep the file system mounted.
    disk.run(
        "umount disk; cp image repaired; e2fsck -fy repaired > /dev/null || test $? = 1;
         mount -o loop repaired disk",
    );
    let daemon = home.start();
    home.run_client_ok(&["wait", "dune/01LONG", "--timeout", "25s"]);
    assert_eq!(
        db::query_rows(&database, "SELECT remote_id, state FROM jobs"),
        ["01LONG|succeeded"]
    );
    assert_eq!(db::history_violations(&database), [""; 0]);
    assert!(daemon.stop().success());
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

    // The first page of the WAL no longer fits, wherever the next commit begins.
    limit_file_size(daemon.pid(), "4096");
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

    let waited = home.run_client(&["wait", "dune/A", "--timeout", "1s"]);
    let told = utf8(&waited.stderr);
    let notice = "changes are reported when they can be written: the database cannot grow";
    assert!(told.contains(notice), "{told}");

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

#[tokio::test(flavor = "multi_thread")]
async fn fault_14_a_cancel_on_a_full_disk_says_that_the_provider_has_accepted_it() {
    let dune = FakeServer::start().await;
    dune.add_job("A", JobScript::new().running(Duration::from_secs(9999)));
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "A"]);
    dune.wait_for_requests_for("A", 2, EVENT_TIMEOUT).await;
    limit_file_size(daemon.pid(), "4096");
    let cancelled = home.run_client(&["cancel", "dune/A"]);
    let error = utf8(&cancelled.stderr);
    assert_eq!(cancelled.status.code(), Some(1), "{error}");
    assert!(error.contains("the provider has accepted the cancellation"), "{error}");
    limit_file_size(daemon.pid(), "unlimited");
    home.run_client(&["wait", "dune/A", "--timeout", "30s"]);
    let states = db::query_rows(&home.database(), "SELECT state FROM jobs");
    assert_eq!(states, ["cancelled"]);
    assert!(daemon.stop().success());
}
