//! `cancel` and `check`, with the real daemon and the real client: a job is stopped at its service and
//! its end is observed, and a provider that is set up wrongly is told what to mend.

use std::process::Output;
use std::time::Duration;

use crate::support::daemon::{Home, text};
use crate::support::fake_server::{self, Fault, Kind, Life, StandIn, Target, Times};
use crate::support::{QUICK, SOON, db};
use jiff::{Timestamp, ToSpan};
use jobtrack::clock::Clock;
use serde_json::Value;

const QUERY: &str = "01GBM4W2N0NMCGPZYW8AYK4YF1";
const JOB: &str = "208b08d4-0dc2-4dd7-8879-ddd4c020d7aa";
const INSTANCE: &str = "dwsscript/a1ad-448a-9d56-4154193d49c5";
/// A job is asked about once, and then by hand alone.
const RARELY: &str = "requests_per_minute = 3000\nmin_interval = \"1h\"\nmax_interval = \"1h\"";

fn code(output: &Output) -> i32 {
    output.status.code().expect("no signal ended it")
}

/// One provider of each kind at one stand-in, each with a job that runs.
async fn cloud(pace: &str) -> (StandIn, Home) {
    let cloud = StandIn::start().await;
    for (kind, id) in [(Kind::Dune, QUERY), (Kind::Dli, JOB), (Kind::DataArts, INSTANCE)] {
        cloud.put_for(kind, id, Life::new().running(Duration::from_hours(1)));
    }
    let home = Home::bare();
    let (base, key) = (cloud.base_url(), home.path("key"));
    let huawei = |name, kind| {
        format!(
            "[providers.{name}]\nkind = \"{kind}\"\nbase_url = \"{base}\"\nproject_id = \"4f1\"\n\
             auth = {{ token = {{ file = \"{}\" }} }}\n{pace}\n",
            key.display()
        )
    };
    let (lake, scripts) = (huawei("lake", "dli"), huawei("scripts", "dataarts"));
    home.configure(&base, &format!("{pace}\n{lake}{scripts}"));
    (cloud, home)
}

/// Whether dune is left alone.
fn is_paused(status: &Value) -> bool {
    let mut own = status["providers"].as_array().expect("providers").iter();
    own.any(|own| own["provider"] == "dune" && !own["paused"].is_null())
}

