//! The price `auto` with the real daemon: requests that the rate limit leaves are spent on early polls.

use std::time::Duration;

use crate::support::FAST_POLLING_TOML;
use crate::support::daemon::{DaemonHome, utf8, wait_for_query_value};
use crate::support::db;
use crate::support::fake_server::{FakeServer, JobEnd, JobScript};
use serde_json::Value;

const REQUESTS_PER_MINUTE: usize = 30;

/// A fake Dune, and the directory of a daemon with two providers: `dune` with the default limit and price, and
/// `other`, which polls often.
async fn two_providers() -> (FakeServer, FakeServer, DaemonHome) {
    let (dune, other) = (FakeServer::start().await, FakeServer::start().await);
    let home = DaemonHome::without_config();
    let settings = format!(
        "requests_per_minute = {REQUESTS_PER_MINUTE}\n[providers.other]\nkind = \"dune\"\n\
         base_url = \"{}\"\napi_key = {{ file = \"{}\" }}\n{FAST_POLLING_TOML}\n",
        other.base_url(),
        home.path("key").display()
    );
    home.configure(&dune.base_url(), &settings);
    (dune, other, home)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_short_query_alone_is_seen_within_two_seconds() {
    let (dune, other, home) = two_providers().await;
    let short = Duration::from_secs(3);
    let script = JobScript::starting_at_first_request().running(short);
    dune.add_job("SHORT", script.ending_with(JobEnd::Completed));
    // While this job runs, the unused requests of `dune` become credit for a burst.
    let idle = JobScript::starting_at_first_request().running(Duration::from_secs(14));
    other.add_job("IDLE", idle.ending_with(JobEnd::Completed));
    let daemon = home.start();
    home.run_client_ok(&["add", "other", "IDLE"]);
    let waited = home.run_client(&["wait", "other/IDLE", "--timeout", "60s"]);
    assert!(waited.status.success(), "{}", utf8(&waited.stderr));

    home.run_client_ok(&["add", "dune", "SHORT"]);
    let ended = "SELECT terminal FROM jobs WHERE remote_id = 'SHORT'";
    wait_for_query_value(&home, ended, "1").await;
    let delay = "SELECT detection_delay_s FROM jobs WHERE remote_id = 'SHORT'";
    let delay = db::query_rows(&home.database(), delay).remove(0);
    assert!(delay.parse::<f64>().is_ok_and(|seconds| seconds < 2.0), "{delay} s");
    assert!(dune.max_requests_in_window(Duration::from_mins(1)) <= REQUESTS_PER_MINUTE * 4 / 5);

    let status = home.run_client_ok(&["--json", "status"]);
    let status: Value = serde_json::from_str(status.trim()).expect("JSON");
    let providers = status["providers"].as_array().expect("providers");
    let price =
        |provider: &Value| (provider["price"].clone(), provider["price_in_force_s"].clone());
    assert_eq!(price(&providers[0]), ("auto".into(), 0.0.into()), "nothing had to wait: {status}");
    assert_eq!(price(&providers[1]), (Value::Null, 0.0.into()), "{status}");
    let unused = providers[0]["unused_requests"].as_u64().expect("a number");
    let used = providers[0]["requests_last_minute"].as_u64().expect("a number");
    assert_eq!(unused + used, 30, "{status}");
    assert!(daemon.stop().success());
}
