//! The poll forecast (when a job is polled next and why, and when it is expected to end) as `show`,
//! `wait`, `status` and their JSON report it.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use crate::support::FAST_POLLING_TOML;
use crate::support::daemon::{DaemonHome, utf8};
use crate::support::fake_server::{FakeServer, JobEnd, JobScript};
use serde_json::Value;

const PAST_RUN_DURATION: Duration = Duration::from_secs(200);
const HOUR: Duration = Duration::from_hours(1);

#[expect(clippy::disallowed_methods, reason = "the fake server runs in real time")]
fn script_submitted_before(age: Duration) -> JobScript {
    JobScript::new().submitted_at(jiff::Timestamp::now() - age)
}

/// A fake Dune with eight finished runs of a query and four running ones, and a daemon's directory.
async fn fake_dune_with_past_runs(settings: &str) -> (FakeServer, DaemonHome) {
    let dune = FakeServer::start().await;
    for n in 1..=8 {
        dune.add_job(
            &format!("PAST{n}"),
            script_submitted_before(2 * PAST_RUN_DURATION)
                .running(PAST_RUN_DURATION)
                .ending_with(JobEnd::Completed),
        );
    }
    dune.add_job("NEW", JobScript::starting_at_first_request().running(HOUR));
    dune.add_job("OTHER", JobScript::starting_at_first_request().running(HOUR));
    dune.add_job("DUE", script_submitted_before(PAST_RUN_DURATION.mul_f64(0.95)).running(HOUR));
    dune.add_job("OVERDUE", script_submitted_before(HOUR).running(2 * HOUR));
    let home = DaemonHome::new(&dune.base_url(), settings);
    (dune, home)
}

/// Tracks the eight finished runs to their end, so that the daemon records their durations; then
/// adds and polls each of `jobs`, given as arguments of `jobtrack add dune`.
fn record_past_runs_and_poll(home: &DaemonHome, jobs: &[&[&str]]) {
    let past: Vec<_> = (1..=8).map(|n| format!("dune/PAST{n}")).collect();
    for job in &past {
        home.run_client_ok(&["add", "dune", job.trim_start_matches("dune/")]);
    }
    let waited = home.run_client(&[&["wait".to_owned()], &past[..]].concat());
    assert!(waited.status.success(), "{}", utf8(&waited.stderr));
    for job in jobs {
        home.run_client_ok(&[&["add", "dune"], *job].concat());
        home.run_client_ok(&["poll", &format!("dune/{}", job[0])]);
    }
}

/// The value in the row `key` of `jobtrack show`.
fn show_row(home: &DaemonHome, job: &str, key: &str) -> Option<String> {
    let shown = home.run_client_ok(&["show", job]);
    let row = shown.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix("  "));
    row.map(|text| text.trim().to_owned())
}

