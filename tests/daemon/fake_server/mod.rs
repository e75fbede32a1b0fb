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
    API_KEY, ClockSample, FakeServer, Fault, FaultRepeat, FaultTarget, JobEnd, JobPhase, JobScript,
    dune,
};

const EXECUTION_ID: &str = "01GBM4W2N0NMCGPZYW8AYK4YF1";
const DEADLINE: Duration = Duration::from_secs(10);

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn client() -> Client {
    Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(DEADLINE)
        .build()
        .expect("a client")
}

async fn request_status(
    client: &Client,
    standin: &FakeServer,
    id: &str,
) -> reqwest::Result<Response> {
    let url = format!("{}/api/v1/execution/{id}/status", standin.base_url());
    client.get(url).header(dune::API_KEY_HEADER, API_KEY).send().await
}

fn parse_example(text: &str) -> Value {
    serde_json::from_str(text).expect("the document's JSON")
}

#[test]
fn responses_match_the_documented_example() {
    let submitted: Timestamp = "2022-08-29T06:33:24.913138Z".parse().expect("a time");
    let life = JobScript::new()
        .pending(Duration::from_nanos(3_405_331))
        .running(Duration::from_nanos(196_671_923_669))
        .ending_with(JobEnd::Completed);

    let running = dune::status_body(EXECUTION_ID, submitted, &life.snapshot_after(DEADLINE));
    for (name, value) in parse_example(dune::EXECUTING_EXAMPLE).as_object().expect("an object") {
        assert_eq!(&running[name], value, "{name}");
    }
    assert_eq!(running["is_execution_finished"], false);

    let done =
        dune::status_body(EXECUTION_ID, submitted, &life.snapshot_after(Duration::from_hours(1)));
    let expected = parse_example(dune::COMPLETED_EXAMPLE);
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
type PhaseCase<'a> = (JobScript, u64, &'a str, &'a [&'a str], &'a [&'a str]);

#[test]
fn each_phase_has_its_documented_fields() {
    let start = Timestamp::UNIX_EPOCH;
    let waited = JobScript::new().pending(millis(500));
    let ran = waited.clone().running(millis(500));
    let kept = ran.clone().with_phase(millis(500), JobPhase::Ended(JobEnd::Completed));
    let ended = |end| ran.clone().ending_with(end);
    let said = |word: &str| {
        JobScript::from_states(vec![(millis(1), word.into())])
            .resolve_states_with(dune::phase_of_state)
    };
    let over = ran.clone().ending_in_state("QUERY_STATE_X", Some(true));
    let cases: [PhaseCase<'_>; 11] = [
        (
            JobScript::new(),
            9,
            "PENDING",
            &["queue_position"],
            &["expires_at", "is_execution_finished"],
        ),
        (ran.clone(), 499, "PENDING", &["queue_position"], &["execution_started_at"]),
        (ran.clone(), 500, "EXECUTING", &["execution_started_at"], &["queue_position", "error"]),
        (ended(JobEnd::Completed), 1000, "COMPLETED", &["result_metadata"], &["error"]),
        (ended(JobEnd::CompletedPartial), 1000, "COMPLETED_PARTIAL", &["result_metadata"], &[]),
        (
            ended(JobEnd::Failed),
            1000,
            "FAILED",
            &["error", "execution_ended_at"],
            &["cancelled_at"],
        ),
        (ended(JobEnd::Canceled), 1000, "CANCELED", &["cancelled_at", "execution_ended_at"], &[]),
        (
            waited.ending_with(JobEnd::Cancelled),
            500,
            "CANCELLED",
            &["cancelled_at"],
            &["execution_ended_at"],
        ),
        (
            kept.ending_with(JobEnd::Expired),
            1500,
            "EXPIRED",
            &["execution_ended_at"],
            &["result_metadata"],
        ),
        (over, 1000, "X", &["is_execution_finished", "execution_ended_at"], &[]),
        (said("QUERY_STATE_EXECUTING"), 0, "EXECUTING", &["execution_started_at"], &["error"]),
    ];
    for (life, ms, word, there, absent) in cases {
        let body = dune::status_body(EXECUTION_ID, start, &life.snapshot_after(millis(ms)));
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
async fn script_time_starts_where_the_script_says() {
    let (standin, client) = (FakeServer::start().await, client());
    let play =
        |life: JobScript| life.pending(DEADLINE).running(DEADLINE).ending_with(JobEnd::Completed);
    let now = ClockSample::read().wall;
    standin.add_job("past", play(JobScript::new().submitted_at(now - DEADLINE)));
    standin.add_job("future", play(JobScript::new().submitted_at(now + DEADLINE)));
    standin.add_job("asked", play(JobScript::starting_at_first_request()));

    let past = request_status(&client, &standin, "past").await.expect("an answer");
    let past: Value = past.json().await.expect("JSON");
    assert_eq!(past["state"], "QUERY_STATE_EXECUTING");
    let truth = standin.true_history("past");
    assert_eq!((truth.started_at, truth.ended_at), (Some(now), Some(now + DEADLINE)));
    assert_eq!(past["execution_started_at"], now.to_string());
    assert_eq!(truth.provider_states[2], (now + DEADLINE, "QUERY_STATE_COMPLETED".to_owned()));

    let future = request_status(&client, &standin, "future").await.expect("an answer");
    assert_eq!(future.status(), StatusCode::NOT_FOUND);
    request_status(&client, &standin, "asked").await.expect("an answer");
    let asked = standin.requests().pop().expect("a request");
    assert_eq!(standin.true_history("asked").submitted_at, asked.received_at.wall);
}

#[tokio::test]
async fn client_violations_are_rejected_and_recorded() {
    let (standin, client) = (FakeServer::start().await, client());
    standin.add_job(EXECUTION_ID, JobScript::new());
    let status = |id: &str| format!("{}/api/v1/execution/{id}/status", standin.base_url());
    let results = format!("{}/api/v1/execution/{EXECUTION_ID}/results", standin.base_url());
    let cases = [
        (status(EXECUTION_ID), "wrong", 401, "invalid API Key", 0),
        (status("01UNKNOWN"), API_KEY, 404, "Object not found", 0),
        (status("a-b"), API_KEY, 400, "The requested execution ID (ID: a-b) is invalid.", 0),
        (status(EXECUTION_ID) + "?api_key=fake-api-key", "", 401, "invalid API Key", 1),
        (results, API_KEY, 404, "Object not found", 2),
    ];
    for (url, key, code, why, violations) in cases {
        let request = client.get(&url).header(dune::API_KEY_HEADER, key);
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), code, "{url}");
        assert_eq!(answer.json::<Value>().await.expect("JSON")["error"], why, "{url}");
        assert_eq!(standin.client_violations().len(), violations, "{url}");
    }
    assert_eq!(standin.credentials_seen(), ["", API_KEY, "wrong"]);
    assert_eq!((standin.request_count(), standin.request_count_for_job(EXECUTION_ID)), (5, 2));
}

