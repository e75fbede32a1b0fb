//! Many jobs in one request: a row says what a single answer says, pages are those that were asked
//! for, and what cannot be read costs itself and nothing else.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use jobtrack::job::{Listed, Listing, Observation, Page, ProviderError, Said, Utc};
use serde_json::{Value, json};

use super::dataarts::DATAARTS;
use super::dli::{DLI, PROJECT, SIGNED_DLI};
use super::dune::DUNE;
use super::harness::{Bench, Class, Subject, class};
use crate::support::fake_server::{AK, End, Fault, KEY, Kind, Life, SK, Target, Times, dli};

/// When the first job begins, in milliseconds.
const BEGIN: i64 = 1_700_000_000_000;

/// The page of this number, of the jobs that begin in this window.
fn page(from: i64, to: i64, number: u32) -> Page {
    Page { from: Utc::from_millis(from), to: Utc::from_millis(to), number }
}

fn all() -> Page {
    page(0, i64::MAX, 1)
}

/// Asks for it once; no answer tells a secret, or an address.
async fn list(bench: &Bench, page: Page) -> Listing {
    let now = Utc::parse("2026-11-22T10:00:00Z").expect("a time");
    let listing = bench.provider.list(&page, now).await;
    let told = format!("{listing:?}");
    for secret in [KEY, AK, SK, "http:", "/jobs"] {
        assert!(!told.contains(secret), "{secret} is told: {told:.2000}");
    }
    if let Err(error) = &listing.result {
        let length = error.to_string().len();
        assert!((1..2000).contains(&length), "an error of {length} bytes: {error:.2000}");
    }
    listing
}

/// Meets this fault instead of the list.
async fn meet(bench: &Bench, fault: Fault) -> Listing {
    bench.standin.fault(Target::Lists, fault, Times::Once);
    list(bench, all()).await
}

async fn read(bench: &Bench, body: impl Into<Vec<u8>>) -> Result<Listed, ProviderError> {
    let content_type = "application/json".to_owned();
    meet(bench, Fault::Body { content_type, bytes: body.into() }).await.result
}

