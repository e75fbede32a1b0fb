//! `jobtrack cancel` and `jobtrack check` with the real daemon: a job is cancelled at its service
//! and its end is observed, and a check reports what is wrong with a provider.

use std::process::Output;
use std::time::Duration;

use crate::support::daemon::{DaemonHome, utf8};
use crate::support::fake_server::{
    self, ClockSample, FakeServer, Fault, FaultRepeat, FaultTarget, JobScript, ServiceKind,
};
use crate::support::{EVENT_TIMEOUT, FAST_POLLING_TOML, db};
use jiff::{Timestamp, ToSpan};
use jobtrack::clock::Clock;
use serde_json::Value;

const EXECUTION_ID: &str = "01GBM4W2N0NMCGPZYW8AYK4YF1";
const JOB_ID: &str = "208b08d4-0dc2-4dd7-8879-ddd4c020d7aa";
const INSTANCE_ID: &str = "dwsscript/a1ad-448a-9d56-4154193d49c5";
/// A job is polled once, and then only on demand.
const ON_DEMAND_ONLY_TOML: &str =
    "requests_per_minute = 3000\nmin_interval = \"1h\"\nmax_interval = \"1h\"";

fn exit_code(output: &Output) -> i32 {
    output.status.code().expect("the client was not ended by a signal")
}

/// A daemon's directory with a provider of each kind on one server, and a running job of each kind.
async fn three_providers(provider_toml: &str) -> (FakeServer, DaemonHome) {
    let server = FakeServer::start().await;
    for (kind, id) in [
        (ServiceKind::Dune, EXECUTION_ID),
        (ServiceKind::Dli, JOB_ID),
        (ServiceKind::DataArts, INSTANCE_ID),
    ] {
        server.add_job_of(kind, id, JobScript::new().running(Duration::from_hours(1)));
    }
    let home = DaemonHome::without_config();
    let (base, key) = (server.base_url(), home.path("key"));
    let huawei = |name, kind| {
        format!(
            "[providers.{name}]\nkind = \"{kind}\"\nbase_url = \"{base}\"\nproject_id = \"4f1\"\n\
             auth = {{ token = {{ file = \"{}\" }} }}\n{provider_toml}\n",
            key.display()
        )
    };
    let (lake, scripts) = (huawei("lake", "dli"), huawei("scripts", "dataarts"));
    home.configure(&base, &format!("{provider_toml}\n{lake}{scripts}"));
    (server, home)
}

/// Whether the provider `dune` is paused.
fn is_paused(status: &Value) -> bool {
    let mut providers = status["providers"].as_array().expect("providers").iter();
    providers.any(|provider| provider["provider"] == "dune" && !provider["pause"].is_null())
}

