//! The stand-in provider itself: that its lives, refusals, faults and limits are what they claim,
//! since every other test believes it.

#![allow(clippy::expect_used, reason = "a test crate: a broken expectation is a failed test")]

#[path = "support/standin/mod.rs"]
mod standin;

use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;

use standin::{End, Fault, KEY, Life, Limit, Now, Phase, StandIn, Target, Times, dune};

const ID: &str = "01GBM4W2N0NMCGPZYW8AYK4YF1";
const SOON: Duration = Duration::from_secs(10);

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn client() -> Client {
    Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(SOON)
        .build()
        .expect("a client")
}

async fn ask(client: &Client, standin: &StandIn, id: &str) -> reqwest::Result<Response> {
    let url = format!("{}/api/v1/execution/{id}/status", standin.base_url());
    client.get(url).header(dune::KEY_HEADER, KEY).send().await
}

fn example(text: &str) -> Value {
    serde_json::from_str(text).expect("the document's JSON")
}

#[test]
fn the_life_of_the_document_is_told_in_its_words() {
    let submitted: Timestamp = "2022-08-29T06:33:24.913138Z".parse().expect("a time");
    let life = Life::new()
        .pending(Duration::from_nanos(3_405_331))
        .running(Duration::from_nanos(196_671_923_669))
        .then(End::Completed);

    let running = dune::body(ID, submitted, &life.at(SOON));
    for (name, value) in example(dune::EXECUTING_EXAMPLE).as_object().expect("an object") {
        assert_eq!(&running[name], value, "{name}");
    }
    assert_eq!(running["is_execution_finished"], false);

    let done = dune::body(ID, submitted, &life.at(Duration::from_hours(1)));
    let expected = example(dune::COMPLETED_EXAMPLE);
    for name in ["state", "submitted_at", "execution_started_at", "execution_ended_at"] {
        assert_eq!(done[name], expected[name], "{name}");
    }
    assert_eq!(done["expires_at"], "2022-11-27T06:36:41.588467Z");
    let names = |body: &Value| -> Vec<String> {
        body["result_metadata"].as_object().expect("an object").keys().cloned().collect()
    };
    assert_eq!(names(&done), names(&expected));
}

/// A life, milliseconds since submission, the state, fields that are there, fields that are not.
type Case<'a> = (Life, u64, &'a str, &'a [&'a str], &'a [&'a str]);

#[test]
fn each_moment_of_a_life_has_its_fields() {
    let start = Timestamp::UNIX_EPOCH;
    let waited = Life::new().pending(millis(500));
    let ran = waited.clone().running(millis(500));
    let kept = ran.clone().step(millis(500), Phase::Ended(End::Completed));
    let ended = |end| ran.clone().then(end);
    let said = |word: &str| Life::steps(vec![(millis(1), word.into())]).read_with(dune::phase);
    let over = ran.clone().then_says("QUERY_STATE_X", Some(true));
    let cases: [Case<'_>; 11] = [
        (Life::new(), 9, "PENDING", &["queue_position"], &["expires_at", "is_execution_finished"]),
        (ran.clone(), 499, "PENDING", &["queue_position"], &["execution_started_at"]),
        (ran.clone(), 500, "EXECUTING", &["execution_started_at"], &["queue_position", "error"]),
        (ended(End::Completed), 1000, "COMPLETED", &["result_metadata"], &["error"]),
        (ended(End::CompletedPartial), 1000, "COMPLETED_PARTIAL", &["result_metadata"], &[]),
        (ended(End::Failed), 1000, "FAILED", &["error", "execution_ended_at"], &["cancelled_at"]),
        (ended(End::Canceled), 1000, "CANCELED", &["cancelled_at", "execution_ended_at"], &[]),
        (waited.then(End::Cancelled), 500, "CANCELLED", &["cancelled_at"], &["execution_ended_at"]),
        (kept.then(End::Expired), 1500, "EXPIRED", &["execution_ended_at"], &["result_metadata"]),
        (over, 1000, "X", &["is_execution_finished", "execution_ended_at"], &[]),
        (said("QUERY_STATE_EXECUTING"), 0, "EXECUTING", &["execution_started_at"], &["error"]),
    ];
    for (life, ms, word, there, absent) in cases {
        let body = dune::body(ID, start, &life.at(millis(ms)));
        assert_eq!(body["state"], format!("QUERY_STATE_{word}"), "{body}");
        for name in there {
            assert!(body.get(name).is_some(), "{name} in {body}");
        }
        for name in absent {
            assert!(body.get(name).is_none(), "{name} in {body}");
        }
    }
}

