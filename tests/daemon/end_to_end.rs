//! The life of a job from `jobtrack add` to its end: the real daemon, its socket and its database.

use std::time::Duration;

use crate::support::daemon::DaemonHome;
use crate::support::fake_server::{FakeServer, JobEnd, JobScript};
use crate::support::{EVENT_TIMEOUT, db};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_tracked_to_its_end() {
    let dune = FakeServer::start().await;
    dune.add_job(
        "01GBM4W2N0NMCGPZYW8AYK4YF1",
        JobScript::starting_at_first_request()
            .pending(Duration::from_millis(1200))
            .running(Duration::from_millis(2500))
            .ending_with(JobEnd::Completed),
    );
    let home = DaemonHome::new(
        &dune.base_url(),
        "requests_per_minute = 600\n[polling]\npolicy = \"backoff\"\nmax_interval = \"1s\"",
    );
    let _daemon = home.start();
    let added = home.run_client_ok(&["add", "dune", "01GBM4W2N0NMCGPZYW8AYK4YF1"]);
    assert_eq!(added.trim(), "1 dune/01GBM4W2N0NMCGPZYW8AYK4YF1 added");
    let ended =
        home.run_client_ok(&["wait", "dune/01GBM4W2N0NMCGPZYW8AYK4YF1", "--timeout", "30s"]);
    assert!(ended.contains("succeeded"), "{ended}");

    let history =
        db::query_rows(&home.database(), "SELECT to_state, evidence, provider_state FROM history");
    assert_eq!(
        history,
        [
            "registered|local|",
            "pending|observed|QUERY_STATE_PENDING",
            "running|observed|QUERY_STATE_EXECUTING",
            "succeeded|observed|QUERY_STATE_COMPLETED",
        ]
    );
    let runs_sql = "SELECT state, queue_s, run_s, detection_delay_s BETWEEN 0 AND 1.5 FROM runs";
    assert_eq!(db::query_rows(&home.database(), runs_sql), ["succeeded|1.2|2.5|1"]);
    assert_eq!(db::history_violations(&home.database()), [""; 0]);
    assert_eq!(dune.client_violations(), [""; 0]);
    dune.wait_for_requests(3, EVENT_TIMEOUT).await;
}
