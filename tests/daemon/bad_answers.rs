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

/// Asserts that `fault` pauses a provider with a single job visibly, that a reload without a change does
/// not end the pause, and that polling continues after a connection check that is accepted.
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
    home.run_client_ok(&["reload"]);
    assert_eq!(dune.request_count(), 1, "{name}: a reload without a change ends no pause");
    dune.clear_faults();
    // A pause because of the rate limit holds for checks too, and ends by itself.
    let check = home.run_client(&["check", "dune"]);
    assert_eq!(check.status.success(), name != "429", "{name}: {}", home.log());
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

/// Twenty running jobs and five whose status requests are answered with `rejection`, which are added
/// first. Asserts that all others are polled, and that the provider is not paused.
async fn assert_rejected_jobs_do_not_stop_others(name: &str, rejection: Fault) {
    let dune = FakeServer::start().await;
    let ids = |prefix: &str, count| (0..count).map(|n| format!("01{prefix}{n}")).collect();
    let (rejected, allowed): (Vec<String>, Vec<String>) = (ids("REJECTED", 5), ids("ALLOWED", 20));
    for id in rejected.iter().chain(&allowed) {
        let script = JobScript::new().running(Duration::from_hours(1));
        dune.add_job(id, script.ending_with(JobEnd::Completed));
    }
    for id in &rejected {
        dune.inject_fault(FaultTarget::job(id), rejection.clone(), FaultRepeat::Always);
    }
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_WITH_TIMEOUT_TOML);
    let daemon = home.start();
    let ids: Vec<_> = rejected.iter().chain(&allowed).map(String::as_str).collect();
    home.run_client_ok(&[&["add", "dune"], &ids[..]].concat());
    for id in &allowed {
        dune.wait_for_requests_for(id, 3, EVENT_TIMEOUT).await;
    }
    dune.wait_for_requests_for(&rejected[0], 3, EVENT_TIMEOUT).await;
    daemon
        .wait_for_status(&home, |status| {
            let provider = &status["providers"][0];
            provider["pause"].is_null() && provider["outage_began_at"].is_null()
        })
        .await;
    let outages = "SELECT count(*) FROM provider_event WHERE kind = 'outage' AND provider = 'dune'";
    assert_eq!(db::query_value(&home.database(), outages), "0", "{name}");
    assert!(!home.log().contains("paused"), "{name}: {}", home.log());
    let states = "SELECT state, count(*) FROM jobs GROUP BY state ORDER BY state";
    assert_eq!(db::query_rows(&home.database(), states), ["registered|5", "running|20"], "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_34_60_rejected_jobs_do_not_stop_the_polls_of_others() {
    for (name, rejection) in [
        ("401", Fault::status(401, r#"{"error":"invalid API Key"}"#)),
        ("402", Fault::status(402, r#"{"error":"not in your plan"}"#)),
        ("403", Fault::status(403, r#"{"error":"not yours"}"#)),
        ("404 in the words of another error", Fault::status(404, r#"{"error":"invalid API Key"}"#)),
        ("a redirect", Fault::Redirect("http://127.0.0.1:9/elsewhere".into())),
    ] {
        assert_rejected_jobs_do_not_stop_others(name, rejection).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_61_retry_after_with_503_pauses_the_provider() {
    let dune = FakeServer::start().await;
    let ids: Vec<_> = (0..20).map(|n| format!("01JOB{n}")).collect();
    for id in &ids {
        dune.add_job(id, JobScript::new().ending_with(JobEnd::Completed));
    }
    let headers = vec![("retry-after".to_owned(), "3".to_owned())];
    let unavailable = Fault::Status { code: 503, body: String::new(), headers };
    dune.inject_fault(FaultTarget::All, unavailable, FaultRepeat::Times(2));
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_WITH_TIMEOUT_TOML);
    let _daemon = home.start();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    home.run_client_ok(&[&["add", "dune"], &ids[..]].concat());
    dune.wait_for_requests(3, EVENT_TIMEOUT).await;
    for pair in dune.requests()[..3].windows(2) {
        let interval = pair[1].received_at.monotonic - pair[0].received_at.monotonic;
        assert!(interval >= Duration::from_secs(3), "polled again after {interval:?}");
    }
    assert!(home.run_client(&["wait", "1", "20", "--timeout", "25s"]).status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_70_a_job_that_alone_cannot_be_read_is_given_up() {
    let dune = FakeServer::start().await;
    for id in ["01UNREADABLE", "01GOOD"] {
        dune.add_job(id, JobScript::new().running(Duration::from_hours(1)));
    }
    let unreadable = json_fault(b"<html>Welcome</html>");
    dune.inject_fault(FaultTarget::job("01UNREADABLE"), unreadable, FaultRepeat::Always);
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_WITH_TIMEOUT_TOML);
    let _daemon = home.start();
    home.run_client_ok(&["add", "dune", "01GOOD"]);
    home.run_client_ok(&["add", "dune", "01UNREADABLE", "--give-up-after", "2s"]);
    let waited = home.run_client(&["wait", "dune/01UNREADABLE", "--timeout", "25s"]);
    assert!(waited.status.code().is_some(), "{}", home.log());
    let job = "SELECT state, message FROM jobs WHERE remote_id = '01UNREADABLE'";
    let row = db::query_value(&home.database(), job);
    assert!(row.starts_with("untracked|given up: unfinished 2s after registration"), "{row}");
    assert!(row.contains("not a JSON object"), "{row}");
    let good = "SELECT state FROM jobs WHERE remote_id = '01GOOD'";
    assert_eq!(db::query_value(&home.database(), good), "running");
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
    // Huawei Cloud locks a key after more than five rejected requests in a row.
    assert_eq!(lake.request_count(), 1, "too many requests with a rejected signature");
    write_key("sk", fake_server::SECRET_ACCESS_KEY);
    home.run_client_ok(&["reload"]);
    let waited = home.run_client(&["wait", "1", "2", "3", "--timeout", "25s"]);
    assert!(waited.status.success(), "{}", home.log());
    for secret in [fake_server::ACCESS_KEY_ID, fake_server::SECRET_ACCESS_KEY, "outdated-sk"] {
        assert!(!home.log().contains(secret), "{secret} is in the log");
    }
}
