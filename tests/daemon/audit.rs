//! The audit as an operator sees it: who gave which command on the control socket, and what came of it.

use std::time::Duration;

use jobtrack::clock::Clock;
use rustix::process::Signal;

use crate::support::control_load::send;
use crate::support::daemon::{DaemonHome, wait_for_query_value};
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
    let refused = "SELECT count(*) FROM audit WHERE command = 'cancel' AND outcome = 'failed'
                   AND detail LIKE '%is finished%'";
    assert_eq!(db::query_value(&home.database(), refused), "1");
    assert!(daemon.stop().success());
}
