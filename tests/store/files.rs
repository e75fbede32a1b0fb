//! The files of the database: their modes, and access by other programs.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use jobtrack::policy::RateLimiterStates;

use crate::support::daemon::{DaemonHome, utf8};
use crate::support::{db, jobs};

fn mode(path: &Path) -> u32 {
    let found = std::fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    found.permissions().mode() & 0o7777
}

fn with_suffix(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

#[test]
fn fault_28_file_modes_do_not_depend_on_the_umask() {
    for umask in ["0000", "0022", "0077"] {
        let home = DaemonHome::new("http://127.0.0.1:1", "");
        let mut command = Command::new("sh");
        command
            .env_clear()
            .args(["-c", &format!("umask {umask}; exec \"$0\" --config \"$1\"")])
            .arg(env!("CARGO_BIN_EXE_jobtrackd"))
            .arg(home.path("config.toml"));
        let daemon = home.spawn(command);
        daemon.wait_for_notification("READY=1", &home);
        assert_eq!(mode(&home.path("state")), 0o750, "the directory under umask {umask}");
        for suffix in ["", "-wal", "-shm"] {
            let file = with_suffix(&home.database(), suffix);
            assert_eq!(mode(&file), 0o640, "{} under umask {umask}", file.display());
        }
        assert!(daemon.stop().success());
    }
}

#[tokio::test]
async fn an_existing_directory_keeps_its_mode() {
    let home = DaemonHome::without_config();
    let open_to_all = PermissionsExt::from_mode(0o2775);
    std::fs::create_dir(home.path("state")).expect("a directory");
    std::fs::set_permissions(home.path("state"), open_to_all).expect("a mode");
    drop(jobs::open_store(&home.database()).await);
    assert_eq!(mode(&home.path("state")), 0o2775);
    assert_eq!(mode(&home.database()), 0o640);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reader_and_the_sqlite_shell_work_beside_the_writer() {
    let home = DaemonHome::without_config();
    let mut store = jobs::open_store(&home.database()).await;
    let (reader, database) = (store.reader.clone(), home.database());
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let reading = tokio::spawn(async move {
        let mut rounds = 0;
        while stopped.try_recv().is_err() {
            reader.unfinished_jobs(jobtrack::job::JobId(0), 1000).await.expect("the reader reads");
            // One statement, one snapshot: a job and its first row are never seen apart.
            let whole = "SELECT count(*) - (SELECT count(*) FROM transition) FROM job";
            assert_eq!(db::query_value(&database, whole), "0");
            rounds += 1;
        }
        rounds
    });
    for number in 0..200 {
        jobs::register_job(&mut store, &format!("job{number}")).await;
    }
    stop.send(()).expect("it reads on");
    assert!(reading.await.expect("no reader failed") > 0);
    assert_eq!(db::query_value(&home.database(), "SELECT count(*) FROM jobs"), "200");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_clean_shutdown_the_wal_remains_for_read_only_users() {
    let home = DaemonHome::without_config();
    let mut store = jobs::open_store(&home.database()).await;
    jobs::register_job(&mut store, "A").await;
    store.reader.close().await;
    store.writer.close(RateLimiterStates::new()).await;
    for suffix in ["-wal", "-shm"] {
        assert!(with_suffix(&home.database(), suffix).exists(), "{suffix} is kept");
    }
    assert_eq!(db::query_value(&home.database(), "SELECT remote_id FROM jobs"), "A");

    // A user without write permission.
    for (path, mode) in [(home.path(""), 0o755), (home.path("state"), 0o755)] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("a mode");
    }
    for suffix in ["", "-wal", "-shm"] {
        let file = with_suffix(&home.database(), suffix);
        std::fs::set_permissions(file, PermissionsExt::from_mode(0o644)).expect("a mode");
    }
    if rustix::process::geteuid().is_root() {
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "sqlite3", "-readonly"])
            .arg(home.database())
            .arg("SELECT remote_id FROM jobs")
            .output()
            .expect("setpriv is installed");
        assert_eq!((utf8(&output.stdout).trim(), utf8(&output.stderr).trim()), ("A", ""));
    }
}

#[test]
fn after_a_clean_shutdown_the_database_file_alone_is_complete() {
    let home = DaemonHome::new("http://127.0.0.1:1", "");
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "A"]);
    assert!(daemon.stop().success());
    let wal = std::fs::metadata(with_suffix(&home.database(), "-wal")).expect("the WAL is kept");
    assert_eq!(wal.len(), 0, "nothing waits in it");
    std::fs::copy(home.database(), home.path("copy.db")).expect("a copy");
    assert_eq!(db::query_value(&home.path("copy.db"), "SELECT remote_id FROM jobs"), "A");
}
