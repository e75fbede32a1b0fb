//! Jobs that are added together to an idle daemon are polled at once, within the rate limit.

use std::time::Duration;

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
