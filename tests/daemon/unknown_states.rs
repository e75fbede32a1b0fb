//! A word that nobody knows, as an operator meets it: it stands in the status, one line of config
//! tells what it means, and after a reload the history says so.

use std::time::Duration;

use crate::support::daemon::{Daemon, DaemonHome, wait_for_query_value};
use crate::support::db;
use crate::support::fake_server::{FakeServer, JobScript, ServiceKind};

const EXECUTION_ID: &str = "01GBM4W2N0NMCGPZYW8AYK4YF1";
/// So seldom that only the reload can be why a job is asked again.
const HOURLY_POLLING_TOML: &str =
    "requests_per_minute = 3000\nmin_interval = \"1h\"\nmax_interval = \"1h\"";

async fn wait_for_unknown_states(daemon: &Daemon, home: &DaemonHome, states: &[&str]) {
    let such = |status: &serde_json::Value| {
        status["providers"][0]["unknown_states"] == serde_json::json!(states)
    };
    daemon.wait_for_status(home, such).await;
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
    let told = home.run_client_ok(&["status"]);
    assert!(told.contains("unknown states reported: QUERY_STATE_DAYDREAMING"), "{told}");
    let logged = || home.log().matches("a state that is not known").count();
    assert_eq!(logged(), 1, "{}", home.log());

    // What is known already is refused, and changes nothing.
    home.configure(
        &dune.base_url(),
        &format!("{HOURLY_POLLING_TOML}\nstate_map = {{ FAILED = \"succeeded\" }}"),
    );
    let refused = home.run_client(&["reload"]);
    assert!(!refused.status.success());
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains("FAILED cannot be set, it is known already: failed"), "{why}");

    let states = format!("{HOURLY_POLLING_TOML}\nstate_map = {{ DAYDREAMING = \"running\" }}");
    home.configure(&dune.base_url(), &states);
    home.run_client_ok(&["reload"]);
    wait_for_query_value(&home, "SELECT state FROM jobs", "running").await;
    wait_for_unknown_states(&daemon, &home, &[]).await;
    let steps = "SELECT from_state, to_state, evidence, provider_state FROM history";
    assert_eq!(
        db::query_rows(&home.database(), steps),
        [
            "|registered|local|",
            "registered|pending|reported|",
            "pending|unknown|observed|QUERY_STATE_DAYDREAMING",
            "unknown|running|observed|QUERY_STATE_DAYDREAMING",
        ]
    );
    assert_eq!(logged(), 1, "{}", home.log());
    assert_eq!(db::history_violations(&home.database()), [""; 0]);
    dune.wait_for_requests(2, Duration::ZERO).await;
    assert_eq!(dune.requests().len(), 2, "asked once, and once after the reload that explained it");
}