#[tokio::test]
async fn requests_and_concurrency_are_counted() {
    let (standin, client) = (FakeServer::start().await, client());
    standin.inject_fault(FaultTarget::All, Fault::Hang, FaultRepeat::Always);
    let waiting = async {
        tokio::join!(request_status(&client, &standin, "a"), request_status(&client, &standin, "b"))
    };
    let arrived = async {
        standin.wait_for_first_request_for("b", DEADLINE).await;
        standin.wait_for_requests(2, DEADLINE).await;
    };
    tokio::select! {
        _ = waiting => panic!("nobody answers"),
        () = arrived => {}
    }
    assert_eq!(standin.max_concurrent_requests(), 2);
    assert_eq!((standin.request_count_for_job("a"), standin.request_count_for_job("b")), (1, 1));
    standin.stop().await;
}

#[tokio::test]
async fn paused_server_refuses_connections_and_resumes_on_the_same_port() {
    let (standin, client) = (FakeServer::start().await, client());
    standin.add_job(EXECUTION_ID, JobScript::new());
    request_status(&client, &standin, EXECUTION_ID).await.expect("an answer");
    standin.pause().await;
    assert!(
        request_status(&client, &standin, EXECUTION_ID)
            .await
            .expect_err("nobody listens")
            .is_connect()
    );
    standin.resume().await;
    assert_eq!(
        request_status(&client, &standin, EXECUTION_ID).await.expect("an answer").status(),
        200
    );
    assert_eq!(standin.request_count(), 2);
}

#[tokio::test]
async fn dune_client_can_execute_a_query_and_fetch_its_result() {
    let (standin, client) = (FakeServer::start().await, client());
    standin.add_job(
        EXECUTION_ID,
        JobScript::starting_at_first_request()
            .with_query_id(7)
            .running(millis(0))
            .ending_with(JobEnd::Completed),
    );
    let url = |path: &str| format!("{}/api/v1/{path}", standin.base_url());
    let told = async |request: reqwest::RequestBuilder| -> (u16, Value) {
        let answer = request.header(dune::API_KEY_HEADER, API_KEY).send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    };
    let (status, run) = told(client.post(url("query/7/execute"))).await;
    assert_eq!((status, &run["execution_id"]), (200, &Value::from(EXECUTION_ID)));
    let (status, again) = told(client.post(url("query/7/execute"))).await;
    assert_eq!((status, &again["error"]), (404, &Value::from("Object not found")), "it runs");
    assert_eq!(standin.request_count(), 0, "nobody looked");

    let (_, looked) = told(client.get(url(&format!("execution/{EXECUTION_ID}/status")))).await;
    assert_eq!((&looked["query_id"], &looked["result"]), (&Value::from(7), &Value::Null));
    let (_, fetched) =
        told(client.get(url(&format!("execution/{EXECUTION_ID}/results?limit=9")))).await;
    assert_eq!(fetched["result"]["metadata"], looked["result_metadata"]);
    assert_eq!((standin.request_count(), standin.client_violations().len()), (2, 1));
}