#[tokio::test]
async fn time_runs_from_the_point_that_the_life_names() {
    let (standin, client) = (StandIn::start().await, client());
    let play = |life: Life| life.pending(SOON).running(SOON).then(End::Completed);
    let now = Now::read().wall;
    standin.put("past", play(Life::new().submitted_at(now - SOON)));
    standin.put("future", play(Life::new().submitted_at(now + SOON)));
    standin.put("asked", play(Life::from_first_request()));

    let past = ask(&client, &standin, "past").await.expect("an answer");
    let past: Value = past.json().await.expect("JSON");
    assert_eq!(past["state"], "QUERY_STATE_EXECUTING");
    let truth = standin.truth("past");
    assert_eq!((truth.started_at, truth.ended_at), (Some(now), Some(now + SOON)));
    assert_eq!(past["execution_started_at"], now.to_string());
    assert_eq!(truth.words[2], (now + SOON, "QUERY_STATE_COMPLETED".to_owned()));

    let future = ask(&client, &standin, "future").await.expect("an answer");
    assert_eq!(future.status(), StatusCode::NOT_FOUND);
    ask(&client, &standin, "asked").await.expect("an answer");
    let asked = standin.requests().pop().expect("a request");
    assert_eq!(standin.truth("asked").submitted_at, asked.at.wall);
}

#[tokio::test]
async fn what_no_client_should_do_is_refused_and_recorded() {
    let (standin, client) = (StandIn::start().await, client());
    standin.put(ID, Life::new());
    let status = |id: &str| format!("{}/api/v1/execution/{id}/status", standin.base_url());
    let results = format!("{}/api/v1/execution/{ID}/results", standin.base_url());
    let cases = [
        (status(ID), "wrong", 401, "invalid API Key", 0),
        (status("01UNKNOWN"), KEY, 404, "Object not found", 0),
        (status("a-b"), KEY, 400, "The requested execution ID (ID: a-b) is invalid.", 0),
        (status(ID) + "?api_key=standin-key", "", 401, "invalid API Key", 1),
        (results, KEY, 404, "Object not found", 2),
    ];
    for (url, key, code, why, violations) in cases {
        let request = client.get(&url).header(dune::KEY_HEADER, key);
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), code, "{url}");
        assert_eq!(answer.json::<Value>().await.expect("JSON")["error"], why, "{url}");
        assert_eq!(standin.violations().len(), violations, "{url}");
    }
    assert_eq!(standin.keys_seen(), ["", KEY, "wrong"]);
    assert_eq!((standin.count(), standin.count_for(ID)), (5, 2));
}

#[tokio::test]
async fn a_fault_meets_its_target_as_often_as_it_was_told() {
    let (standin, client) = (StandIn::start().await, client());
    for id in ["a", "b"] {
        standin.put(id, Life::new());
    }
    let seen = async |id: &str| {
        let answer = ask(&client, &standin, id).await.expect("an answer");
        answer.status().as_u16()
    };
    standin.fault(Target::job("a"), Fault::status(503, "{}"), Times::N(2));
    standin.fault(Target::All, Fault::RateLimited { retry_after: Some("7".into()) }, Times::Once);
    standin.fault(Target::All, Fault::Redirect("http://127.0.0.1:1/".into()), Times::Always);
    assert_eq!(seen("a").await, 503);
    assert_eq!(seen("b").await, 429);
    assert_eq!(seen("a").await, 503);
    assert_eq!(seen("a").await, 302);
    assert_eq!(seen("b").await, 302);
    standin.clear_faults();
    assert_eq!(seen("a").await, 200);
    let statuses: Vec<_> = standin.requests().iter().filter_map(|request| request.status).collect();
    assert_eq!(statuses, [503, 429, 503, 302, 302, 200]);
}

