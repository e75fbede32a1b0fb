//! Failed polls and bad responses of a provider. Each one goes through the real daemon: the job
//! keeps its state, the failure is counted, and the end is recorded once the provider responds
//! correctly again.

use std::time::Duration;

use crate::support::daemon::DaemonHome;
use crate::support::fake_server::{
    self, FakeServer, Fault, FaultRepeat, FaultTarget, JobEnd, JobScript, ServiceKind,
};
use crate::support::{EVENT_TIMEOUT, db};

const EXECUTION_ID: &str = "01GBM4W2N0NMCGPZYW8AYK4YF1";
const FAST_POLLING_WITH_TIMEOUT_TOML: &str = "requests_per_minute = 1200\npolicy = \"backoff\"\nmin_interval = \"100ms\"\nmax_interval = \"200ms\"\nrequest_timeout = \"1s\"";

fn json_fault(text: &[u8]) -> Fault {
    Fault::Body { content_type: "application/json".into(), bytes: text.to_vec() }
}

/// A fake Dune with one finished job and with this fault, and a daemon's directory.
async fn faulty_provider(fault: Fault, repeat: FaultRepeat) -> (FakeServer, DaemonHome) {
    let dune = FakeServer::start().await;
    dune.add_job(
        EXECUTION_ID,
        JobScript::new().running(Duration::from_millis(1)).ending_with(JobEnd::Completed),
    );
    dune.inject_fault(FaultTarget::All, fault, repeat);
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_WITH_TIMEOUT_TOML);
    (dune, home)
}

/// Asserts that after two polls with `fault` the end is recorded, and that both failures are
/// counted.
async fn assert_recovers(name: &str, fault: Fault) {
    let (dune, home) = faulty_provider(fault, FaultRepeat::Times(2)).await;
    let _daemon = home.start();
    home.run_client_ok(&["add", "dune", EXECUTION_ID]);
    dune.wait_for_requests(2, EVENT_TIMEOUT).await;
    let waited = home.run_client(&["wait", "1", "--timeout", "25s"]);
    assert!(waited.status.success(), "{name}: {}", home.log());
    let counts =
        db::query_value(&home.database(), "SELECT failed_polls, polls, last_poll_error FROM jobs");
    assert_eq!(
        counts, "2|3|",
        "{name}: failed_polls counts both, and a successful poll clears the error"
    );
    let states = db::query_rows(&home.database(), "SELECT to_state FROM history");
    assert_eq!(states, ["registered", "pending", "running", "succeeded"], "{name}");
    assert!(!home.log().contains("fake-api-key"), "{name}: the key is in the log");
}

