//! The list of jobs: a row gives the same observation as a poll, the request names the page, and a row
//! that cannot be read affects no other.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use jobtrack::job::{
    Answer, ListPage, ListPageQuery, Observation, ObservedState, ProviderError, UtcTime,
};
use serde_json::{Value, json};

use super::dataarts::DATAARTS;
use super::dli::{DLI, PROJECT, SIGNED_DLI};
use super::dune::DUNE;
use super::harness::{Harness, ProviderFixture};
use crate::support::fake_server::{
    ACCESS_KEY_ID, API_KEY, Fault, FaultRepeat, FaultTarget, JobEnd, JobScript, SECRET_ACCESS_KEY,
    ServiceKind, dli,
};
use jobtrack::job::ProviderErrorKind;

/// The start of the first job, in milliseconds since 1970.
const FIRST_START_MS: i64 = 1_700_000_000_000;

/// A page of the list of the jobs that start in this window.
fn list_window(from: i64, to: i64, number: u32) -> ListPageQuery {
    ListPageQuery { from: UtcTime::from_millis(from), to: UtcTime::from_millis(to), page: number }
}

fn full_window() -> ListPageQuery {
    list_window(0, i64::MAX, 1)
}

/// Requests the page once. No answer may contain a secret or an address.
async fn request_list(harness: &Harness, window: ListPageQuery) -> Answer<ListPage> {
    let now = UtcTime::parse_rfc3339("2026-11-22T10:00:00Z").expect("a time");
    let listing = harness.provider.list(&window, now).await;
    let text = format!("{listing:?}");
    for secret in [API_KEY, ACCESS_KEY_ID, SECRET_ACCESS_KEY, "http:", "/jobs"] {
        assert!(!text.contains(secret), "{secret} is told: {text:.2000}");
    }
    if let Err(error) = &listing.result {
        let length = error.to_string().len();
        assert!((1..2000).contains(&length), "an error of {length} bytes: {error:.2000}");
    }
    listing
}

/// Requests the page while the server has this fault.
async fn list_with_fault(harness: &Harness, fault: Fault) -> Answer<ListPage> {
    harness.server.inject_fault(FaultTarget::ListRequests, fault, FaultRepeat::Once);
    request_list(harness, full_window()).await
}

pub(crate) async fn parse_list(
    harness: &Harness,
    body: impl Into<Vec<u8>>,
) -> Result<ListPage, ProviderError> {
    let content_type = "application/json".to_owned();
    list_with_fault(harness, Fault::Body { content_type, bytes: body.into() }).await.result
}

