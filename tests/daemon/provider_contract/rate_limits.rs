//! What headers tell of limits and of the provider's clock, with good answers and with refusals.

use std::time::Duration;

use jobtrack::job::{Pace, Quota, Utc};
use serde_json::Value;

use super::harness::{Bench, SUBJECTS};
use crate::support::fake_server::{Fault, Life};

fn status(code: u16, body: String, headers: &[(&str, &str)]) -> Fault {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Fault::Status { code, body, headers: headers.collect() }
}

#[tokio::test]
async fn fault_37_limits_are_told_by_good_answers_and_by_refusals() {
    let minute = Duration::from_mins(1);
    let seconds = Duration::from_secs;
    let limits = [
        ("RateLimit-Policy", "\"high\";q=40;w=60"),
        ("RateLimit", "\"high\";r=3;t=12"),
        ("Retry-After", "7"),
    ];
    let told = Pace {
        retry_after: Some(seconds(7)),
        quota: Some(Quota { requests: 40, window: minute }),
        left: Some((3, seconds(12))),
    };
    let nonsense = [("RateLimit-Policy", "high"), ("RateLimit", "3"), ("Retry-After", "soon")];
    for subject in SUBJECTS {
        let bench = Bench::new(subject).await;
        let good = || Value::Object((subject.body)(subject.running)).to_string();
        for (code, body) in [(200, good()), (429, String::new()), (503, String::new())] {
            let answer = bench.meet(status(code, body.clone(), &limits)).await;
            assert_eq!(answer.pace, told, "{code}");
            assert_eq!(answer.result.is_ok(), code == 200);
            let answer = bench.meet(status(code, body.clone(), &nonsense)).await;
            assert_eq!(answer.pace, Pace::default(), "{code}: nonsense is nothing");
            let answer = bench.meet(status(code, body, &[])).await;
            assert_eq!(answer.pace, Pace::default(), "{code}");
        }
    }
}

#[tokio::test]
async fn fault_37_a_date_in_retry_after_is_counted_from_the_providers_clock() {
    for subject in SUBJECTS {
        let bench = Bench::new(subject).await;
        (subject.put)(&bench.standin, Life::new());
        let date = bench.poll().await.server_date.expect("a date");
        let in_an_hour = date.plus(Duration::from_hours(1)).to_string();
        let later: jiff::Timestamp = in_an_hour.parse().expect("a time");
        let later = later.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let answer = bench.meet(status(429, String::new(), &[("Retry-After", &later)])).await;
        let wait = answer.pace.retry_after.expect("a wait");
        let about = Duration::from_mins(59)..=Duration::from_hours(1);
        assert!(about.contains(&wait), "{wait:?}: our clock on the bench shows another time");
    }
}

#[tokio::test]
async fn the_providers_clock_is_told_in_whole_seconds() {
    for subject in SUBJECTS {
        let bench = Bench::new(subject).await;
        (subject.put)(&bench.standin, Life::new());
        let answers = [bench.poll().await, bench.meet(Fault::status(500, "")).await];
        for (answer, request) in answers.iter().zip(bench.standin.requests()) {
            let at = request.at.wall.as_second() * 1000;
            assert_eq!(answer.server_date, Some(Utc::from_millis(at)));
        }
    }
}

#[tokio::test]
async fn a_limit_in_the_text_of_a_refusal_is_told_by_the_kinds_that_have_it() {
    let text = "policy user over ratelimit,limit:60,time:1 minute";
    let refusals =
        [(429, "APIGW.0308", true), (403, "APIG.0308", true), (503, "APIGW.0308", false)];
    for subject in SUBJECTS {
        let bench = Bench::new(subject).await;
        for (code, error_code, is_limit) in refusals {
            let body = serde_json::json!({ "error_code": error_code, "error_msg": text });
            let answer = bench.meet(status(code, body.to_string(), &[])).await;
            let quota = Quota { requests: 60, window: Duration::from_mins(1) };
            let expected = (is_limit && subject.kind != "dune").then_some(quota);
            assert_eq!(answer.pace.quota, expected, "{} {code}", subject.kind);
        }
        let headers = [("RateLimit-Policy", "\"high\";q=40;w=60")];
        let body = serde_json::json!({ "error_code": "APIGW.0308", "error_msg": text });
        let answer = bench.meet(status(429, body.to_string(), &headers)).await;
        let told = answer.pace.quota.map(|quota| quota.requests);
        assert_eq!(told, Some(40), "what a header says is meant for us");
    }
}