#[tokio::test]
async fn spoilt_answers_are_spoilt_in_the_way_that_was_asked_for() {
    let (standin, client) = (StandIn::start().await, client());
    standin.put(ID, Life::new());
    let whole = |size| -> Result<usize, bool> { Ok(size) };
    let good = ask(&client, &standin, ID).await.expect("an answer").bytes().await.expect("bytes");
    // The length of the body, or whether the failure is the client's time-out.
    let cases = [
        (Fault::Slow(millis(20)), whole(good.len())),
        (Fault::SlowHeaders(millis(1)), whole(good.len())),
        (Fault::SlowBody(millis(1)), whole(good.len())),
        (Fault::HugeBody(1_000_000), whole(1_000_000)),
        (Fault::GzipBomb(20_000_000), whole(20_000_000)),
        (Fault::Body { content_type: "text/html".into(), bytes: b"<p>".into() }, whole(3)),
        (Fault::Reset, Err(false)),
        (Fault::CutBody, Err(false)),
        (Fault::Hang, Err(true)),
        (Fault::EndlessChunks, Err(true)),
        (Fault::Slow(SOON), Err(true)),
    ];
    let url = format!("{}/api/v1/execution/{ID}/status", standin.base_url());
    for (fault, expected) in cases {
        standin.fault(Target::All, fault.clone(), Times::Once);
        let patience = if expected == Err(true) { millis(200) } else { SOON };
        let request = client.get(&url).header(dune::KEY_HEADER, KEY).timeout(patience);
        let outcome = async { request.send().await?.bytes().await }.await;
        let outcome = outcome.map(|body| body.len()).map_err(|error| error.is_timeout());
        assert_eq!(outcome, expected, "{fault:?}");
    }
    ask(&client, &standin, ID).await.expect("a good answer after all that");
}

#[tokio::test]
async fn the_limit_is_enforced_and_told() {
    let (standin, client) = (StandIn::start().await, client());
    standin.put(ID, Life::new());
    standin.limit(2);
    let tell = async || {
        let answer = ask(&client, &standin, ID).await.expect("an answer");
        let header = |name: &str| {
            let value = answer.headers().get(name)?;
            Some(value.to_str().expect("text").to_owned())
        };
        (answer.status().as_u16(), header("ratelimit"), header("retry-after"))
    };
    assert_eq!(tell().await, (200, Some("\"high\";r=1;t=60".into()), None));
    assert_eq!(tell().await.0, 200);
    assert_eq!(tell().await.0, 429);

    standin.limit(Limit { requests: 1, window: SOON, retry_after: true });
    assert_eq!(tell().await.0, 200);
    assert_eq!(tell().await, (429, Some("\"high\";r=0;t=10".into()), Some("10".into())));
    standin.clear_limit();
    assert_eq!(tell().await, (200, None, None));
    assert_eq!(standin.max_in_window(Duration::from_mins(1)), 6);
    assert_eq!(standin.max_in_window(Duration::from_nanos(1)), 1);
}

#[tokio::test]
async fn requests_are_counted_when_they_come_and_as_long_as_they_wait() {
    let (standin, client) = (StandIn::start().await, client());
    standin.fault(Target::All, Fault::Hang, Times::Always);
    let waiting = async { tokio::join!(ask(&client, &standin, "a"), ask(&client, &standin, "b")) };
    let arrived = async {
        standin.wait_for_request_of("b", SOON).await;
        standin.wait_for_requests(2, SOON).await;
    };
    tokio::select! {
        _ = waiting => panic!("nobody answers"),
        () = arrived => {}
    }
    assert_eq!(standin.max_concurrent(), 2);
    assert_eq!((standin.count_for("a"), standin.count_for("b")), (1, 1));
    standin.stop().await;
}

#[tokio::test]
async fn paused_it_refuses_connections_and_then_goes_on_at_the_same_place() {
    let (standin, client) = (StandIn::start().await, client());
    standin.put(ID, Life::new());
    ask(&client, &standin, ID).await.expect("an answer");
    standin.pause().await;
    assert!(ask(&client, &standin, ID).await.expect_err("nobody listens").is_connect());
    standin.resume().await;
    assert_eq!(ask(&client, &standin, ID).await.expect("an answer").status(), 200);
    assert_eq!(standin.count(), 2);
}