/// Asserts that while `fault` lasts the job keeps its state and reports this error.
async fn assert_state_unchanged(name: &str, fault: Fault, error: &str) {
    let (dune, home) = faulty_provider(fault, FaultRepeat::Always).await;
    let _daemon = home.start();
    home.run_client_ok(&["add", "dune", EXECUTION_ID]);
    dune.wait_for_requests(1, EVENT_TIMEOUT).await;
    let polled = home.poll_job_1();
    assert!(polled.contains("\"state\":\"registered\""), "{name}: {polled}");
    assert!(polled.contains(error), "{name}: {polled}");
    assert!(!polled.contains("fake-api-key"), "{name}: {polled}");
    assert!(!polled.contains(&dune.addr().port().to_string()), "{name}: a URL is in {polled}");
    assert_eq!(
        db::query_rows(&home.database(), "SELECT to_state FROM history"),
        ["registered"],
        "{name}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_36_39_a_failing_server_changes_nothing() {
    tokio::join!(
        assert_recovers("500", Fault::status(500, r#"{"error":"internal"}"#)),
        assert_recovers("502", Fault::status(502, "<html>Bad Gateway</html>")),
        assert_recovers("408", Fault::status(408, "")),
        assert_recovers("409", Fault::status(409, "")),
        assert_recovers("reset", Fault::Reset),
        assert_recovers("cut", Fault::TruncatedBody),
        assert_state_unchanged("504", Fault::status(504, ""), "HTTP 504"),
        assert_state_unchanged("hang", Fault::Hang, "timed out"),
        assert_state_unchanged("slow", Fault::Delayed(Duration::from_mins(1)), "timed out"),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_40_41_45_an_unreadable_response_changes_nothing() {
    let other_job = br#"{"execution_id":"01OTHER","state":"QUERY_STATE_FAILED"}"#;
    let duplicate_field = br#"{"execution_id":"01GBM4W2N0NMCGPZYW8AYK4YF1","state":"QUERY_STATE_FAILED","state":"QUERY_STATE_COMPLETED"}"#;
    tokio::join!(
        assert_recovers("html", json_fault(b"<html>Welcome</html>")),
        assert_recovers("empty", json_fault(b"")),
        assert_recovers("null", json_fault(b"null")),
        assert_recovers("array", json_fault(b"[]")),
        assert_state_unchanged(
            "truncated",
            json_fault(br#"{"execution_id":"01GBM4W2N"#),
            "cannot be parsed"
        ),
        assert_state_unchanged("another job", json_fault(other_job), "another execution"),
        assert_state_unchanged("duplicate field", json_fault(duplicate_field), "duplicate field"),
        assert_state_unchanged(
            "no state",
            json_fault(br#"{"execution_id":"01GBM4W2N0NMCGPZYW8AYK4YF1"}"#),
            "missing field"
        ),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_42_an_oversized_or_endless_response_changes_nothing() {
    tokio::join!(
        assert_recovers("huge", Fault::HugeBody(64 << 20)),
        assert_recovers("bomb", Fault::GzipBomb(64 << 20)),
        assert_state_unchanged("chunks", Fault::EndlessChunks, "longer than"),
        assert_state_unchanged(
            "slow headers",
            Fault::SlowHeaders(Duration::from_secs(1)),
            "timed out"
        ),
        assert_state_unchanged("slow body", Fault::SlowBody(Duration::from_secs(1)), "timed out"),
    );
}

/// Asserts that `fault` pauses the provider visibly, and that a reload ends the pause at once.
async fn assert_pauses_provider(name: &str, fault: Fault, error: &str) {
    let (dune, home) = faulty_provider(fault, FaultRepeat::Always).await;
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", EXECUTION_ID]);
    dune.wait_for_requests(1, EVENT_TIMEOUT).await;
    daemon.wait_for_status(&home, |status| status["providers"][0]["pause"].is_object()).await;
    let status = home.run_client_ok(&["status"]);
    assert!(status.contains(error), "{name}: {status}");
    assert_eq!(home.run_client(&["status", "--fail"]).status.code(), Some(1), "{name}");
    assert_eq!(dune.request_count(), 1, "{name}: a request was sent during the pause");
    let state_sql = "SELECT state FROM jobs";
    assert_eq!(db::query_value(&home.database(), state_sql), "registered", "{name}");
    dune.clear_faults();
    home.run_client_ok(&["reload"]);
    let waited = home.run_client(&["wait", "1", "--timeout", "25s"]);
    assert!(waited.status.success(), "{name}: {}", home.log());
    let log = home.wait_for_log("succeed again", 1);
    assert_eq!(
        log.matches("request rejected; polling of").count(),
        1,
        "{name}: the pause is logged once\n{log}"
    );
    assert_eq!(
        log.matches("succeed again").count(),
        1,
        "{name}: the recovery is logged once\n{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_33_34_43_a_rejection_pauses_the_provider_and_changes_no_job() {
    tokio::join!(
        assert_pauses_provider(
            "401",
            Fault::status(401, r#"{"error":"invalid API Key"}"#),
            "invalid API Key"
        ),
        assert_pauses_provider(
            "402",
            Fault::status(
                402,
                r#"{"error":"This API request would exceed your configured limits per billing cycle"}"#
            ),
            "billing cycle"
        ),
        assert_pauses_provider("403", Fault::status(403, ""), "HTTP 403"),
        assert_pauses_provider(
            "wrong host",
            Fault::status(404, "<html>nothing here</html>"),
            "HTTP 404"
        ),
        assert_pauses_provider(
            "redirect",
            Fault::Redirect("http://127.0.0.1:9/elsewhere".into()),
            "HTTP 302"
        ),
        assert_pauses_provider("429", Fault::RateLimited { retry_after: None }, "HTTP 429"),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_37_retry_after_is_honored() {
    let (dune, home) =
        faulty_provider(Fault::RateLimited { retry_after: Some("2".into()) }, FaultRepeat::Once)
            .await;
    let _daemon = home.start();
    home.run_client_ok(&["add", "dune", EXECUTION_ID]);
    assert!(home.run_client(&["wait", "1", "--timeout", "25s"]).status.success());
    let requests = dune.requests();
    let interval = requests[1].received_at.monotonic - requests[0].received_at.monotonic;
    assert!(interval >= Duration::from_secs(2), "polled again after {interval:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_35_a_single_not_found_does_not_lose_a_job() {
    let dune = FakeServer::start().await;
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_WITH_TIMEOUT_TOML);
    let _daemon = home.start();
    home.run_client_ok(&["add", "dune", EXECUTION_ID]);
    dune.wait_for_requests(4, EVENT_TIMEOUT).await;
    let polled = home.poll_job_1();
    assert!(polled.contains("Object not found") && polled.contains("registered"), "{polled}");
    dune.add_job(
        EXECUTION_ID,
        JobScript::new().running(Duration::from_millis(1)).ending_with(JobEnd::Completed),
    );
    assert!(home.run_client(&["wait", "1", "--timeout", "25s"]).status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_46_an_outcome_is_final_and_a_contradiction_is_recorded() {
    let dune = FakeServer::start().await;
    dune.add_job(
        EXECUTION_ID,
        JobScript::new().running(Duration::from_millis(1)).ending_with(JobEnd::Completed),
    );
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_WITH_TIMEOUT_TOML);
    let _daemon = home.start();
    home.run_client_ok(&["add", "dune", EXECUTION_ID]);
    assert!(home.run_client(&["wait", "1", "--timeout", "25s"]).status.success());
    dune.add_job(
        EXECUTION_ID,
        JobScript::new().running(Duration::from_mins(10)).ending_with(JobEnd::Failed),
    );
    let polled = home.poll_job_1();
    assert!(polled.contains("\"state\":\"succeeded\""), "{polled}");
    let anomalies_sql = "SELECT job_id, reason FROM provider_event WHERE kind = 'anomaly'";
    assert_eq!(
        db::query_value(&home.database(), anomalies_sql),
        "1|recorded as succeeded (QUERY_STATE_COMPLETED), now reported as running (QUERY_STATE_EXECUTING)"
    );
    assert_eq!(db::query_value(&home.database(), "SELECT count(*) FROM history"), "4");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_34_one_forbidden_job_does_not_pause_the_provider_repeatedly() {
    let dune = FakeServer::start().await;
    dune.add_job(
        "01ALLOWED",
        JobScript::new().running(Duration::from_hours(1)).ending_with(JobEnd::Completed),
    );
    dune.add_job(
        "01FORBIDDEN",
        JobScript::new().running(Duration::from_hours(1)).ending_with(JobEnd::Completed),
    );
    let forbidden = Fault::status(403, r#"{"error":"not yours"}"#);
    dune.inject_fault(FaultTarget::job("01FORBIDDEN"), forbidden, FaultRepeat::Always);
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_WITH_TIMEOUT_TOML);
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "01FORBIDDEN", "01ALLOWED"]);
    dune.wait_for_first_request_for("01FORBIDDEN", EVENT_TIMEOUT).await;
    daemon.wait_for_status(&home, |status| status["providers"][0]["pause"].is_object()).await;
    home.run_client_ok(&["reload"]);
    // The second 403 for the same job shows that only this job is forbidden: both jobs are polled.
    dune.wait_for_requests_for("01ALLOWED", 10, EVENT_TIMEOUT).await;
    dune.wait_for_requests_for("01FORBIDDEN", 4, EVENT_TIMEOUT).await;
    dune.wait_for_requests_for("01ALLOWED", 20, EVENT_TIMEOUT).await;
    daemon.wait_for_status(&home, |status| status["providers"][0]["pause"].is_null()).await;
    let row = "SELECT state, last_poll_error FROM jobs WHERE remote_id = '01FORBIDDEN'";
    assert_eq!(db::query_value(&home.database(), row), "registered|HTTP 403: not yours");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_34_a_rejected_signature_is_not_retried_at_once() {
    let lake = FakeServer::start().await;
    let ids: Vec<_> = (0..20).map(|n| format!("job-{n}")).collect();
    for id in &ids {
        lake.add_job_of(ServiceKind::Dli, id, JobScript::new().ending_with(JobEnd::Completed));
    }
    let home = DaemonHome::without_config();
    let dir = home.path("");
    let lake_config = format!(
        "[providers.lake]\nkind = \"dli\"\nbase_url = \"{}\"\nproject_id = \"4f1\"\n\
         auth = {{ ak = {{ file = \"{dir}/ak\" }}, sk = {{ file = \"{dir}/sk\" }} }}\n\
         max_in_flight = 1\n{FAST_POLLING_WITH_TIMEOUT_TOML}",
        lake.base_url(),
        dir = dir.display()
    );
    home.configure(&lake.base_url(), &lake_config);
    let write_key =
        |name: &str, text: &str| std::fs::write(home.path(name), text).expect("a key file");
    write_key("ak", fake_server::ACCESS_KEY_ID);
    write_key("sk", "outdated-sk");
    let daemon = home.start();
    home.run_client_ok(
        &[&["add", "lake"], &ids.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat(),
    );
    lake.wait_for_requests(1, EVENT_TIMEOUT).await;
    let is_paused = |status: &serde_json::Value| status["providers"][1]["pause"].is_object();
    daemon.wait_for_status(&home, is_paused).await;
    let status = home.run_client_ok(&["status"]);
    assert!(status.contains("verify aksk signature fail"), "{status}");
    // Huawei Cloud locks a key after several rejected requests in a row.
    assert_eq!(lake.request_count(), 1, "more than one request with a rejected signature");
    write_key("sk", fake_server::SECRET_ACCESS_KEY);
    home.run_client_ok(&["reload"]);
    let waited = home.run_client(&["wait", "1", "2", "3", "--timeout", "25s"]);
    assert!(waited.status.success(), "{}", home.log());
    for secret in [fake_server::ACCESS_KEY_ID, fake_server::SECRET_ACCESS_KEY, "outdated-sk"] {
        assert!(!home.log().contains(secret), "{secret} is in the log");
    }
}
