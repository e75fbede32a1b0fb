//! `cancel` and `check`, with the real daemon and the real client: a job is stopped at its service and
//! its end is observed, and a provider that is set up wrongly is told what to mend.

use std::process::Output;
use std::time::Duration;

use crate::support::daemon::{DaemonHome, utf8};
use crate::support::fake_server::{
    self, FakeServer, Fault, FaultRepeat, FaultTarget, JobScript, ServiceKind,
};
use crate::support::{EVENT_TIMEOUT, FAST_POLLING_TOML, db};
use jiff::{Timestamp, ToSpan};
use jobtrack::clock::Clock;
use serde_json::Value;

const EXECUTION_ID: &str = "01GBM4W2N0NMCGPZYW8AYK4YF1";
const JOB_ID: &str = "208b08d4-0dc2-4dd7-8879-ddd4c020d7aa";
const INSTANCE_ID: &str = "dwsscript/a1ad-448a-9d56-4154193d49c5";
/// A job is asked about once, and then by hand alone.
const ON_DEMAND_ONLY_TOML: &str =
    "requests_per_minute = 3000\nmin_interval = \"1h\"\nmax_interval = \"1h\"";

fn exit_code(output: &Output) -> i32 {
    output.status.code().expect("no signal ended it")
}

/// One provider of each kind at one stand-in, each with a job that runs.
async fn three_providers(provider_toml: &str) -> (FakeServer, DaemonHome) {
    let cloud = FakeServer::start().await;
    for (kind, id) in [
        (ServiceKind::Dune, EXECUTION_ID),
        (ServiceKind::Dli, JOB_ID),
        (ServiceKind::DataArts, INSTANCE_ID),
    ] {
        cloud.add_job_of(kind, id, JobScript::new().running(Duration::from_hours(1)));
    }
    let home = DaemonHome::without_config();
    let (base, key) = (cloud.base_url(), home.path("key"));
    let huawei = |name, kind| {
        format!(
            "[providers.{name}]\nkind = \"{kind}\"\nbase_url = \"{base}\"\nproject_id = \"4f1\"\n\
             auth = {{ token = {{ file = \"{}\" }} }}\n{provider_toml}\n",
            key.display()
        )
    };
    let (lake, scripts) = (huawei("lake", "dli"), huawei("scripts", "dataarts"));
    home.configure(&base, &format!("{provider_toml}\n{lake}{scripts}"));
    (cloud, home)
}

/// Whether dune is left alone.
fn is_paused(status: &Value) -> bool {
    let mut own = status["providers"].as_array().expect("providers").iter();
    own.any(|own| own["provider"] == "dune" && !own["pause"].is_null())
}

