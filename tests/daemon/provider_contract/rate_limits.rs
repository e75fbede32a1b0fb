//! Rate limits and the provider's clock are read from the headers of every answer.

use std::time::Duration;

use jobtrack::job::{RateLimitInfo, RateLimitPolicy, UtcTime};
use serde_json::Value;

use super::harness::{FIXTURES, Harness};
use crate::support::fake_server::{Fault, FaultRepeat, FaultTarget, JobScript};

fn status_fault(code: u16, body: String, headers: &[(&str, &str)]) -> Fault {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Fault::Status { code, body, headers: headers.collect() }
}

#[tokio::test]
async fn fault_37_rate_limits_are_read_from_successes_and_errors() {
    let minute = Duration::from_mins(1);
    let seconds = Duration::from_secs;
    let limits = [
        ("RateLimit-Policy", "\"high\";q=40;w=60"),
        ("RateLimit", "\"high\";r=3;t=12"),
        ("Retry-After", "7"),
    ];
    let expected = RateLimitInfo {
        retry_after: Some(seconds(7)),
        quota: Some(RateLimitPolicy { requests: 40, window: minute }),
        remaining: Some((3, seconds(12))),
    };
    let invalid = [("RateLimit-Policy", "high"), ("RateLimit", "3"), ("Retry-After", "soon")];
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        let valid_body =
            || Value::Object((fixture.minimal_body)(fixture.running_state)).to_string();
        for (code, body) in [(200, valid_body()), (429, String::new()), (503, String::new())] {
            let answer = harness.poll_with_fault(status_fault(code, body.clone(), &limits)).await;
            assert_eq!(answer.rate_limit, expected, "{code}");
            assert_eq!(answer.result.is_ok(), code == 200);
            let answer = harness.poll_with_fault(status_fault(code, body.clone(), &invalid)).await;
            assert_eq!(answer.rate_limit, RateLimitInfo::default(), "{code}: nonsense is nothing");
            let answer = harness.poll_with_fault(status_fault(code, body, &[])).await;
            assert_eq!(answer.rate_limit, RateLimitInfo::default(), "{code}");
        }
    }
}

#[tokio::test]
async fn fault_61_the_answers_to_a_cancel_and_to_a_check_carry_retry_after() {
    for fixture in FIXTURES {
        for code in [429, 500, 503] {
            let harness = Harness::new(fixture).await;
            // Fetches the token, if the fixture needs one.
            assert!(harness.check(0).await.is_ok(), "{}", fixture.kind);
            let fault = status_fault(code, String::new(), &[("Retry-After", "7")]);
            harness.server.inject_fault(FaultTarget::All, fault, FaultRepeat::Always);
            let id = fixture.remote_id.parse().expect("an id");
            let cancel = harness.cancel_answer(&id).await.rate_limit.retry_after;
            let check = harness.check(0).await.rate_limit.retry_after;
            let wait = Some(Duration::from_secs(7));
            assert_eq!((cancel, check), (wait, wait), "{} {code}", fixture.kind);
        }
    }
}

#[tokio::test]
async fn fault_37_a_retry_after_date_is_relative_to_the_providers_clock() {
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        (fixture.add_job)(&harness.server, JobScript::new());
        let date = harness.poll().await.server_date.expect("a date");
        let in_an_hour = date.plus(Duration::from_hours(1)).to_string();
        let later: jiff::Timestamp = in_an_hour.parse().expect("a time");
        let later = later.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let answer = harness
            .poll_with_fault(status_fault(429, String::new(), &[("Retry-After", &later)]))
            .await;
        let wait = answer.rate_limit.retry_after.expect("a wait");
        let expected_range = Duration::from_mins(59)..=Duration::from_hours(1);
        assert!(
            expected_range.contains(&wait),
            "{wait:?}: our clock on the bench shows another time"
        );
    }
}

#[tokio::test]
async fn fault_37_a_reset_time_is_relative_to_the_providers_clock_with_every_status() {
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        (fixture.add_job)(&harness.server, JobScript::new());
        let date = harness.poll().await.server_date.expect("a date");
        let in_a_minute = (date.as_millis() / 1000 + 60).to_string();
        let headers = [("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", &in_a_minute)];
        for code in [200, 403, 429, 500, 503] {
            let answer = harness.poll_with_fault(status_fault(code, "{}".into(), &headers)).await;
            let (left, reset) = answer.rate_limit.remaining.expect("a window");
            assert_eq!(left, 0);
            let expected_range = Duration::from_secs(40)..=Duration::from_mins(1);
            assert!(expected_range.contains(&reset), "{code}: {reset:?}");
        }
    }
}

#[tokio::test]
async fn the_providers_clock_is_read_in_whole_seconds() {
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        (fixture.add_job)(&harness.server, JobScript::new());
        let answers = [harness.poll().await, harness.poll_with_fault(Fault::status(500, "")).await];
        for (answer, request) in answers.iter().zip(harness.server.requests()) {
            let at = request.received_at.wall.as_second() * 1000;
            assert_eq!(answer.server_date, Some(UtcTime::from_millis(at)));
        }
    }
}

#[tokio::test]
async fn a_rate_limit_in_an_error_message_is_read_for_huawei_kinds() {
    let text = "policy user over ratelimit,limit:60,time:1 minute";
    let refusals =
        [(429, "APIGW.0308", true), (403, "APIG.0308", true), (503, "APIGW.0308", false)];
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        for (code, error_code, is_limit) in refusals {
            let body = serde_json::json!({ "error_code": error_code, "error_msg": text });
            let answer = harness.poll_with_fault(status_fault(code, body.to_string(), &[])).await;
            let quota = RateLimitPolicy { requests: 60, window: Duration::from_mins(1) };
            let expected = (is_limit && fixture.kind != "dune").then_some(quota);
            assert_eq!(answer.rate_limit.quota, expected, "{} {code}", fixture.kind);
        }
        let headers = [("RateLimit-Policy", "\"high\";q=40;w=60")];
        let body = serde_json::json!({ "error_code": "APIGW.0308", "error_msg": text });
        let answer = harness.poll_with_fault(status_fault(429, body.to_string(), &headers)).await;
        let header_quota = answer.rate_limit.quota.map(|quota| quota.requests);
        assert_eq!(header_quota, Some(40), "what a header says is meant for us");
    }
}
