//! What a provider's bad day means for a job: nothing. Each error and each bad answer goes through
//! the real daemon; the job stands as it stood, the failure is noted, and the end is seen all the
//! same once the provider answers again.

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

/// A provider that is put out for as long as `fault` lasts, with one job that is over long since.
async fn faulty_provider(fault: Fault, times: FaultRepeat) -> (FakeServer, DaemonHome) {
    let dune = FakeServer::start().await;
    dune.add_job(
        EXECUTION_ID,
        JobScript::new().running(Duration::from_millis(1)).ending_with(JobEnd::Completed),
    );
    dune.inject_fault(FaultTarget::All, fault, times);
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_WITH_TIMEOUT_TOML);
    (dune, home)
}

/// After `fault`, twice, the job ends well, with two failed polls that were counted.
async fn assert_recovers(name: &str, fault: Fault) {
    let (dune, home) = faulty_provider(fault, FaultRepeat::Times(2)).await;
    let _daemon = home.start();
    home.run_client_ok(&["add", "dune", EXECUTION_ID]);
    dune.wait_for_requests(2, EVENT_TIMEOUT).await;
    let waited = home.run_client(&["wait", "1", "--timeout", "25s"]);
    assert!(waited.status.success(), "{name}: {}", home.log());
    let counts =
        db::query_value(&home.database(), "SELECT failed_polls, polls, last_poll_error FROM jobs");
    assert_eq!(counts, "2|3|", "{name}: the failures are counted, a good answer clears the text");
    let states = db::query_rows(&home.database(), "SELECT to_state FROM history");
    assert_eq!(states, ["registered", "pending", "running", "succeeded"], "{name}");
    assert!(!home.log().contains("fake-api-key"), "{name}: the key is in the log");
}