/// What `check` found, and its exit code.
fn run_check(home: &DaemonHome, provider: &str) -> (Value, i32) {
    let output = home.run_client(&["--json", "check", provider]);
    let answer = serde_json::from_slice(&output.stdout);
    let answer = answer.unwrap_or_else(|error| panic!("{error}: {}", utf8(&output.stderr)));
    (answer, exit_code(&output))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_of_each_kind_is_stopped_and_its_end_is_observed() {
    let (cloud, home) = three_providers(ON_DEMAND_ONLY_TOML).await;
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", EXECUTION_ID]);
    home.run_client_ok(&["add", "lake", JOB_ID]);
    home.run_client_ok(&["add", "scripts", INSTANCE_ID]);
    for id in ["1", "2", "3"] {
        assert!(home.run_client_ok(&["poll", id]).contains("running"), "{}", home.log());
    }
    let names = format!("1 whatever\n# the lake's\nlake/{JOB_ID}\n");
    let two = home.run_client_with_input(&["cancel", "-"], &names);
    assert_eq!(exit_code(&two), 0, "{}", utf8(&two.stderr));
    let lines: Vec<_> = utf8(&two.stdout).lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| line.contains("cancelled")), "{lines:?}");
    let third: Value =
        serde_json::from_str(&home.run_client_ok(&["--json", "cancel", "3"])).expect("JSON");
    assert_eq!(third["state"], "failed", "this service has no word for it: {third}");

    let ends = "SELECT to_state, provider_state, evidence FROM history
                WHERE from_state = 'running' ORDER BY job_id";
    let expected = [
        "cancelled|QUERY_STATE_CANCELLED|observed",
        "cancelled|CANCELLED|observed",
        "failed|FAILED|observed",
    ];
    assert_eq!(db::query_rows(&home.database(), ends), expected);
    assert_eq!(db::history_violations(&home.database()), [""; 0]);
    let stops = cloud.requests().iter().filter(|request| request.method != "GET").count();
    assert_eq!((stops, cloud.client_violations()), (3, Vec::new()));
    // Cancels count on the budget, like polls.
    let sent = |status: &Value| {
        let sent = status["providers"].as_array().expect("providers").iter();
        sent.map(|own| own["requests_last_minute"].as_u64().unwrap_or(0)).sum::<u64>()
    };
    let asked = cloud.request_count() as u64;
    daemon.wait_for_status(&home, |status| sent(status) == asked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_rejected_cancel_does_not_stop_the_others() {
    let (cloud, home) = three_providers(ON_DEMAND_ONLY_TOML).await;
    let _daemon = home.start();
    home.run_client_ok(&["add", "dune", EXECUTION_ID]);
    home.run_client_ok(&["add", "lake", JOB_ID]);
    home.run_client_ok(&["poll", "1"]);
    home.run_client_ok(&["poll", "2"]);
    let locked = r#"{"is_success":false,"message":"it is being committed"}"#;
    cloud.inject_fault(FaultTarget::job(JOB_ID), Fault::status(200, locked), FaultRepeat::Once);
    let before = cloud.request_count_for_job(JOB_ID);
    let both = home.run_client(&["cancel", "2", "dune/01NOBODY", "1"]);
    let told = utf8(&both.stderr);
    assert_eq!(exit_code(&both), 1, "{told}");
    assert!(told.contains("2: HTTP 200") && told.contains("being committed"), "{told}");
    assert!(told.contains("dune/01NOBODY: no such job"), "{told}");
    assert!(utf8(&both.stdout).contains("cancelled"), "the other is: {told}");
    assert_eq!(cloud.request_count_for_job(JOB_ID), before + 1, "it is not tried again");
    let state = "SELECT state FROM jobs WHERE id = 2";
    assert_eq!(db::query_value(&home.database(), state), "running");

    let over = home.run_client(&["cancel", "1"]);
    let asked = cloud.request_count();
    assert_eq!(exit_code(&over), 1);
    assert!(utf8(&over.stderr).contains("job 1 is finished (cancelled)"), "{}", utf8(&over.stderr));
    assert_eq!(cloud.request_count(), asked, "nobody is asked about what is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_reports_each_rejection_by_its_code() {
    let (cloud, home) = three_providers(ON_DEMAND_ONLY_TOML).await;
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", EXECUTION_ID]);
    home.run_client_ok(&["poll", "1"]);
    let client = jobtrack::api::Client::open(Some(&home.socket())).expect("a client");
    let refusal = async |id| match client.cancel(jobtrack::job::JobId(id)).await {
        Err(jobtrack::api::ClientError::Rejected(problem)) => (problem.status, problem.code),
        other => panic!("{other:?}"),
    };
    cloud.inject_fault(FaultTarget::All, Fault::status(500, ""), FaultRepeat::Once);
    assert_eq!(refusal(1).await, (502, "provider_rejected".to_owned()));
    assert_eq!(refusal(9).await, (404, "not_found".to_owned()));
    cloud.set_credentials("another");
    assert_eq!(refusal(1).await, (502, "provider_rejected".to_owned()));
    daemon.wait_for_status(&home, is_paused).await;
    let asked = cloud.request_count();
    assert_eq!(refusal(1).await, (409, "provider_paused".to_owned()), "it refuses us");
    assert_eq!(cloud.request_count(), asked, "a provider that refuses is left alone");
    cloud.set_credentials(fake_server::API_KEY);
    home.run_client_ok(&["reload"]);
    daemon.wait_for_status(&home, |status| !is_paused(status)).await;
    home.run_client_ok(&["cancel", "1"]);
    assert_eq!(refusal(1).await, (409, "job_finished".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_cancel_permission_does_not_stop_polling() {
    let (cloud, home) = three_providers(ON_DEMAND_ONLY_TOML).await;
    let _daemon = home.start();
    home.run_client_ok(&["add", "dune", EXECUTION_ID]);
    home.run_client_ok(&["poll", "1"]);
    cloud.inject_fault(FaultTarget::All, Fault::status(403, "{}"), FaultRepeat::Once);
    let refused = home.run_client(&["cancel", "1"]);
    assert_eq!(exit_code(&refused), 1);
    assert!(utf8(&refused.stderr).contains("HTTP 403"), "{}", utf8(&refused.stderr));
    assert!(home.run_client_ok(&["poll", "1"]).contains("running"), "{}", home.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn check_reports_each_misconfigured_provider() {
    let (cloud, home) = three_providers(FAST_POLLING_TOML).await;
    let _daemon = home.start();
    for provider in ["dune", "lake", "scripts"] {
        let (answer, exit) = run_check(&home, provider);
        assert_eq!((exit, &answer["finding"]), (0, &"ok".into()), "{provider}: {answer}");
        assert_eq!(answer["advice"], Value::Array(Vec::new()), "{answer}");
    }
    let hours_ago = (Timestamp::from_millisecond(Clock::utc_now().as_millis()).expect("a time")
        - 2.hours())
    .strftime("%a, %d %b %Y %H:%M:%S GMT")
    .to_string();
    let late = Fault::Status {
        code: 404,
        body: r#"{"error":"Object not found"}"#.to_owned(),
        headers: vec![("date".to_owned(), hours_ago)],
    };
    cloud.inject_fault(FaultTarget::All, late, FaultRepeat::Once);
    let off = home.run_client(&["check", "dune"]);
    let told = utf8(&off.stdout);
    assert_eq!(exit_code(&off), 1, "{told}");
    assert!(told.contains("clock is 120 minutes ahead"), "{told}");

    cloud.set_credentials("another");
    for provider in ["dune", "lake", "scripts"] {
        let (answer, exit) = run_check(&home, provider);
        assert_eq!((exit, &answer["finding"]), (1, &"invalid_credentials".into()), "{answer}");
        assert!(answer["detail"].as_str().is_some_and(|told| told.contains("401")), "{answer}");
        assert!(answer["advice"][0].as_str().is_some_and(|told| told.contains("auth")));
    }
    let people = utf8(&home.run_client(&["check", "lake"]).stdout);
    assert!(people.starts_with("lake: credential rejected: HTTP 401: APIGW.0301"), "{people}");
    cloud.pause().await;
    let (answer, exit) = run_check(&home, "lake");
    assert_eq!((exit, &answer["finding"]), (1, &"unreachable".into()), "{answer}");
    assert_eq!(cloud.client_violations(), [""; 0]);
    assert!(!home.log().contains(fake_server::API_KEY), "{}", home.log());

    let nobody = home.run_client(&["check", "dunno"]);
    assert_eq!(exit_code(&nobody), 1);
    let told = utf8(&nobody.stderr);
    assert!(told.contains("dunno is not configured; configured: dune, lake, scripts"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn checking_a_paused_provider_keeps_it_paused() {
    let (cloud, home) = three_providers(FAST_POLLING_TOML).await;
    cloud.set_credentials("another");
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", EXECUTION_ID]);
    daemon.wait_for_status(&home, is_paused).await;
    let asked = cloud.request_count();
    cloud.set_credentials(fake_server::API_KEY);
    let (answer, exit) = run_check(&home, "dune");
    assert_eq!((exit, &answer["finding"]), (0, &"ok".into()), "{answer}");
    assert_eq!(cloud.request_count(), asked + 1);
    daemon.wait_for_status(&home, is_paused).await;
    home.run_client_ok(&["reload"]);
    cloud.wait_for_requests_for(EXECUTION_ID, 2, EVENT_TIMEOUT).await;
}
