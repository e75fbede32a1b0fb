//! Unknown provider states as an operator sees them: a job in one is `unknown`, or `indeterminate`
//! once the service reports that it has finished, and can be mapped to a state by one line of
//! config and a reload.

use std::time::Duration;

use crate::support::daemon::{Daemon, DaemonHome, wait_for_query_value};
use crate::support::fake_server::{FakeServer, JobEnd, JobScript, ServiceKind};
use crate::support::{FAST_POLLING_TOML, db};

const EXECUTION_ID: &str = "01GBM4W2N0NMCGPZYW8AYK4YF1";
/// Polls so rarely that only a reload can cause a second poll.
const HOURLY_POLLING_TOML: &str =
    "requests_per_minute = 3000\nmin_interval = \"1h\"\nmax_interval = \"1h\"";

async fn wait_for_unknown_states(daemon: &Daemon, home: &DaemonHome, states: &[&str]) {
    let has_states = |status: &serde_json::Value| {
        status["providers"][0]["unknown_states"] == serde_json::json!(states)
    };
    daemon.wait_for_status(home, has_states).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_state_is_listed_until_mapped_in_the_config() {
    let dune = FakeServer::start().await;
    dune.add_job_of(
        ServiceKind::Dune,
        EXECUTION_ID,
        JobScript::new().ending_in_state("QUERY_STATE_DAYDREAMING", None),
    );
    let home = DaemonHome::new(&dune.base_url(), HOURLY_POLLING_TOML);
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", EXECUTION_ID]);
    wait_for_query_value(&home, "SELECT state FROM jobs", "unknown").await;
    wait_for_unknown_states(&daemon, &home, &["QUERY_STATE_DAYDREAMING"]).await;
    let status = home.run_client_ok(&["status"]);
    assert!(status.contains("unknown states reported: QUERY_STATE_DAYDREAMING"), "{status}");
    let unknown = "reported an unknown state";
    let logged_count = || home.wait_for_log(unknown, 1).matches(unknown).count();
    assert_eq!(logged_count(), 1, "{}", home.log());

    // A state that is known already cannot be mapped: the reload is rejected and changes nothing.
    home.configure(
        &dune.base_url(),
        &format!("{HOURLY_POLLING_TOML}\nstate_map = {{ FAILED = \"succeeded\" }}"),
    );
    let rejected = home.run_client(&["reload"]);
    assert!(!rejected.status.success());
    let error = String::from_utf8_lossy(&rejected.stderr).into_owned();
    assert!(error.contains("FAILED is built in as failed and cannot be mapped"), "{error}");

    let mapped = format!("{HOURLY_POLLING_TOML}\nstate_map = {{ DAYDREAMING = \"running\" }}");
    home.configure(&dune.base_url(), &mapped);
    home.run_client_ok(&["reload"]);
    wait_for_query_value(&home, "SELECT state FROM jobs", "running").await;
    wait_for_unknown_states(&daemon, &home, &[]).await;
    let history_sql = "SELECT from_state, to_state, evidence, provider_state FROM history";
    assert_eq!(
        db::query_rows(&home.database(), history_sql),
        [
            "|registered|local|",
            "registered|pending|reported|",
            "pending|unknown|observed|QUERY_STATE_DAYDREAMING",
            "unknown|running|observed|QUERY_STATE_DAYDREAMING",
        ]
    );
    assert_eq!(logged_count(), 1, "{}", home.log());
    assert_eq!(db::history_violations(&home.database()), [""; 0]);
    dune.wait_for_requests(2, Duration::ZERO).await;
    assert_eq!(
        dune.requests().len(),
        2,
        "polled once, and once after the reload that mapped the state"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_44_an_unknown_provider_state_is_kept_and_reported_once() {
    let dune = FakeServer::start().await;
    let phase_duration = Duration::from_millis(500);
    dune.add_job(
        EXECUTION_ID,
        JobScript::starting_at_first_request()
            .pending(phase_duration)
            .running(phase_duration)
            .ending_in_state("QUERY_STATE_DREAMING", None),
    );
    dune.add_job(
        "01FINISHED",
        JobScript::new().ending_in_state("QUERY_STATE_EVAPORATED", Some(true)),
    );
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let _daemon = home.start();
    home.run_client_ok(&["add", "dune", EXECUTION_ID, "01FINISHED"]);
    assert_eq!(
        home.run_client(&["wait", "dune/01FINISHED", "--timeout", "25s"]).status.code(),
        Some(3)
    );
    let finished_sql = "SELECT state, provider_state FROM jobs WHERE remote_id = '01FINISHED'";
    assert_eq!(
        db::query_value(&home.database(), finished_sql),
        "indeterminate|QUERY_STATE_EVAPORATED"
    );
    let mut polled = String::new();
    while !polled.contains("unknown") {
        polled = home.poll_job_1();
    }
    home.run_client_ok(&["poll", "1"]);
    assert!(polled.contains("QUERY_STATE_DREAMING"), "{polled}");
    assert_eq!(
        home.wait_for_log("QUERY_STATE_DREAMING", 1).matches("QUERY_STATE_DREAMING").count(),
        1,
        "the unknown state is logged once"
    );
    dune.add_job(EXECUTION_ID, JobScript::new().ending_with(JobEnd::Failed));
    assert_eq!(home.run_client(&["wait", "1", "--timeout", "25s"]).status.code(), Some(1));
    let states = db::query_rows(&home.database(), "SELECT to_state FROM history WHERE job_id = 1");
    assert_eq!(states, ["registered", "pending", "running", "unknown", "failed"]);
}