/// While `fault` lasts, the job stands as it stood and says why.
async fn assert_state_unchanged(name: &str, fault: Fault, why: &str) {
    let (dune, home) = faulty_provider(fault, FaultRepeat::Always).await;
    let _daemon = home.start();
    home.run_client_ok(&["add", "dune", EXECUTION_ID]);
    dune.wait_for_requests(1, EVENT_TIMEOUT).await;
    let polled = home.poll_job_1();
    assert!(polled.contains("\"state\":\"registered\""), "{name}: {polled}");
    assert!(polled.contains(why), "{name}: {polled}");
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
async fn fault_40_41_45_an_answer_that_cannot_be_read_changes_nothing() {
    let other = br#"{"execution_id":"01OTHER","state":"QUERY_STATE_FAILED"}"#;
    let twice = br#"{"execution_id":"01GBM4W2N0NMCGPZYW8AYK4YF1","state":"QUERY_STATE_FAILED","state":"QUERY_STATE_COMPLETED"}"#;
    tokio::join!(
        assert_recovers("html", json_fault(b"<html>Welcome</html>")),
        assert_recovers("nothing", json_fault(b"")),
        assert_recovers("null", json_fault(b"null")),
        assert_recovers("array", json_fault(b"[]")),
        assert_state_unchanged(
            "truncated",
            json_fault(br#"{"execution_id":"01GBM4W2N"#),
            "cannot be parsed"
        ),
        assert_state_unchanged("another job", json_fault(other), "another execution"),
        assert_state_unchanged("twice", json_fault(twice), "duplicate field"),
        assert_state_unchanged(
            "no state",
            json_fault(br#"{"execution_id":"01GBM4W2N0NMCGPZYW8AYK4YF1"}"#),
            "missing field"
        ),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_42_an_endless_answer_changes_nothing() {
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

/// The whole provider is left alone, visibly, and a reload tries at once.
async fn assert_pauses_provider(name: &str, fault: Fault, why: &str) {
    let (dune, home) = faulty_provider(fault, FaultRepeat::Always).await;
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", EXECUTION_ID]);
    dune.wait_for_requests(1, EVENT_TIMEOUT).await;
    daemon.wait_for_status(&home, |status| status["providers"][0]["pause"].is_object()).await;
    let status = home.run_client_ok(&["status"]);
    assert!(status.contains(why), "{name}: {status}");
    assert_eq!(home.run_client(&["status", "--fail"]).status.code(), Some(1), "{name}");
    assert_eq!(dune.request_count(), 1, "{name}: no second request while it is paused");
    let state = "SELECT state FROM jobs";
    assert_eq!(db::query_value(&home.database(), state), "registered", "{name}");
    dune.clear_faults();
    home.run_client_ok(&["reload"]);
    let waited = home.run_client(&["wait", "1", "--timeout", "25s"]);
    assert!(waited.status.success(), "{name}: {}", home.log());
    let log = home.log();
    assert_eq!(
        log.matches("request rejected; polling of").count(),
        1,
        "{name}: one line at the beginning\n{log}"
    );
    assert_eq!(log.matches("succeed again").count(), 1, "{name}: one line at the end\n{log}");
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
    let apart = requests[1].received_at.monotonic - requests[0].received_at.monotonic;
    assert!(apart >= Duration::from_secs(2), "asked again after {apart:?}");
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
async fn fault_44_an_unknown_provider_state_is_kept_and_reported_once() {
    let dune = FakeServer::start().await;
    let half = Duration::from_millis(500);
    dune.add_job(
        EXECUTION_ID,
        JobScript::starting_at_first_request()
            .with_phase(
                half,
                fake_server::dune::phase_of_state("QUERY_STATE_PENDING").expect("known"),
            )
            .running(half)
            .ending_in_state("QUERY_STATE_DREAMING", None),
    );
    dune.add_job("01OVER", JobScript::new().ending_in_state("QUERY_STATE_EVAPORATED", Some(true)));
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_WITH_TIMEOUT_TOML);
    let _daemon = home.start();
    home.run_client_ok(&["add", "dune", EXECUTION_ID, "01OVER"]);
    assert_eq!(
        home.run_client(&["wait", "dune/01OVER", "--timeout", "25s"]).status.code(),
        Some(3)
    );
    let over = "SELECT state, provider_state FROM jobs WHERE remote_id = '01OVER'";
    assert_eq!(db::query_value(&home.database(), over), "indeterminate|QUERY_STATE_EVAPORATED");
    let mut seen = String::new();
    while !seen.contains("unknown") {
        seen = home.poll_job_1();
    }
    home.run_client_ok(&["poll", "1"]);
    assert!(seen.contains("QUERY_STATE_DREAMING"), "{seen}");
    assert_eq!(home.log().matches("QUERY_STATE_DREAMING").count(), 1, "reported once");
    dune.add_job(EXECUTION_ID, JobScript::new().ending_with(JobEnd::Failed));
    assert_eq!(home.run_client(&["wait", "1", "--timeout", "25s"]).status.code(), Some(1));
    let steps = db::query_rows(&home.database(), "SELECT to_state FROM history WHERE job_id = 1");
    assert_eq!(steps, ["registered", "pending", "running", "unknown", "failed"]);
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
    let anomaly = "SELECT job_id, reason FROM provider_event WHERE kind = 'anomaly'";
    assert_eq!(
        db::query_value(&home.database(), anomaly),
        "1|recorded as succeeded (QUERY_STATE_COMPLETED), now reported as running (QUERY_STATE_EXECUTING)"
    );
    assert_eq!(db::query_value(&home.database(), "SELECT count(*) FROM history"), "4");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_34_one_forbidden_job_does_not_pause_the_provider_repeatedly() {
    let dune = FakeServer::start().await;
    dune.add_job(
        "01OURS",
        JobScript::new().running(Duration::from_hours(1)).ending_with(JobEnd::Completed),
    );
    dune.add_job(
        "01THEIRS",
        JobScript::new().running(Duration::from_hours(1)).ending_with(JobEnd::Completed),
    );
    let forbidden = Fault::status(403, r#"{"error":"not yours"}"#);
    dune.inject_fault(FaultTarget::job("01THEIRS"), forbidden, FaultRepeat::Always);
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_WITH_TIMEOUT_TOML);
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "01THEIRS", "01OURS"]);
    dune.wait_for_first_request_for("01THEIRS", EVENT_TIMEOUT).await;
    daemon.wait_for_status(&home, |status| status["providers"][0]["pause"].is_object()).await;
    home.run_client_ok(&["reload"]);
    // From now on it is known to be about the job: both are asked on.
    dune.wait_for_requests_for("01OURS", 10, EVENT_TIMEOUT).await;
    dune.wait_for_requests_for("01THEIRS", 4, EVENT_TIMEOUT).await;
    dune.wait_for_requests_for("01OURS", 20, EVENT_TIMEOUT).await;
    daemon.wait_for_status(&home, |status| status["providers"][0]["pause"].is_null()).await;
    let row = "SELECT state, last_poll_error FROM jobs WHERE remote_id = '01THEIRS'";
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
    let dir = dir.display();
    let lake_config = format!(
        "[providers.lake]\nkind = \"dli\"\nbase_url = \"{}\"\nproject_id = \"4f1\"\n\
         auth = {{ ak = {{ file = \"{dir}/ak\" }}, sk = {{ file = \"{dir}/sk\" }} }}\n\
         max_in_flight = 1\n{FAST_POLLING_WITH_TIMEOUT_TOML}",
        lake.base_url()
    );
    home.configure(&lake.base_url(), &lake_config);
    let write = |name: &str, text: &str| std::fs::write(home.path(name), text).expect("a key");
    write("ak", fake_server::ACCESS_KEY_ID);
    write("sk", "outdated-sk");
    let daemon = home.start();
    home.run_client_ok(
        &[&["add", "lake"], &ids.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat(),
    );
    lake.wait_for_requests(1, EVENT_TIMEOUT).await;
    let paused = |status: &serde_json::Value| status["providers"][1]["pause"].is_object();
    daemon.wait_for_status(&home, paused).await;
    let why = home.run_client_ok(&["status"]);
    assert!(why.contains("verify aksk signature fail"), "{why}");
    // Some more in a row would lock the key.
    assert_eq!(lake.request_count(), 1, "whatever the number of jobs");
    write("sk", fake_server::SECRET_ACCESS_KEY);
    home.run_client_ok(&["reload"]);
    let waited = home.run_client(&["wait", "1", "2", "3", "--timeout", "25s"]);
    assert!(waited.status.success(), "{}", home.log());
    for secret in [fake_server::ACCESS_KEY_ID, fake_server::SECRET_ACCESS_KEY, "outdated-sk"] {
        assert!(!home.log().contains(secret), "{secret} is in the log");
    }
}