/// A body with these rows, given as JSON text.
fn list_body(rows: &[String]) -> String {
    format!(r#"{{"is_success":true,"message":"","job_count":777,"jobs":[{}]}}"#, rows.join(","))
}

fn remote_ids(listed: &ListPage) -> Vec<&str> {
    listed.jobs.iter().map(|(id, _)| id.as_str()).collect()
}

fn remote_id(number: i64) -> String {
    format!("job-{number:03}")
}

/// Adds a job that starts this many seconds after [`BEGIN`].
fn add_job(harness: &Harness, number: i64, life: JobScript) {
    let started_at = Timestamp::from_millisecond(FIRST_START_MS + number * 1000).expect("a time");
    harness.server.add_job_of(ServiceKind::Dli, &remote_id(number), life.submitted_at(started_at));
}

#[tokio::test]
async fn a_list_row_matches_a_single_poll() {
    for fixture in [&DLI, &SIGNED_DLI] {
        let harness = Harness::new(fixture).await;
        let ran_briefly = || JobScript::new().running(Duration::from_millis(885));
        let lives = [
            JobScript::new(),
            ran_briefly(),
            ran_briefly().ending_with(JobEnd::Completed),
            ran_briefly().ending_with(JobEnd::Failed),
            ran_briefly().ending_with(JobEnd::Cancelled),
            ran_briefly().ending_with(JobEnd::Canceled),
            ran_briefly().ending_in_state("DREAMING", None),
        ];
        // Every course of a job in every revision of the document.
        let numbered = (0..).zip(lives.iter().cycle().take(lives.len() * 6));
        numbered.for_each(|(number, life)| add_job(&harness, number, life.clone()));

        let listed = request_list(&harness, full_window()).await.result.expect("a list");
        assert_eq!((listed.jobs.len(), listed.total_count), (42, 42));
        assert_eq!(
            (harness.server.list_request_count(), harness.server.client_violations()),
            (1, Vec::new())
        );
        for (number, (id, row)) in (0..).zip(listed.jobs) {
            assert_eq!(id.as_str(), remote_id(number), "in the order of their begin");
            let poll_time = UtcTime::from_millis(FIRST_START_MS);
            let single = harness.provider.poll(&id, poll_time).await.result.expect("an answer");
            assert_eq!(comparable(row), comparable(single), "{id}");
        }
    }
}

/// Removes fields that only one of the two has, and durations that grow between the requests.
fn comparable(mut observation: Observation) -> Observation {
    observation.detail.remove("job_mode");
    let end = observation.detail.remove("end_time").and_then(|end| end.as_i64());
    let ended_at = observation.times.ended_at;
    assert!(end.is_none() || end == ended_at.map(UtcTime::as_millis), "{observation:?}");
    if ended_at.is_none() {
        observation.detail.remove("duration").expect("a duration");
    }
    observation
}

#[tokio::test]
async fn a_body_parses_the_same_alone_and_as_a_list_row() {
    for statement in ["full", "hash", "none"] {
        let harness = Harness::new(dli_with_statement_capture(statement)).await;
        let long = "select 1;".repeat(4000);
        let bodies = [
            dli::FINISHED_EXAMPLE.to_owned(),
            json!({ "job_id": DLI.remote_id, "status": "FAILED", "message": "no such table",
                "start_time": "1700000000000", "duration": "12", "end_time": "1700000000013",
                "input_row_count": "9007199254740993", "bad_row_count": "3", "statement": long,
                "detail": long, "tags": [{ "key": "a", "value": "b" }], "user_conf": null })
            .to_string(),
            json!({ "job_id": DLI.remote_id, "status": "CREATING", "end_time": 0, "statement": 5 })
                .to_string(),
        ];
        for body in bodies {
            let listed = parse_list(&harness, list_body(std::slice::from_ref(&body))).await;
            let listed = listed.expect("a list");
            let single = harness.parse_body(body).await.expect("an answer");
            let id = DLI.remote_id.parse().expect("an id");
            assert_eq!((listed.jobs, listed.total_count), (vec![(id, single)], 777), "{statement}");
        }
    }
}

#[tokio::test]
async fn a_rows_end_time_is_used_for_finished_jobs_only() {
    let harness = Harness::new(&DLI).await;
    let row = |provider_state: &str| {
        json!({ "job_id": provider_state, "status": provider_state, "start_time": FIRST_START_MS, "duration": 5,
            "end_time": (FIRST_START_MS + 7).to_string() })
        .to_string()
    };
    let listed =
        parse_list(&harness, list_body(&[row("FINISHED"), row("RUNNING")])).await.expect("a list");
    let times: Vec<_> =
        listed.jobs.iter().map(|(_, job)| (job.state, job.list_time, job.times.ended_at)).collect();
    let (begin, end) = (
        Some(UtcTime::from_millis(FIRST_START_MS)),
        Some(UtcTime::from_millis(FIRST_START_MS + 7)),
    );
    assert_eq!(
        times,
        [(ObservedState::Succeeded, begin, end), (ObservedState::Running, begin, None)]
    );
}

#[tokio::test]
async fn pages_match_the_requested_window() {
    let harness = Harness::new(&SIGNED_DLI).await;
    for number in 0..250 {
        add_job(&harness, number, JobScript::new().ending_with(JobEnd::Completed));
    }
    let end = FIRST_START_MS + 249_000;
    let cases = [
        (list_window(FIRST_START_MS, end, 1), 250, 0..100),
        (list_window(FIRST_START_MS, end, 2), 250, 100..200),
        (list_window(FIRST_START_MS, end, 3), 250, 200..250),
        (list_window(FIRST_START_MS, end, ListPageQuery::MAX_PAGE), 250, 0..0),
        // The window includes both ends.
        (list_window(FIRST_START_MS + 1000, FIRST_START_MS + 3000, 1), 3, 1..4),
        (list_window(FIRST_START_MS + 1001, FIRST_START_MS + 2999, 1), 1, 2..3),
        (list_window(end + 1, end + 9000, 1), 0, 0..0),
    ];
    for (window, total, numbers) in cases {
        let listed = request_list(&harness, window)
            .await
            .result
            .unwrap_or_else(|e| panic!("{window:?}: {e}"));
        assert_eq!(listed.total_count, total, "{window:?}");
        assert_eq!(remote_ids(&listed), numbers.map(remote_id).collect::<Vec<_>>(), "{window:?}");
    }
    let first = harness.server.requests().swap_remove(0);
    let expected = format!(
        "/v1.0/{PROJECT}/jobs?start={FIRST_START_MS}&end={end}&page-size=100&current-page=1&order=start_time_asc"
    );
    assert_eq!((first.target, first.is_list, first.job_id), (expected, true, None));
    assert_eq!(harness.server.client_violations(), [""; 0]);
}

#[tokio::test]
async fn an_unreadable_row_is_skipped_without_affecting_others() {
    let harness = Harness::new(&DLI).await;
    let valid_row = |id: &str| json!({ "job_id": id, "status": "RUNNING" }).to_string();
    let invalid_rows = [
        "null".into(),
        "7".into(),
        "[]".into(),
        r#""text""#.into(),
        "{}".into(),
        r#"{"status":"RUNNING"}"#.into(),
        r#"{"job_id":"a"}"#.into(),
        r#"{"job_id":null,"status":"RUNNING"}"#.into(),
        r#"{"job_id":5.5,"status":"RUNNING"}"#.into(),
        valid_row(""),
        valid_row("a/b"),
        valid_row(&"a".repeat(129)),
        r#"{"job_id":"a","status":""}"#.into(),
        r#"{"job_id":"a","status":7}"#.into(),
        json!({ "job_id": "a", "status": "X".repeat(300) }).to_string(),
        r#"{"job_id":"a","status":"RUNNING","status":"FAILED"}"#.into(),
        r#"{"job_id":"a","status":"RUNNING\ud800"}"#.into(),
        r#"{"job_id":"a","status":"RUNNING","is_success":"false"}"#.into(),
    ];
    for row in invalid_rows {
        let listed =
            parse_list(&harness, list_body(&[valid_row("first"), row.clone(), valid_row("last")]))
                .await;
        let listed = listed.unwrap_or_else(|error| panic!("{row:.200}: {error}"));
        assert_eq!(remote_ids(&listed), ["first", "last"], "{row:.200}");
        assert_eq!(listed.total_count, 777);
    }
}

#[tokio::test]
async fn the_page_size_limit_scales_with_its_rows() {
    // Each row is small enough by itself; all of them exceed the limit of an answer about one job.
    let long = "select 1;".repeat(3_000);
    let rows: Vec<_> = (0..100)
        .map(|n| {
            json!({ "job_id": remote_id(n), "status": "RUNNING", "statement": long }).to_string()
        })
        .collect();
    for (statement, kept) in [("full", Some(8 << 10)), ("hash", Some(39)), ("none", None)] {
        let harness = Harness::new(dli_with_statement_capture(statement)).await;
        let listed = parse_list(&harness, list_body(&rows)).await.expect("a list");
        assert_eq!(listed.jobs.len(), 100);
        for (_, row) in &listed.jobs {
            let length = row.detail.get("statement").and_then(Value::as_str).map(str::len);
            assert_eq!(length, kept, "{statement}");
        }
    }
    let harness = Harness::new(&DLI).await;
    let error = list_with_fault(&harness, Fault::EndlessChunks).await.result.expect_err("no end");
    assert!(
        matches!(error.kind, ProviderErrorKind::Transient | ProviderErrorKind::Malformed),
        "{error}"
    );
}

#[tokio::test]
async fn a_body_that_is_not_a_list_is_malformed() {
    let harness = Harness::new(&DLI).await;
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
        let error = parse_list(&harness, case).await.expect_err(case);
        assert_eq!(error.kind, ProviderErrorKind::Malformed, "{case:.200}: {error}");
    }
    let empty = [r#"{"job_count":0,"jobs":[]}"#, r#"{"job_count":"0","jobs":null}"#];
    for case in [&empty[..], &[r#"{"job_count":0}"#]].concat() {
        let listed =
            parse_list(&harness, case).await.unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(listed, ListPage { jobs: Vec::new(), total_count: 0 });
    }
}

#[tokio::test]
async fn list_errors_match_poll_errors_except_not_found() {
    let harness = Harness::new(&DLI).await;
    for refusal in DLI.rejections {
        let listing = list_with_fault(&harness, Fault::status(refusal.status, refusal.body)).await;
        let error = listing.result.expect_err(refusal.body);
        let expected = match refusal.error_kind {
            ProviderErrorKind::NotFound | ProviderErrorKind::InvalidId => {
                ProviderErrorKind::Malformed
            }
            other => other,
        };
        assert_eq!(error.kind, expected, "{}: {error}", refusal.body);
        assert!(listing.server_date.is_some());
    }
    let rate_limited = Fault::RateLimited { retry_after: Some("7".into()) };
    assert_eq!(
        list_with_fault(&harness, rate_limited).await.rate_limit.retry_after,
        Some(Duration::from_secs(7))
    );
    for fault in [Fault::Hang, Fault::Reset, Fault::TruncatedBody] {
        let error = list_with_fault(&harness, fault).await.result.expect_err("a fault");
        assert_eq!(error.kind, ProviderErrorKind::Transient, "{error}");
    }
    harness.server.set_credentials("another");
    let error = request_list(&harness, full_window()).await.result.expect_err("a stranger");
    assert_eq!(error.kind, ProviderErrorKind::Auth, "{error}");
}

#[tokio::test]
async fn a_secret_echoed_in_a_row_is_redacted() {
    for fixture in [&DLI, &SIGNED_DLI] {
        let harness = Harness::new(fixture).await;
        for secret in fixture.secrets {
            let row = json!({ "job_id": "a", "status": "FAILED", "message": secret });
            let listed = parse_list(&harness, list_body(&[row.to_string()])).await.expect("a list");
            assert_eq!(listed.jobs[0].1.message, Some("*".repeat(secret.len())));
        }
    }
}

#[tokio::test]
async fn providers_without_a_list_send_no_list_request() {
    assert!(Harness::new(&DLI).await.provider.supports_list());
    for fixture in [&DUNE, &DATAARTS] {
        let harness = Harness::new(fixture).await;
        assert!(!harness.provider.supports_list());
        let error = request_list(&harness, full_window()).await.result.expect_err("no list");
        assert_eq!(
            error,
            ProviderError::new(
                ProviderErrorKind::Misconfigured,
                "this kind of provider has no list"
            )
        );
        assert_eq!(harness.server.request_count(), 0);
    }
}

/// With this value of `store.statement`.
pub(crate) fn dli_with_statement_capture(statement: &str) -> &'static ProviderFixture {
    fn config(url: &str, secrets: &Path, statement: &str) -> String {
        format!("{}\n[store]\nstatement = \"{statement}\"\n", (DLI.config)(url, secrets))
    }
    const FULL: &ProviderFixture =
        &ProviderFixture { config: |url, dir| config(url, dir, "full"), ..DLI };
    const HASH: &ProviderFixture =
        &ProviderFixture { config: |url, dir| config(url, dir, "hash"), ..DLI };
    const NONE: &ProviderFixture =
        &ProviderFixture { config: |url, dir| config(url, dir, "none"), ..DLI };
    match statement {
        "full" => FULL,
        "hash" => HASH,
        _ => NONE,
    }
}