fn json_lines(home: &DaemonHome, arguments: &[&str]) -> Vec<Value> {
    let printed = home.run_client_ok(&[&["--json"], arguments].concat());
    printed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn show_prints_next_poll_and_expected_end() {
    let settings = "requests_per_minute = 3000\nprice = \"1s\"";
    let (_dune, home) = fake_dune_with_past_runs(settings).await;
    let _daemon = home.start();
    record_past_runs_and_poll(
        &home,
        &[&["NEW"], &["OTHER", "--similar-to", "nightly"], &["OVERDUE"]],
    );

    let row = |job: &str, key: &str| show_row(&home, job, key).unwrap_or_default();
    let next = row("dune/NEW", "next poll");
    let max_wait_reason = "s: maximum wait for a job of this age";
    assert!(next.starts_with("in ") && next.ends_with(max_wait_reason), "{next}");
    let eight_runs = "8 of \"query 980708\", median duration 3 min 20 s";
    assert_eq!(row("dune/NEW", "similar runs"), eight_runs);
    let end = row("dune/NEW", "expected end");
    assert!(end.starts_with("in about ") && end.contains(" min"), "{end}");

    assert_eq!(row("dune/OTHER", "similar runs"), "none yet");
    assert_eq!(show_row(&home, "dune/OTHER", "expected end"), None);

    assert_eq!(row("dune/OVERDUE", "similar runs"), eight_runs);
    assert_eq!(
        row("dune/OVERDUE", "expected end"),
        "unknown: the job has outlasted the similar runs"
    );

    assert_eq!(row("dune/PAST1", "next poll"), "-", "a finished job has no next poll");
    assert_eq!(show_row(&home, "dune/PAST1", "similar runs"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn json_has_forecast_fields_and_lists_do_not() {
    let (_dune, home) =
        fake_dune_with_past_runs("requests_per_minute = 3000\nprice = \"500ms\"").await;
    let _daemon = home.start();
    record_past_runs_and_poll(&home, &[&["NEW"], &["OTHER", "--similar-to", "nightly"], &["DUE"]]);

    let read_forecast = |job: &str| json_lines(&home, &["show", job]).remove(0)["forecast"].take();
    for job in ["9", "dune/NEW"] {
        let forecast = read_forecast(job);
        assert_eq!(forecast["reason"], "max_wait");
        assert_eq!(forecast["similarity_key"], "query 980708");
        assert_eq!(forecast["similar_run_count"], 8);
        let number = |key: &str| forecast[key].as_f64().expect(key);
        assert!(
            (0.0..=PAST_RUN_DURATION.as_secs_f64()).contains(&number("next_poll_in_s")),
            "{forecast}"
        );
        assert!((199.0..201.0).contains(&number("similar_median_s")), "{forecast}");
        assert!((100.0..220.0).contains(&number("expected_remaining_s")), "{forecast}");
    }
    let other = read_forecast("dune/OTHER");
    assert_eq!(
        (other.get("similar_run_count"), other["expected_remaining_s"].clone()),
        (None, Value::Null)
    );
    // This job is about as old as the similar runs were, and may end at any moment.
    let due = read_forecast("dune/DUE");
    assert_eq!((&due["reason"], &due["price_s"]), (&"price".into(), &0.5.into()), "{due}");
    assert_eq!(read_forecast("dune/PAST1"), Value::Null);
    let listed = json_lines(&home, &["list"]);
    assert_eq!(listed.len(), 3);
    assert!(listed.iter().all(|job| job.get("forecast").is_none()), "{listed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn backoff_is_reported_as_the_reason() {
    // Long enough for the client to run between two polls.
    let hourly = FAST_POLLING_TOML.replace("100ms", "1h").replace("200ms", "1h");
    let (_dune, home) = fake_dune_with_past_runs(&hourly).await;
    let _daemon = home.start();
    record_past_runs_and_poll(&home, &[&["NEW"]]);
    let next = show_row(&home, "dune/NEW", "next poll").expect("a row");
    assert!(next.ends_with(": backoff, while the state does not change"), "{next}");
    // Similar runs are shown under every policy.
    let similar_runs = show_row(&home, "dune/NEW", "similar runs").expect("a row");
    assert!(similar_runs.starts_with("8 of \"query 980708\""), "{similar_runs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_prints_the_expected_end() {
    let (_dune, home) = fake_dune_with_past_runs("requests_per_minute = 3000").await;
    let _daemon = home.start();
    record_past_runs_and_poll(&home, &[&["NEW"], &["OTHER", "--similar-to", "nightly"]]);
    let first_line = |arguments: &[&str]| {
        let mut client = home
            .client_command(&[&["wait", "--timeout", "20s"], arguments].concat())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the client starts");
        let mut line = String::new();
        let stderr = client.stderr.take().expect("a pipe");
        BufReader::new(stderr).read_line(&mut line).expect("a line");
        client.kill().expect("the client still waits");
        client.wait().expect("the client exits");
        line
    };
    let one = first_line(&["dune/NEW"]);
    assert!(one.starts_with("expected end: in about "), "{one}");
    let two = first_line(&["dune/NEW", "dune/OTHER"]);
    assert!(two.starts_with("expected end of 1 of 2 jobs: in about "), "{two}");

    let none = home.run_client(&["wait", "dune/OTHER", "--timeout", "1s"]);
    assert_eq!(none.status.code(), Some(124));
    assert_eq!(utf8(&none.stderr), "timeout: not all jobs have ended\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_counts_the_jobs_at_the_time_of_the_request() {
    let (_dune, home) = fake_dune_with_past_runs("requests_per_minute = 1").await;
    let _daemon = home.start();
    for added in 1..=5 {
        home.run_client_ok(&["add", "dune", &format!("01ADDED{added}")]);
        let status = &json_lines(&home, &["status"])[0];
        assert_eq!(status["active_jobs"], added);
        // One poll a minute is sent, so that all jobs but one are due.
        let provider = &status["providers"][0];
        let (due, sent) = (provider["due_polls"].as_u64(), provider["in_flight"].as_u64());
        assert!(due.zip(sent).is_some_and(|(due, sent)| due + sent >= added - 1), "{provider}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_reports_the_detection_delay() {
    let (_dune, home) = fake_dune_with_past_runs("requests_per_minute = 3000").await;
    let daemon = home.start();
    assert_eq!(
        json_lines(&home, &["status"])[0]["providers"][0]["mean_detection_delay_s"],
        Value::Null
    );
    assert!(!home.run_client_ok(&["status"]).contains("mean detection delay"));
    record_past_runs_and_poll(&home, &[]);
    daemon
        .wait_for_status(&home, |status| {
            !status["providers"][0]["mean_detection_delay_s"].is_null()
        })
        .await;
    let delay =
        json_lines(&home, &["status"])[0]["providers"][0]["mean_detection_delay_s"].as_f64();
    // The runs ended minutes before they were added; that time does not count as a delay.
    assert!(delay.expect("a number") < 100.0, "{delay:?}");
    let status = home.run_client_ok(&["status"]);
    let delay_line = status.lines().find(|line| line.contains("mean detection delay "));
    assert!(delay_line.is_some_and(|line| line.starts_with("dune: ")), "{status}");
}