/// What `check` found, and its exit code.
fn check(home: &Home, provider: &str) -> (Value, i32) {
    let output = home.jobtrack(&["--json", "check", provider]);
    let answer = serde_json::from_slice(&output.stdout);
    let answer = answer.unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)));
    (answer, code(&output))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_of_each_kind_is_stopped_and_its_end_is_observed() {
    let (cloud, home) = cloud(RARELY).await;
    let daemon = home.start();
    home.ok(&["add", "dune", QUERY]);
    home.ok(&["add", "lake", JOB]);
    home.ok(&["add", "scripts", INSTANCE]);
    for id in ["1", "2", "3"] {
        assert!(home.ok(&["poll", id]).contains("running"), "{}", home.log());
    }
    let names = format!("1 whatever\n# the lake's\nlake/{JOB}\n");
    let two = home.jobtrack_with(&["cancel", "-"], &names);
    assert_eq!(code(&two), 0, "{}", text(&two.stderr));
    let lines: Vec<_> = text(&two.stdout).lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| line.contains("cancelled")), "{lines:?}");
    let third: Value = serde_json::from_str(&home.ok(&["--json", "cancel", "3"])).expect("JSON");
    assert_eq!(third["state"], "failed", "this service has no word for it: {third}");

    let ends = "SELECT to_state, provider_state, evidence FROM history
                WHERE from_state = 'running' ORDER BY job_id";
    let expected = [
        "cancelled|QUERY_STATE_CANCELLED|observed",
        "cancelled|CANCELLED|observed",
        "failed|FAILED|observed",
    ];
    assert_eq!(db::query(&home.database(), ends), expected);
    assert_eq!(db::illegal_history(&home.database()), [""; 0]);
    let stops = cloud.requests().iter().filter(|request| request.method != "GET").count();
    assert_eq!((stops, cloud.violations()), (3, Vec::new()));
    // Cancels count on the budget, like polls.
    let sent = |status: &Value| {
        let sent = status["providers"].as_array().expect("providers").iter();
        sent.map(|own| own["sent_last_minute"].as_u64().unwrap_or(0)).sum::<u64>()
    };
    let asked = cloud.count() as u64;
    daemon.wait_for_status(&home, |status| sent(status) == asked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_refusal_does_not_keep_the_others_from_it_and_moves_no_job() {
    let (cloud, home) = cloud(RARELY).await;
    let _daemon = home.start();
    home.ok(&["add", "dune", QUERY]);
    home.ok(&["add", "lake", JOB]);
    home.ok(&["poll", "1"]);
    home.ok(&["poll", "2"]);
    let locked = r#"{"is_success":false,"message":"it is being committed"}"#;
    cloud.fault(Target::job(JOB), Fault::status(200, locked), Times::Once);
    let before = cloud.count_for(JOB);
    let both = home.jobtrack(&["cancel", "2", "dune/01NOBODY", "1"]);
    let told = text(&both.stderr);
    assert_eq!(code(&both), 1, "{told}");
    assert!(told.contains("2: HTTP 200") && told.contains("being committed"), "{told}");
    assert!(told.contains("dune/01NOBODY: no such job"), "{told}");
    assert!(text(&both.stdout).contains("cancelled"), "the other is: {told}");
    assert_eq!(cloud.count_for(JOB), before + 1, "it is not tried again");
    let state = "SELECT state FROM jobs WHERE id = 2";
    assert_eq!(db::value(&home.database(), state), "running");

    let over = home.jobtrack(&["cancel", "1"]);
    let asked = cloud.count();
    assert_eq!(code(&over), 1);
    assert!(text(&over.stderr).contains("job 1 is over: cancelled"), "{}", text(&over.stderr));
    assert_eq!(cloud.count(), asked, "nobody is asked about what is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wire_names_each_refusal_by_its_code() {
    let (cloud, home) = cloud(RARELY).await;
    let daemon = home.start();
    home.ok(&["add", "dune", QUERY]);
    home.ok(&["poll", "1"]);
    let client = jobtrack::api::Client::open(Some(&home.socket())).expect("a client");
    let refusal = async |id| match client.cancel(jobtrack::job::JobId(id)).await {
        Err(jobtrack::api::ClientError::Rejected(problem)) => (problem.status, problem.code),
        other => panic!("{other:?}"),
    };
    cloud.fault(Target::All, Fault::status(500, ""), Times::Once);
    assert_eq!(refusal(1).await, (502, "refused_upstream".to_owned()));
    assert_eq!(refusal(9).await, (404, "not_found".to_owned()));
    cloud.set_key("another");
    assert_eq!(refusal(1).await, (502, "refused_upstream".to_owned()));
    daemon.wait_for_status(&home, is_paused).await;
    let asked = cloud.count();
    assert_eq!(refusal(1).await, (409, "paused".to_owned()), "it refuses us");
    assert_eq!(cloud.count(), asked, "a provider that refuses is left alone");
    cloud.set_key(fake_server::KEY);
    home.ok(&["reload"]);
    daemon.wait_for_status(&home, |status| !is_paused(status)).await;
    home.ok(&["cancel", "1"]);
    assert_eq!(refusal(1).await, (409, "over".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_to_cancel_does_not_keep_us_from_polling() {
    let (cloud, home) = cloud(RARELY).await;
    let _daemon = home.start();
    home.ok(&["add", "dune", QUERY]);
    home.ok(&["poll", "1"]);
    cloud.fault(Target::All, Fault::status(403, "{}"), Times::Once);
    let refused = home.jobtrack(&["cancel", "1"]);
    assert_eq!(code(&refused), 1);
    assert!(text(&refused.stderr).contains("HTTP 403"), "{}", text(&refused.stderr));
    assert!(home.ok(&["poll", "1"]).contains("running"), "{}", home.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_a_good_provider_from_each_that_is_not() {
    let (cloud, home) = cloud(QUICK).await;
    let _daemon = home.start();
    for provider in ["dune", "lake", "scripts"] {
        let (answer, exit) = check(&home, provider);
        assert_eq!((exit, &answer["found"]), (0, &"well".into()), "{provider}: {answer}");
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
    cloud.fault(Target::All, late, Times::Once);
    let off = home.jobtrack(&["check", "dune"]);
    let told = text(&off.stdout);
    assert_eq!(code(&off), 1, "{told}");
    assert!(told.contains("clock is 120 minutes ahead"), "{told}");

    cloud.set_key("another");
    for provider in ["dune", "lake", "scripts"] {
        let (answer, exit) = check(&home, provider);
        assert_eq!((exit, &answer["found"]), (1, &"credentials".into()), "{answer}");
        assert!(answer["told"].as_str().is_some_and(|told| told.contains("401")), "{answer}");
        assert!(answer["advice"][0].as_str().is_some_and(|told| told.contains("auth")));
    }
    let people = text(&home.jobtrack(&["check", "lake"]).stdout);
    assert!(people.starts_with("lake: credentials: HTTP 401: APIGW.0301"), "{people}");
    cloud.pause().await;
    let (answer, exit) = check(&home, "lake");
    assert_eq!((exit, &answer["found"]), (1, &"unreachable".into()), "{answer}");
    assert_eq!(cloud.violations(), [""; 0]);
    assert!(!home.log().contains(fake_server::KEY), "{}", home.log());

    let nobody = home.jobtrack(&["check", "dunno"]);
    assert_eq!(code(&nobody), 1);
    let told = text(&nobody.stderr);
    assert!(told.contains("dunno is not configured; configured: dune, lake, scripts"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_left_alone_is_checked_and_stays_left_alone() {
    let (cloud, home) = cloud(QUICK).await;
    cloud.set_key("another");
    let daemon = home.start();
    home.ok(&["add", "dune", QUERY]);
    daemon.wait_for_status(&home, is_paused).await;
    let asked = cloud.count();
    cloud.set_key(fake_server::KEY);
    let (answer, exit) = check(&home, "dune");
    assert_eq!((exit, &answer["found"]), (0, &"well".into()), "{answer}");
    assert_eq!(cloud.count(), asked + 1);
    daemon.wait_for_status(&home, is_paused).await;
    home.ok(&["reload"]);
    cloud.wait_for_requests_of(QUERY, 2, SOON).await;
}
