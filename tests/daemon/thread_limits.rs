//! A daemon that the system permits no more threads, at its start and while it runs.

use std::os::unix::fs::chown;
use std::process::Command;
use std::time::Duration;

use rustix::process::getuid;

use crate::support::daemon::{DaemonHome, run_with_timeout, utf8, wait_for_query_value};
use crate::support::fake_server::{FakeServer, JobEnd, JobScript};
use crate::support::{EVENT_TIMEOUT, FAST_POLLING_TOML, db};

/// Runs a program under a user of its own, for whom the system counts the threads: none are counted for
/// root. Another user already has more than the one thread that the tests then permit.
fn as_other_user() -> Command {
    let mut command = Command::new("setpriv");
    if let Some(user) = other_user() {
        let ids = [format!("--reuid={user}"), format!("--regid={user}")];
        command.args(ids).arg("--clear-groups");
    }
    command
}

fn other_user() -> Option<u32> {
    getuid().is_root().then(|| 200_000 + std::process::id() % 100_000)
}

fn daemon_with_limit(home: &DaemonHome, limit: Option<u32>) -> Command {
    if let Some(user) = other_user() {
        for name in ["", "config.toml", "key"] {
            chown(home.path(name), Some(user), Some(user)).expect("another owner");
        }
    }
    let daemon = home.daemon_command();
    let mut command = as_other_user();
    if let Some(limit) = limit {
        command.args(["prlimit", &format!("--nproc={limit}")]);
    }
    command.arg(daemon.get_program()).args(daemon.get_args()).env_clear();
    command.env("PATH", "/usr/bin:/bin:/usr/local/bin");
    command
}

#[test]
fn fault_57_without_threads_for_all_parts_a_start_ends_with_74() {
    for limit in if getuid().is_root() { 1..=12 } else { 1..=1 } {
        let home = DaemonHome::new("http://127.0.0.1:9", FAST_POLLING_TOML);
        let output =
            run_with_timeout(&mut daemon_with_limit(&home, Some(limit)), "", EVENT_TIMEOUT);
        let error = utf8(&output.stderr);
        assert_eq!(output.status.code(), Some(74), "{limit}: {error}");
        assert!(error.contains("threads that jobtrackd needs"), "{limit}: {error}");
        assert!(error.contains("TasksMax=") && !error.contains("panic"), "{limit}: {error}");
        assert!(!home.database().exists(), "{limit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_57_a_daemon_that_gets_no_more_threads_goes_on() {
    let dune = FakeServer::start().await;
    // Each connection looks the name up, in a thread that may block.
    let base_url = dune.base_url().replace("127.0.0.1", "localhost");
    let home = DaemonHome::new(&base_url, FAST_POLLING_TOML);
    let daemon = home.spawn(daemon_with_limit(&home, None));
    home.wait_for_log("is ready", 1);
    let mut limit = as_other_user();
    limit.args(["prlimit", "--pid", &daemon.pid().to_string(), "--nproc=1:1"]);
    assert!(limit.status().expect("prlimit is installed").success());
    let ids = ["01NONE", "02NONE", "03NONE", "04NONE", "05NONE", "06NONE", "07NONE", "08NONE"];
    for id in ids {
        let second = JobScript::new().running(Duration::from_secs(1));
        dune.add_job(id, second.ending_with(JobEnd::Completed));
    }
    home.run_client_ok(&[&["add", "dune"], &ids[..]].concat());
    home.run_client_ok(&["check", "dune"]);
    home.run_client_ok(&["reload"]);
    let succeeded = "SELECT count(*) FROM jobs WHERE state = 'succeeded'";
    wait_for_query_value(&home, succeeded, "8").await;
    let copy = home.path("copy.db").display().to_string();
    let backup = home.run_client(&["backup", &copy]);
    assert_eq!(backup.status.code(), Some(1), "a copy needs a thread of SQLite");
    assert!(utf8(&backup.stderr).contains("temporarily unavailable"), "{}", utf8(&backup.stderr));
    let log = home.log();
    assert!(!log.contains("panic"), "{log}");
    assert!(daemon.stop().success(), "{}", home.log());
    assert_eq!(db::query_rows(&home.database(), succeeded), ["8"]);
    assert_eq!(db::history_violations(&home.database()), [""; 0]);
}