/// Runs `jobtrack check`; returns its JSON and its exit code.
fn run_check(home: &DaemonHome, provider: &str) -> (Value, i32) {
    let output = home.run_client(&["--json", "check", provider]);
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|error| panic!("{error}: {}", utf8(&output.stderr)));
    (report, exit_code(&output))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_of_each_kind_is_cancelled_and_its_end_is_observed() {
    let (server, home) = three_providers(ON_DEMAND_ONLY_TOML).await;
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", EXECUTION_ID]);
    home.run_client_ok(&["add", "lake", JOB_ID]);
    home.run_client_ok(&["add", "scripts", INSTANCE_ID]);
    for id in ["1", "2", "3"] {
        assert!(home.run_client_ok(&["poll", id]).contains("running"), "{}", home.log());
    }
    let input = format!("1 ignored\n# a comment\nlake/{JOB_ID}\n");
    let two = home.run_client_with_input(&["cancel", "-"], &input);
    assert_eq!(exit_code(&two), 0, "{}", utf8(&two.stderr));
    let lines: Vec<_> = utf8(&two.stdout).lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| line.contains("cancelled")), "{lines:?}");
    let third: Value =
        serde_json::from_str(&home.run_client_ok(&["--json", "cancel", "3"])).expect("JSON");
    assert_eq!(third["state"], "failed", "DataArts has no state for cancelled: {third}");

    let ends_sql = "SELECT to_state, provider_state, evidence FROM history
                WHERE from_state = 'running' ORDER BY job_id";
    let expected = [
        "cancelled|QUERY_STATE_CANCELLED|observed",
        "cancelled|CANCELLED|observed",
        "failed|FAILED|observed",
    ];
    assert_eq!(db::query_rows(&home.database(), ends_sql), expected);
    assert_eq!(db::history_violations(&home.database()), [""; 0]);
    let cancels = server.requests().iter().filter(|request| request.method != "GET").count();
    assert_eq!((cancels, server.client_violations()), (3, Vec::new()));
    // Cancel requests count towards the rate limit, like polls.
    let counted_requests = |status: &Value| {
        let providers = status["providers"].as_array().expect("providers").iter();
        providers.map(|it| it["requests_last_minute"].as_u64().unwrap_or(0)).sum::<u64>()
    };
    let sent = server.request_count() as u64;
    daemon.wait_for_status(&home, |status| counted_requests(status) == sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_rejected_cancel_does_not_stop_the_others() {
    let (server, home) = three_providers(ON_DEMAND_ONLY_TOML).await;
    let _daemon = home.start();
    home.run_client_ok(&["add", "dune", EXECUTION_ID]);
    home.run_client_ok(&["add", "lake", JOB_ID]);
    home.run_client_ok(&["poll", "1"]);
    home.run_client_ok(&["poll", "2"]);
    let cancel_rejection = r#"{"is_success":false,"message":"it is being committed"}"#;
    server.inject_fault(
        FaultTarget::job(JOB_ID),
        Fault::status(200, cancel_rejection),
        FaultRepeat::Once,
    );
    let requests_before = server.request_count_for_job(JOB_ID);
    let output = home.run_client(&["cancel", "2", "dune/01UNKNOWN", "1"]);
    let errors = utf8(&output.stderr);
    assert_eq!(exit_code(&output), 1, "{errors}");
    assert!(errors.contains("2: HTTP 200") && errors.contains("being committed"), "{errors}");
    assert!(errors.contains("no such job: dune/01UNKNOWN"), "{errors}");
    assert!(utf8(&output.stdout).contains("cancelled"), "job 1 was not cancelled: {errors}");
    assert_eq!(server.request_count_for_job(JOB_ID), requests_before + 1, "the cancel was retried");
    let state_sql = "SELECT state FROM jobs WHERE id = 2";
    assert_eq!(db::query_value(&home.database(), state_sql), "running");

    let requests_before = server.request_count();
    let finished = home.run_client(&["cancel", "1"]);
    assert_eq!(exit_code(&finished), 1);
    let error = utf8(&finished.stderr);
    assert!(error.contains("job 1 is finished (cancelled)"), "{error}");
    assert_eq!(server.request_count(), requests_before, "a finished job was cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_reports_each_rejection_by_its_code() {
    let (server, home) = three_providers(ON_DEMAND_ONLY_TOML).await;
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", EXECUTION_ID]);
    home.run_client_ok(&["poll", "1"]);
    let client = jobtrack::api::Client::open(Some(&home.socket())).expect("a client");
    let rejection = async |id| match client.cancel(jobtrack::job::JobId(id)).await {
        Err(jobtrack::api::ClientError::Rejected(problem)) => (problem.status, problem.code),
        other => panic!("{other:?}"),
    };
    server.inject_fault(FaultTarget::All, Fault::status(500, ""), FaultRepeat::Once);
    assert_eq!(rejection(1).await, (502, "provider_rejected".to_owned()));
    assert_eq!(rejection(9).await, (404, "not_found".to_owned()));
    server.set_credentials("another");
    assert_eq!(rejection(1).await, (502, "provider_rejected".to_owned()));
    daemon.wait_for_status(&home, is_paused).await;
    let requests_before = server.request_count();
    assert_eq!(rejection(1).await, (409, "provider_paused".to_owned()));
    assert_eq!(server.request_count(), requests_before, "a paused provider got a request");
    server.set_credentials(fake_server::API_KEY);
    home.run_client_ok(&["check", "dune"]);
    daemon.wait_for_status(&home, |status| !is_paused(status)).await;
    home.run_client_ok(&["cancel", "1"]);
    assert_eq!(rejection(1).await, (409, "job_finished".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_cancel_permission_does_not_stop_polling() {
    let (server, home) = three_providers(ON_DEMAND_ONLY_TOML).await;
    let _daemon = home.start();
    home.run_client_ok(&["add", "dune", EXECUTION_ID]);
    home.run_client_ok(&["poll", "1"]);
    server.inject_fault(FaultTarget::All, Fault::status(403, "{}"), FaultRepeat::Once);
    let rejected = home.run_client(&["cancel", "1"]);
    assert_eq!(exit_code(&rejected), 1);
    assert!(utf8(&rejected.stderr).contains("HTTP 403"), "{}", utf8(&rejected.stderr));
    assert!(home.run_client_ok(&["poll", "1"]).contains("running"), "{}", home.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn check_reports_each_misconfigured_provider() {
    let (server, home) = three_providers(FAST_POLLING_TOML).await;
    let daemon = home.start();
    for provider in ["dune", "lake", "scripts"] {
        let (report, exit) = run_check(&home, provider);
        assert_eq!((exit, &report["finding"]), (0, &"ok".into()), "{provider}: {report}");
        assert_eq!(report["advice"], Value::Array(Vec::new()), "{report}");
    }
    // A restart, because the result of a check is shared for a while.
    drop(daemon);
    let daemon = home.start();
    let two_hours_ago = (Timestamp::from_millisecond(Clock::start().utc_now().as_millis())
        .expect("a time")
        - 2.hours())
    .strftime("%a, %d %b %Y %H:%M:%S GMT")
    .to_string();
    let old_date = Fault::Status {
        code: 404,
        body: r#"{"error":"Object not found"}"#.to_owned(),
        headers: vec![("date".to_owned(), two_hours_ago)],
    };
    server.inject_fault(FaultTarget::All, old_date, FaultRepeat::Once);
    let clock_check = home.run_client(&["check", "dune"]);
    let printed = utf8(&clock_check.stdout);
    assert_eq!(exit_code(&clock_check), 1, "{printed}");
    assert!(printed.contains("is 120 minutes ahead"), "{printed}");

    drop(daemon);
    let daemon = home.start();
    server.set_credentials("another");
    for (provider, setting) in [("dune", "api_key"), ("lake", "auth"), ("scripts", "auth")] {
        let (report, exit) = run_check(&home, provider);
        assert_eq!((exit, &report["finding"]), (1, &"invalid_credentials".into()), "{report}");
        assert!(report["detail"].as_str().is_some_and(|detail| detail.contains("401")), "{report}");
        assert!(report["advice"][0].as_str().is_some_and(|advice| advice.contains(setting)));
    }
    let printed = utf8(&home.run_client(&["check", "lake"]).stdout);
    assert!(printed.starts_with("lake: credential rejected: HTTP 401: APIGW.0301"), "{printed}");
    drop(daemon);
    let _daemon = home.start();
    server.pause().await;
    let (report, exit) = run_check(&home, "lake");
    assert_eq!((exit, &report["finding"]), (1, &"unreachable".into()), "{report}");
    assert_eq!(server.client_violations(), [""; 0]);
    assert!(!home.log().contains(fake_server::API_KEY), "{}", home.log());

    let unknown = home.run_client(&["check", "dunno"]);
    assert_eq!(exit_code(&unknown), 1);
    let error = utf8(&unknown.stderr);
    assert!(error.contains("dunno is not configured; configured: dune, lake, scripts"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_of_a_paused_provider_ends_the_pause_if_it_is_accepted() {
    let (server, home) = three_providers(FAST_POLLING_TOML).await;
    server.set_credentials("another");
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", EXECUTION_ID]);
    daemon.wait_for_status(&home, is_paused).await;
    let requests_before = server.request_count();
    server.set_credentials(fake_server::API_KEY);
    let (report, exit) = run_check(&home, "dune");
    assert_eq!((exit, &report["finding"]), (0, &"ok".into()), "{report}");
    daemon.wait_for_status(&home, |status| !is_paused(status)).await;
    server.wait_for_requests_for(EXECUTION_ID, 2, EVENT_TIMEOUT).await;
    assert!(server.request_count() > requests_before + 1);
}

/// Orders this many checks at the same time; returns the findings.
async fn order_checks(home: &DaemonHome, count: usize) -> Vec<String> {
    let client = jobtrack::api::Client::open(Some(&home.socket())).expect("a client");
    let provider = "dune".parse().expect("a name");
    let checks = (0..count).map(|_| client.check(&provider));
    let reports = futures_util::future::join_all(checks).await;
    reports.into_iter().map(|report| format!("{:?}", report.map(|report| report.finding))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_62_many_checks_share_one_request_and_a_rejected_key_is_not_tried_again() {
    let (server, home) = three_providers("requests_per_minute = 30").await;
    let _daemon = home.start();
    let findings = order_checks(&home, 50).await;
    assert!(findings.iter().all(|finding| finding.contains("Ok")), "{findings:?}");
    assert!(server.request_count() <= 2, "{} requests for 50 checks", server.request_count());

    let (server, home) = three_providers("requests_per_minute = 30").await;
    server.set_credentials("another");
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", EXECUTION_ID]);
    daemon.wait_for_status(&home, is_paused).await;
    for _ in 0..5 {
        let findings = order_checks(&home, 10).await;
        let rejected = findings.iter().all(|finding| finding.contains("InvalidCredentials"));
        assert!(rejected, "{findings:?}");
    }
    home.run_client_ok(&["reload"]);
    order_checks(&home, 10).await;
    assert_eq!(server.request_count(), 2, "one poll and one check with a rejected key");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_62_cancels_wait_for_the_rate_limit() {
    let server = FakeServer::start().await;
    let ids: Vec<_> = (0..8).map(|n| format!("01CANCEL{n}")).collect();
    for id in &ids {
        server.add_job(id, JobScript::new().running(Duration::from_hours(1)));
    }
    let home = DaemonHome::new(&server.base_url(), "min_interval = \"1h\"\nmax_interval = \"1h\"");
    let _daemon = home.start();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    home.run_client_ok(&[&["add", "dune"], &ids[..]].concat());
    server.wait_for_requests(8, EVENT_TIMEOUT).await;
    // A request every half second, and no burst after new settings.
    let toml = "requests_per_minute = 120\nmin_interval = \"1h\"\nmax_interval = \"1h\"";
    home.configure(&server.base_url(), toml);
    let started = ClockSample::read().monotonic;
    home.run_client_ok(&["reload"]);
    let client = jobtrack::api::Client::open(Some(&home.socket())).expect("a client");
    let cancels = (1..=8).map(|id| client.cancel(jobtrack::job::JobId(id)));
    let results = futures_util::future::join_all(cancels).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let requests = server.requests();
    let sent = requests.iter().filter(|request| request.method != "GET").count();
    assert_eq!(sent, 8);
    for (number, request) in (0..).zip(&requests[8..]) {
        let elapsed = request.received_at.monotonic - started;
        assert!(elapsed >= number * Duration::from_millis(500), "{number} within {elapsed:?}");
    }
}
