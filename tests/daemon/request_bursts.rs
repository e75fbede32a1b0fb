//! Jobs that are added together to an idle daemon, or after a restart, are polled at once, within the rate limit.

use std::time::Duration;

use serde_json::Value;

use crate::support::daemon::DaemonHome;
use crate::support::fake_server::{FakeServer, JobScript};
use crate::support::{EVENT_TIMEOUT, timed};

const REQUESTS_PER_MINUTE: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn eight_jobs_added_together_to_an_idle_daemon_are_polled_within_five_seconds() {
    let dune = FakeServer::start().await;
    let ids: Vec<_> = (0..8).map(|n| format!("01TOGETHER{n}")).collect();
    for id in ids.iter().map(String::as_str).chain(["01EARLIER"]) {
        dune.add_job(id, JobScript::new().running(Duration::from_hours(1)));
    }
    let home = DaemonHome::new(
        &dune.base_url(),
        &format!(
            "requests_per_minute = {REQUESTS_PER_MINUTE}\npolicy = \"backoff\"\n\
             min_interval = \"10s\"\nmax_interval = \"10s\""
        ),
    );
    let _daemon = home.start();
    // Between two polls of this job the daemon is idle for nine slots or more.
    home.run_client_ok(&["add", "dune", "01EARLIER"]);
    dune.wait_for_requests_for("01EARLIER", 2, EVENT_TIMEOUT).await;

    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    let (_, adding) = timed(|| home.run_client_ok(&[&["add", "dune"], &ids[..]].concat()));
    dune.wait_for_requests(10, EVENT_TIMEOUT).await;
    let requests = dune.requests();
    let polled = |id: &str| requests.iter().any(|request| request.job_id.as_deref() == Some(id));
    assert!(ids.iter().all(|id| polled(id)), "{requests:?}");
    let between = requests[9].received_at.monotonic - requests[1].received_at.monotonic;
    assert!(between < adding + Duration::from_secs(5), "{between:?}");
    let held = dune.max_requests_in_window(Duration::from_mins(1));
    assert!(held <= REQUESTS_PER_MINUTE, "{held} requests in a minute");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_the_first_request_waits_only_if_the_daemon_was_killed() {
    let dune = FakeServer::start().await;
    for id in ["01FIRST", "01SECOND", "01THIRD"] {
        dune.add_job(id, JobScript::new().running(Duration::from_hours(1)));
    }
    let home = DaemonHome::new(&dune.base_url(), "requests_per_minute = 30\nprice = \"1h\"");
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "01FIRST"]);
    dune.wait_for_requests_for("01FIRST", 1, EVENT_TIMEOUT).await;
    assert!(daemon.stop().success());

    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "01SECOND"]);
    let polled = dune.wait_for_requests_for("01SECOND", 1, EVENT_TIMEOUT);
    // Without what the process before left, the first request waits for 16 s.
    tokio::time::timeout(Duration::from_secs(8), polled).await.expect("the first request waits");
    daemon.kill();

    let _daemon = home.start();
    let status: Value =
        serde_json::from_str(home.run_client_ok(&["--json", "status"]).trim()).expect("JSON");
    let next = &status["providers"][0]["next_request_at"];
    assert!(next.is_string(), "after a kill it waits: {status}");
}