/// A body with these rows, each as JSON text.
fn body(rows: &[String]) -> String {
    format!(r#"{{"is_success":true,"message":"","job_count":777,"jobs":[{}]}}"#, rows.join(","))
}

fn ids(listed: &Listed) -> Vec<&str> {
    listed.jobs.iter().map(|(id, _)| id.as_str()).collect()
}

fn job(number: i64) -> String {
    format!("job-{number:03}")
}

/// Puts in a job that began so many seconds after [`BEGIN`].
fn put(bench: &Bench, number: i64, life: Life) {
    let begin = Timestamp::from_millisecond(BEGIN + number * 1000).expect("a time");
    bench.standin.put_for(Kind::Dli, &job(number), life.submitted_at(begin));
}

#[tokio::test]
async fn a_row_says_what_a_single_answer_says() {
    for subject in [&DLI, &SIGNED_DLI] {
        let bench = Bench::new(subject).await;
        let ran = || Life::new().running(Duration::from_millis(885));
        let lives = [
            Life::new(),
            ran(),
            ran().then(End::Completed),
            ran().then(End::Failed),
            ran().then(End::Cancelled),
            ran().then(End::Canceled),
            ran().then_says("DREAMING", None),
        ];
        // Each life in each of the dialects.
        let numbered = (0..).zip(lives.iter().cycle().take(lives.len() * 6));
        numbered.for_each(|(number, life)| put(&bench, number, life.clone()));

        let listed = list(&bench, all()).await.result.expect("a list");
        assert_eq!((listed.jobs.len(), listed.total), (42, 42));
        assert_eq!((bench.standin.lists(), bench.standin.violations()), (1, Vec::new()));
        for (number, (id, row)) in (0..).zip(listed.jobs) {
            assert_eq!(id.as_str(), job(number), "in the order of their begin");
            let now = Utc::from_millis(BEGIN);
            let single = bench.provider.poll(&id, now).await.result.expect("an answer");
            assert_eq!(alike(row), alike(single), "{id}");
        }
    }
}

/// Without what only one of the two tells, and what grows between them.
fn alike(mut observation: Observation) -> Observation {
    observation.detail.remove("job_mode");
    let end = observation.detail.remove("end_time").and_then(|end| end.as_i64());
    let ended_at = observation.times.ended_at;
    assert!(end.is_none() || end == ended_at.map(Utc::as_millis), "{observation:?}");
    if ended_at.is_none() {
        observation.detail.remove("duration").expect("a duration");
    }
    observation
}

#[tokio::test]
async fn a_body_is_read_the_same_alone_and_as_a_row() {
    for statement in ["full", "hash", "none"] {
        let bench = Bench::new(keeping(statement)).await;
        let long = "select 1;".repeat(4000);
        let bodies = [
            dli::FINISHED_EXAMPLE.to_owned(),
            json!({ "job_id": DLI.id, "status": "FAILED", "message": "no such table",
                "start_time": "1700000000000", "duration": "12", "end_time": "1700000000013",
                "input_row_count": "9007199254740993", "bad_row_count": "3", "statement": long,
                "detail": long, "tags": [{ "key": "a", "value": "b" }], "user_conf": null })
            .to_string(),
            json!({ "job_id": DLI.id, "status": "CREATING", "end_time": 0, "statement": 5 })
                .to_string(),
        ];
        let listed = read(&bench, body(&bodies)).await.expect("a list");
        assert_eq!((listed.jobs.len(), listed.total), (bodies.len(), 777));
        for (text, (id, row)) in bodies.into_iter().zip(listed.jobs) {
            let single = bench.read(text).await.expect("an answer");
            assert_eq!((id.as_str(), row), (DLI.id, single), "{statement}");
        }
    }
}

#[tokio::test]
async fn a_rows_own_end_is_the_end_of_a_job_that_is_over() {
    let bench = Bench::new(&DLI).await;
    let row = |word: &str| {
        json!({ "job_id": word, "status": word, "start_time": BEGIN, "duration": 5,
            "end_time": (BEGIN + 7).to_string() })
        .to_string()
    };
    let listed = read(&bench, body(&[row("FINISHED"), row("RUNNING")])).await.expect("a list");
    let told: Vec<_> =
        listed.jobs.iter().map(|(_, job)| (job.said, job.listed_at, job.times.ended_at)).collect();
    let (begin, end) = (Some(Utc::from_millis(BEGIN)), Some(Utc::from_millis(BEGIN + 7)));
    assert_eq!(told, [(Said::Succeeded, begin, end), (Said::Running, begin, None)]);
}

#[tokio::test]
async fn pages_and_windows_are_those_that_are_asked_for() {
    let bench = Bench::new(&SIGNED_DLI).await;
    for number in 0..250 {
        put(&bench, number, Life::new().then(End::Completed));
    }
    let end = BEGIN + 249_000;
    let cases = [
        (page(BEGIN, end, 1), 250, 0..100),
        (page(BEGIN, end, 2), 250, 100..200),
        (page(BEGIN, end, 3), 250, 200..250),
        (page(BEGIN, end, Page::LAST), 250, 0..0),
        // Both ends belong to the window.
        (page(BEGIN + 1000, BEGIN + 3000, 1), 3, 1..4),
        (page(BEGIN + 1001, BEGIN + 2999, 1), 1, 2..3),
        (page(end + 1, end + 9000, 1), 0, 0..0),
    ];
    for (page, total, numbers) in cases {
        let listed = list(&bench, page).await.result.unwrap_or_else(|e| panic!("{page:?}: {e}"));
        assert_eq!(listed.total, total, "{page:?}");
        assert_eq!(ids(&listed), numbers.map(job).collect::<Vec<_>>(), "{page:?}");
    }
    let first = bench.standin.requests().swap_remove(0);
    let expected = format!(
        "/v1.0/{PROJECT}/jobs?start={BEGIN}&end={end}&page-size=100&current-page=1&order=start_time_asc"
    );
    assert_eq!((first.target, first.list, first.job), (expected, true, None));
    assert_eq!(bench.standin.violations(), [""; 0]);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_left_out_and_spoils_no_other() {
    let bench = Bench::new(&DLI).await;
    let good = |id: &str| json!({ "job_id": id, "status": "RUNNING" }).to_string();
    let odd = [
        "null".into(),
        "7".into(),
        "[]".into(),
        r#""text""#.into(),
        "{}".into(),
        r#"{"status":"RUNNING"}"#.into(),
        r#"{"job_id":"a"}"#.into(),
        r#"{"job_id":null,"status":"RUNNING"}"#.into(),
        r#"{"job_id":5,"status":"RUNNING"}"#.into(),
        good(""),
        good("a/b"),
        good(&"a".repeat(129)),
        r#"{"job_id":"a","status":""}"#.into(),
        r#"{"job_id":"a","status":7}"#.into(),
        json!({ "job_id": "a", "status": "X".repeat(300) }).to_string(),
        r#"{"job_id":"a","status":"RUNNING","status":"FAILED"}"#.into(),
        r#"{"job_id":"a","status":"RUNNING","duration":1e999}"#.into(),
        r#"{"job_id":"a","status":"RUNNING","owner":"\ud800"}"#.into(),
        json!({ "job_id": "a", "status": "RUNNING", "detail": "x".repeat(1 << 20) }).to_string(),
    ];
    for row in odd {
        let listed = read(&bench, body(&[good("first"), row.clone(), good("last")])).await;
        let listed = listed.unwrap_or_else(|error| panic!("{row:.200}: {error}"));
        assert_eq!(ids(&listed), ["first", "last"], "{row:.200}");
        assert_eq!(listed.total, 777);
    }
}

#[tokio::test]
async fn a_page_is_as_long_as_its_rows_may_be() {
    // Far more than an answer about one job may have.
    let long = "select 1;".repeat(20_000);
    let rows: Vec<_> = (0..100)
        .map(|n| json!({ "job_id": job(n), "status": "RUNNING", "statement": long }).to_string())
        .collect();
    for (statement, kept) in [("full", Some(8 << 10)), ("hash", Some(39)), ("none", None)] {
        let bench = Bench::new(keeping(statement)).await;
        let listed = read(&bench, body(&rows)).await.expect("a list");
        assert_eq!(listed.jobs.len(), 100);
        for (_, row) in &listed.jobs {
            let length = row.detail.get("statement").and_then(Value::as_str).map(str::len);
            assert_eq!(length, kept, "{statement}");
        }
    }
    let bench = Bench::new(&DLI).await;
    let error = meet(&bench, Fault::EndlessChunks).await.result.expect_err("no end");
    assert!(matches!(class(&error), Class::Transient | Class::Malformed), "{error}");
}

#[tokio::test]
async fn a_body_that_is_no_list_is_malformed() {
    let bench = Bench::new(&DLI).await;
    let long = format!(r#"{{"job_count":1,"jobs":"{}"}}"#, "x".repeat(5000));
    let cases = [
        "",
        "[]",
        "null",
        "<html></html>",
        "{}",
        r#"{"is_success":true,"jobs":[]}"#,
        r#"{"job_count":3}"#,
        r#"{"job_count":3,"jobs":null}"#,
        r#"{"job_count":-1,"jobs":[]}"#,
        r#"{"job_count":"many","jobs":[]}"#,
        r#"{"job_count":1,"jobs":{}}"#,
        r#"{"job_count":1,"jobs":[{}"#,
        dli::FINISHED_EXAMPLE,
        &long,
    ];
    for case in cases {
        let error = read(&bench, case).await.expect_err(case);
        assert_eq!(class(&error), Class::Malformed, "{case:.200}: {error}");
    }
    let empty = [r#"{"job_count":0,"jobs":[]}"#, r#"{"job_count":"0","jobs":null}"#];
    for case in [&empty[..], &[r#"{"job_count":0}"#]].concat() {
        let listed = read(&bench, case).await.unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(listed, Listed { jobs: Vec::new(), total: 0 });
    }
}

#[tokio::test]
async fn a_failed_request_is_what_it_is_for_one_job_but_no_job_is_missing() {
    let bench = Bench::new(&DLI).await;
    for refusal in DLI.refusals {
        let listing = meet(&bench, Fault::status(refusal.status, refusal.body)).await;
        let error = listing.result.expect_err(refusal.body);
        let expected = match refusal.class {
            Class::NotFound => Class::Malformed,
            other => other,
        };
        assert_eq!(class(&error), expected, "{}: {error}", refusal.body);
        assert!(listing.server_date.is_some());
    }
    let after = Fault::RateLimited { retry_after: Some("7".into()) };
    assert_eq!(meet(&bench, after).await.pace.retry_after, Some(Duration::from_secs(7)));
    for fault in [Fault::Hang, Fault::Reset, Fault::CutBody] {
        let error = meet(&bench, fault).await.result.expect_err("a fault");
        assert_eq!(class(&error), Class::Transient, "{error}");
    }
    bench.standin.set_key("another");
    let error = list(&bench, all()).await.result.expect_err("a stranger");
    assert_eq!(class(&error), Class::Auth, "{error}");
}

#[tokio::test]
async fn a_secret_that_a_row_repeats_is_blotted_out() {
    for subject in [&DLI, &SIGNED_DLI] {
        let bench = Bench::new(subject).await;
        for secret in subject.secrets {
            let row = json!({ "job_id": "a", "status": "FAILED", "message": secret });
            let listed = read(&bench, body(&[row.to_string()])).await.expect("a list");
            assert_eq!(listed.jobs[0].1.message, Some("*".repeat(secret.len())));
        }
    }
}

#[tokio::test]
async fn who_has_no_list_asks_nobody_for_it() {
    assert!(Bench::new(&DLI).await.provider.lists());
    for subject in [&DUNE, &DATAARTS] {
        let bench = Bench::new(subject).await;
        assert!(!bench.provider.lists());
        let error = list(&bench, all()).await.result.expect_err("no list");
        assert_eq!(error, ProviderError::Misconfigured("has no list".into()));
        assert_eq!(bench.standin.count(), 0);
    }
}

/// With this setting for statements.
pub(crate) fn keeping(statement: &str) -> &'static Subject {
    fn config(url: &str, secrets: &Path, statement: &str) -> String {
        format!("{}\n[store]\nstatement = \"{statement}\"\n", (DLI.config)(url, secrets))
    }
    const FULL: &Subject = &Subject { config: |url, dir| config(url, dir, "full"), ..DLI };
    const HASH: &Subject = &Subject { config: |url, dir| config(url, dir, "hash"), ..DLI };
    const NONE: &Subject = &Subject { config: |url, dir| config(url, dir, "none"), ..DLI };
    match statement {
        "full" => FULL,
        "hash" => HASH,
        _ => NONE,
    }
}
