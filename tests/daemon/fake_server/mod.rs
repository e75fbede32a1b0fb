//! The stand-in provider itself: that its lives, refusals, faults and limits are what they claim,
//! since every other test believes it.

mod faults;
mod services;
mod signatures;

use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;

use crate::support::fake_server::{
    End, Fault, KEY, Life, Now, Phase, StandIn, Target, Times, dune,
};

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
    let mut today = names(&expected);
    // The document is of 2022.
    today.insert(1, "column_types".to_owned());
    assert_eq!(names(&done), today);
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

#[tokio::test]
async fn a_query_is_run_and_its_result_fetched_as_dunes_own_client_does() {
    let (standin, client) = (StandIn::start().await, client());
    standin.put(ID, Life::from_first_request().of_query(7).running(millis(0)).then(End::Completed));
    let url = |path: &str| format!("{}/api/v1/{path}", standin.base_url());
    let told = async |request: reqwest::RequestBuilder| -> (u16, Value) {
        let answer = request.header(dune::KEY_HEADER, KEY).send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    };
    let (status, run) = told(client.post(url("query/7/execute"))).await;
    assert_eq!((status, &run["execution_id"]), (200, &Value::from(ID)));
    let (status, again) = told(client.post(url("query/7/execute"))).await;
    assert_eq!((status, &again["error"]), (404, &Value::from("Object not found")), "it runs");
    assert_eq!(standin.count(), 0, "nobody looked");

    let (_, looked) = told(client.get(url(&format!("execution/{ID}/status")))).await;
    assert_eq!((&looked["query_id"], &looked["result"]), (&Value::from(7), &Value::Null));
    let (_, fetched) = told(client.get(url(&format!("execution/{ID}/results?limit=9")))).await;
    assert_eq!(fetched["result"]["metadata"], looked["result_metadata"]);
    assert_eq!((standin.count(), standin.violations().len()), (2, 1));
}
