//! The audit as an operator sees it: who gave which command on the control socket, and what came of it.

use std::time::Duration;

use jobtrack::clock::Clock;
use rustix::process::Signal;

use crate::support::control_load::{send, status_of};
use crate::support::daemon::{DaemonHome, utf8, wait_for_query_value};
use crate::support::fake_server::{FakeServer, Fault, FaultRepeat, FaultTarget, JobEnd, JobScript};
use crate::support::{EVENT_TIMEOUT, FAST_POLLING_TOML, db};

#[tokio::test(flavor = "multi_thread")]
async fn every_command_that_changes_something_is_in_the_audit() {
    let dune = FakeServer::start().await;
    for id in ["01CANCEL", "01UNTRACK"] {
        let hour = JobScript::new().running(Duration::from_hours(1));
        dune.add_job(id, hour.ending_with(JobEnd::Completed));
    }
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "01CANCEL", "01UNTRACK"]);
    home.run_client_ok(&["add", "dune", "01CANCEL", "--label", "batch=7"]);
    home.run_client(&["cancel", "1"]);
    home.run_client_ok(&["untrack", "2"]);
    home.run_client_ok(&["untrack", "2"]);
    home.run_client_ok(&["check", "dune"]);
    home.run_client_ok(&["forget", "dune", "--similar-to", "nightly"]);
    home.run_client_ok(&["reload"]);
    let config = std::fs::read_to_string(home.path("config.toml")).expect("the config");
    home.write_config(&format!("{config}nonsense = 1\n"));
    home.run_client(&["reload"]);
    home.run_client_ok(&["backup", &home.path("copy.db").display().to_string()]);
    daemon.signal(Signal::HUP);
    wait_for_query_value(&home, "SELECT count(*) FROM audit WHERE origin = 'signal'", "1").await;
    let rows = db::query_rows(
        &home.database(),
        "SELECT command, coalesce(job_id, '-'), coalesce(provider, '-'), outcome FROM audit ORDER BY id",
    );
    assert_eq!(
        rows,
        [
            "label|1|dune|done",
            "cancel|1|dune|done",
            "untrack|2|dune|done",
            "untrack|2|dune|unchanged",
            "check|-|dune|done",
            "forget|-|dune|done",
            "reload|-|-|done",
            "reload|-|-|failed",
            "backup|-|-|done",
            "reload|-|-|failed",
        ]
    );
    let uid = rustix::process::getuid().as_raw();
    let of_others = format!(
        "SELECT count(*) FROM audit WHERE origin = 'socket' AND (uid IS NOT {uid} OR pid IS NULL
         AND command <> 'label')"
    );
    assert_eq!(db::query_value(&home.database(), &of_others), "0");
    let reason = "SELECT detail FROM audit WHERE outcome = 'failed' LIMIT 1";
    assert!(db::query_value(&home.database(), reason).contains("nonsense"));
    let untracked = "SELECT a.requested_at <= t.observed_at FROM audit AS a JOIN history AS t
                     ON t.job_id = a.job_id AND t.to_state = 'untracked' WHERE a.command = 'untrack' LIMIT 1";
    assert_eq!(db::query_value(&home.database(), untracked), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_51_a_command_of_a_client_that_goes_away_is_in_the_audit() {
    let dune = FakeServer::start().await;
    dune.add_job("01GONE", JobScript::new().running(Duration::from_hours(1)));
    let home = DaemonHome::new(
        &dune.base_url(),
        "requests_per_minute = 3000\nmin_interval = \"1h\"\nmax_interval = \"1h\"",
    );
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "01GONE"]);
    home.run_client_ok(&["poll", "1"]);
    let delayed = Fault::Delayed(Duration::from_secs(1));
    dune.inject_fault(FaultTarget::All, delayed, FaultRepeat::Always);
    let clock = Clock::start();
    for (path, command) in [("jobs/1/cancel", "cancel"), ("providers/dune/check", "check")] {
        let requests = dune.request_count();
        let head = format!("POST /v1/{path} HTTP/1.1\r\nHost: x\r\n\r\n");
        let connection = send(&home.socket(), &head);
        dune.wait_for_requests(requests + 1, EVENT_TIMEOUT).await;
        let sent_at = clock.utc_now().to_string();
        drop(connection);
        let of_command = format!("FROM audit WHERE command = '{command}'");
        wait_for_query_value(&home, &format!("SELECT count(*) {of_command}"), "1").await;
        let requested_at =
            db::query_value(&home.database(), &format!("SELECT requested_at {of_command}"));
        assert!(requested_at <= sent_at, "{command}: {requested_at}, but sent at {sent_at}");
    }
    home.run_client_ok(&["untrack", "1"]);
    home.run_client(&["cancel", "1"]);
    let refused = "SELECT count(*) FROM audit WHERE command = 'cancel' AND outcome = 'refused'
                   AND detail LIKE '%is finished%'";
    assert_eq!(db::query_value(&home.database(), refused), "1");
    assert!(daemon.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_51_a_refused_command_is_in_the_audit_with_its_user_and_reason() {
    let dune = FakeServer::start().await;
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let daemon = home.start();
    let too_long = format!("POST /v1/providers/{}/check", "x".repeat(1000));
    let refused = [
        ("POST /v1/jobs/999/cancel", "404", "cancel|-|no job 999;"),
        ("POST /v1/jobs/-1/untrack", "404", "untrack|-|no job -1;"),
        ("POST /v1/jobs/99999999999999999999/untrack", "400", "untrack|-|\"9999"),
        ("POST /v1/jobs/x'%20OR%201/cancel", "400", "cancel|-|\"x' OR 1\""),
        ("POST /v1/jobs/%FF/cancel", "400", "cancel|-|"),
        ("POST /v1/providers/UPPER/check", "400", "check|-|\"UPPER\""),
        ("POST /v1/providers/other/check", "409", "check|other|provider other is not configured"),
        ("DELETE /v1/providers/%0A/durations", "400", "forget|-|\"\\n\""),
        ("DELETE /v1/providers/dune/durations?similar=x", "400", "forget|dune|unknown parameter"),
        (&too_long, "400", "check|-|\"xxx"),
    ];
    for (request, status, _) in &refused {
        assert_eq!(status_of(&home.socket(), request), *status, "{request}");
    }
    let uid = rustix::process::getuid().as_raw();
    let rows = db::query_rows(
        &home.database(),
        &format!(
            "SELECT command, coalesce(provider, '-'), detail FROM audit WHERE outcome = 'refused'
             AND uid = {uid} AND pid > 0 AND count = 1 AND length(detail) <= 200 ORDER BY id"
        ),
    );
    assert_eq!(rows.len(), refused.len(), "{rows:#?}");
    for (row, (request, _, expected)) in rows.iter().zip(&refused) {
        assert!(row.starts_with(expected), "{request}: {row}");
    }
    // The client leaves the decision to the daemon.
    for command in ["cancel", "untrack"] {
        let told = utf8(&home.run_client(&[command, "999"]).stderr);
        assert!(told.contains("no such job"), "{command}: {told}");
    }
    // What is no command leaves no row.
    for other in ["POST /v1/jobs/999/poll", "GET /v1/jobs/999", "POST /v1/nonsense"] {
        assert!(status_of(&home.socket(), other).starts_with("40"), "{other}");
    }
    assert_eq!(db::query_value(&home.database(), "SELECT count(*) FROM audit"), "12");
    assert!(daemon.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_51_refused_commands_beyond_a_limit_are_counted_in_one_row() {
    let dune = FakeServer::start().await;
    dune.add_job("01CANCEL", JobScript::new().running(Duration::from_hours(1)));
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "01CANCEL"]);
    for _ in 0..25 {
        assert_eq!(status_of(&home.socket(), "POST /v1/jobs/999/cancel"), "404");
    }
    assert_eq!(status_of(&home.socket(), "POST /v1/providers/UPPER/check"), "400");
    let refused = "SELECT count(*) FROM audit WHERE outcome = 'refused'";
    assert_eq!(db::query_value(&home.database(), refused), "20");
    // They do not hide what is carried out.
    home.run_client_ok(&["check", "dune"]);
    home.run_client(&["cancel", "1"]);
    assert!(daemon.stop().success());
    // The end of the daemon, as that of the minute, writes what was counted.
    let counted = "SELECT command, outcome, coalesce(job_id, '-'), sum(count), count(*) FROM audit
                   GROUP BY command, outcome ORDER BY 1, 2";
    assert_eq!(
        db::query_rows(&home.database(), counted),
        ["cancel|done|1|1|1", "cancel|refused|-|25|21", "check|done|-|1|1", "check|refused|-|1|1"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_51_a_backup_of_a_client_that_goes_away_is_in_the_audit() {
    let dune = FakeServer::start().await;
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let daemon = home.start();
    // Large enough that the copy takes longer than to notice it and to close the connection.
    db::run_script_ok(
        &home.database(),
        "CREATE TABLE filler (content); WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1
         FROM n WHERE i < 60) INSERT INTO filler SELECT randomblob(1000000) FROM n;",
    );
    let connection = send(&home.socket(), "GET /v1/backup HTTP/1.1\r\nHost: x\r\n\r\n");
    let is_copying = || {
        let mut files = std::fs::read_dir(home.path("state")).expect("the directory");
        files.any(|file| file.expect("a file").file_name().to_string_lossy().contains(".snapshot-"))
    };
    let copying = async {
        while !is_copying() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(EVENT_TIMEOUT, copying).await.expect("the copy begins");
    drop(connection);
    let copies = "SELECT count(*) FROM audit WHERE command = 'backup' AND outcome = 'done'";
    wait_for_query_value(&home, copies, "1").await;
    assert!(daemon.stop().success());
}
