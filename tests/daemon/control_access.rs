//! Who may do what on the control sockets, and how much.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::control_load::status_of;
use crate::support::daemon::{DaemonHome, utf8};
use crate::support::fake_server::{FakeServer, JobEnd, JobScript};
use crate::support::{FAST_POLLING_TOML, db};

/// A home whose `[control]` has these settings too.
fn home_with_control(base_url: &str, settings: &str) -> DaemonHome {
    let home = DaemonHome::new(base_url, FAST_POLLING_TOML);
    let config = std::fs::read_to_string(home.path("config.toml")).expect("the config");
    let settings = settings.replace("DIR", &home.path("").display().to_string());
    home.write_config(&config.replace("[control]\n", &format!("[control]\n{settings}\n")));
    home
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_51_the_read_only_socket_permits_only_what_changes_nothing() {
    let dune = FakeServer::start().await;
    dune.add_job("01READ", JobScript::new().ending_with(JobEnd::Completed));
    let settings = "read_only_socket = \"DIRrun/read-only.sock\"\nread_only_mode = \"0666\"";
    let home = home_with_control(&dune.base_url(), settings);
    let daemon = home.start();
    let socket = home.path("run/read-only.sock");
    let mode = std::fs::metadata(&socket).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o666);
    home.run_client_ok(&["add", "dune", "01READ"]);
    home.run_client_ok(&["wait", "1"]);
    let reader = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jobtrack"));
        command.env_clear().arg("--socket").arg(&socket).args(arguments);
        command.output().expect("a client")
    };
    for permitted in [
        &["list", "--all"][..],
        &["show", "1"],
        &["wait", "1"],
        &["history", "1"],
        &["status"],
        &["prune", "--dry-run"],
    ] {
        let output = reader(permitted);
        assert!(output.status.success(), "{permitted:?}: {}", utf8(&output.stderr));
    }
    let before = db::query_rows(&home.database(), "SELECT * FROM jobs");
    for refused in [
        &["add", "dune", "01NEW"][..],
        &["untrack", "1"],
        &["poll", "1"],
        &["cancel", "1"],
        &["check", "dune"],
        &["forget", "dune"],
        &["pin", "1"],
        &["unpin", "1"],
        &["reload"],
    ] {
        let output = reader(refused);
        let error = utf8(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{refused:?}: {error}");
        assert!(error.contains("only permits requests that change nothing"), "{error}");
    }
    assert_eq!(status_of(&socket, "PATCH /v1/jobs/1"), "403");
    assert_eq!(db::query_rows(&home.database(), "SELECT * FROM jobs"), before);
    for (request, status) in [
        ("POST /v1/jobs/999/cancel", "403"),
        ("POST /v1/providers/UPPER/check", "403"),
        ("DELETE /v1/jobs/1/cancel", "405"),
        ("POST /v1/jobs/1/pin", "405"),
        ("POST /v1/jobs/1/nonsense", "403"),
    ] {
        assert_eq!(status_of(&socket, request), status, "{request}");
    }
    let tried =
        "SELECT command, coalesce(job_id, '-'), coalesce(provider, '-'), substr(detail, 1, 11)
                 FROM audit WHERE outcome = 'refused' ORDER BY id";
    assert_eq!(
        db::query_rows(&home.database(), tried),
        [
            "untrack|1|dune|this socket",
            "cancel|1|dune|this socket",
            "check|-|dune|this socket",
            "forget|-|dune|this socket",
            "pin|1|dune|this socket",
            "unpin|1|dune|this socket",
            "reload|-|-|this socket",
            "cancel|-|-|no job 999;",
            "check|-|-|\"UPPER\": pr",
        ]
    );
    let not_refused = "SELECT count(*) FROM audit WHERE outcome <> 'refused'";
    assert_eq!(db::query_value(&home.database(), not_refused), "0");
    assert!(daemon.stop().success());
    assert!(!socket.exists(), "the socket is removed at the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_51_jobs_and_labels_of_a_user_are_limited() {
    let dune = FakeServer::start().await;
    let home =
        home_with_control(&dune.base_url(), "max_jobs_per_user = 3\nmax_label_bytes_per_user = 60");
    let daemon = home.start();
    let added = home.run_client(&["add", "dune", "01A", "01B", "01C", "01D", "01E"]);
    let (lines, error) = (utf8(&added.stdout), utf8(&added.stderr));
    assert_eq!(added.status.code(), Some(1), "{error}");
    assert_eq!(lines.lines().count(), 3, "{lines}");
    assert!(error.contains("01D") && error.contains("control.max_jobs_per_user"), "{error}");
    // The same list again takes nothing.
    home.run_client_ok(&["add", "dune", "01A", "01B", "01C"]);
    let long = format!("key={}", "v".repeat(40));
    home.run_client_ok(&["add", "dune", "01A", "--label", &long]);
    home.run_client_ok(&["add", "dune", "01A", "--label", &long]);
    let refused = home.run_client(&["add", "dune", "01B", "--label", &long]);
    let error = utf8(&refused.stderr);
    assert!(error.contains("control.max_label_bytes_per_user"), "{error}");
    home.run_client_ok(&["untrack", "1"]);
    home.run_client_ok(&["add", "dune", "01D", "--label", "short=1"]);
    let jobs =
        "SELECT group_concat(remote_id || state || labels) FROM (SELECT * FROM jobs ORDER BY id)";
    let expected = format!(
        "01Auntracked{{\"key\":\"{}\"}},01Bregistered{{}},01Cregistered{{}},01Dregistered{{\"short\":\"1\"}}",
        "v".repeat(40)
    );
    let found = db::query_value(&home.database(), jobs);
    assert_eq!(found.replace("running", "registered"), expected);
    daemon.stop();
}
