//! Tests of the fake server: its scripts, rejections, faults and limits do what they claim. All
//! other tests of the `daemon` and `system` binaries rely on that.

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
    jobtrack::tls::install_cryptography();
    Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(DEADLINE)
        .build()
        .expect("a client")
}

async fn request_status(
    client: &Client,
    server: &FakeServer,
    id: &str,
) -> reqwest::Result<Response> {
    let url = format!("{}/api/v1/execution/{id}/status", server.base_url());
    client.get(url).header(dune::API_KEY_HEADER, API_KEY).send().await
}

fn parse_example(text: &str) -> Value {
    serde_json::from_str(text).expect("the documented example is JSON")
}

#[test]
fn responses_match_the_documented_example() {
    let submitted: Timestamp = "2022-08-29T06:33:24.913138Z".parse().expect("a time");
    let script = JobScript::new()
        .pending(Duration::from_nanos(3_405_331))
        .running(Duration::from_nanos(196_671_923_669))
        .ending_with(JobEnd::Completed);

    let running = dune::status_body(EXECUTION_ID, submitted, &script.snapshot_after(DEADLINE));
    for (name, value) in parse_example(dune::EXECUTING_EXAMPLE).as_object().expect("an object") {
        assert_eq!(&running[name], value, "{name}");
    }
    assert_eq!(running["is_execution_finished"], false);

    let completed =
        dune::status_body(EXECUTION_ID, submitted, &script.snapshot_after(Duration::from_hours(1)));
    let expected = parse_example(dune::COMPLETED_EXAMPLE);
    for name in ["state", "submitted_at", "execution_started_at", "execution_ended_at"] {
        assert_eq!(completed[name], expected[name], "{name}");
    }
    assert_eq!(completed["expires_at"], "2022-11-27T06:36:41.588467Z");
    let names = |body: &Value| -> Vec<String> {
        body["result_metadata"].as_object().expect("an object").keys().cloned().collect()
    };
    let mut expected_names = names(&expected);
    // Real responses have this field; the documentation, of 2022, does not.
    expected_names.insert(1, "column_types".to_owned());
    assert_eq!(names(&completed), expected_names);
}

/// Script, milliseconds since submission, state, fields that are present, fields that are absent.
type PhaseCase<'a> = (JobScript, u64, &'a str, &'a [&'a str], &'a [&'a str]);

#[test]
fn each_phase_has_its_documented_fields() {
    let start = Timestamp::UNIX_EPOCH;
    let queued = JobScript::new().pending(millis(500));
    let ran = queued.clone().running(millis(500));
    let completed = ran.clone().with_phase(millis(500), JobPhase::Ended(JobEnd::Completed));
    let ended = |end| ran.clone().ending_with(end);
    let in_state = |state: &str| {
        JobScript::from_states(vec![(millis(1), state.into())])
            .resolve_states_with(dune::phase_of_state)
    };
    let finished = ran.clone().ending_in_state("QUERY_STATE_X", Some(true));
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
            queued.ending_with(JobEnd::Cancelled),
            500,
            "CANCELLED",
            &["cancelled_at"],
            &["execution_ended_at"],
        ),
        (
            completed.ending_with(JobEnd::Expired),
            1500,
            "EXPIRED",
            &["execution_ended_at"],
            &["result_metadata"],
        ),
        (finished, 1000, "X", &["is_execution_finished", "execution_ended_at"], &[]),
        (in_state("QUERY_STATE_EXECUTING"), 0, "EXECUTING", &["execution_started_at"], &["error"]),
    ];
    for (script, ms, state, present, absent) in cases {
        let body = dune::status_body(EXECUTION_ID, start, &script.snapshot_after(millis(ms)));
        assert_eq!(body["state"], format!("QUERY_STATE_{state}"), "{body}");
        for name in present {
            assert!(body.get(name).is_some(), "{name} in {body}");
        }
        for name in absent {
            assert!(body.get(name).is_none(), "{name} in {body}");
        }
    }
}

#[tokio::test]
async fn script_time_starts_where_the_script_says() {
    let (server, client) = (FakeServer::start().await, client());
    let with_phases = |script: JobScript| {
        script.pending(DEADLINE).running(DEADLINE).ending_with(JobEnd::Completed)
    };
    let now = ClockSample::read().wall;
    server.add_job("past", with_phases(JobScript::new().submitted_at(now - DEADLINE)));
    server.add_job("future", with_phases(JobScript::new().submitted_at(now + DEADLINE)));
    server.add_job("on-request", with_phases(JobScript::starting_at_first_request()));

    let past = request_status(&client, &server, "past").await.expect("a response");
    let past: Value = past.json().await.expect("JSON");
    assert_eq!(past["state"], "QUERY_STATE_EXECUTING");
    let history = server.true_history("past");
    assert_eq!((history.started_at, history.ended_at), (Some(now), Some(now + DEADLINE)));
    assert_eq!(past["execution_started_at"], now.to_string());
    assert_eq!(history.provider_states[2], (now + DEADLINE, "QUERY_STATE_COMPLETED".to_owned()));

    let future = request_status(&client, &server, "future").await.expect("a response");
    assert_eq!(future.status(), StatusCode::NOT_FOUND);
    request_status(&client, &server, "on-request").await.expect("a response");
    let request = server.requests().pop().expect("a request");
    assert_eq!(server.true_history("on-request").submitted_at, request.received_at.wall);
}

#[tokio::test]
async fn client_violations_are_rejected_and_recorded() {
    let (server, client) = (FakeServer::start().await, client());
    server.add_job(EXECUTION_ID, JobScript::new());
    let status = |id: &str| format!("{}/api/v1/execution/{id}/status", server.base_url());
    let results = format!("{}/api/v1/execution/{EXECUTION_ID}/results", server.base_url());
    let cases = [
        (status(EXECUTION_ID), "wrong", 401, "invalid API Key", 0),
        (status("01UNKNOWN"), API_KEY, 404, "Object not found", 0),
        (status("a-b"), API_KEY, 400, "The requested execution ID (ID: a-b) is invalid.", 0),
        (status(EXECUTION_ID) + "?api_key=fake-api-key", "", 401, "invalid API Key", 1),
        (results, API_KEY, 404, "Object not found", 2),
    ];
    for (url, key, code, message, violations) in cases {
        let request = client.get(&url).header(dune::API_KEY_HEADER, key);
        let response = request.send().await.expect("a response");
        assert_eq!(response.status(), code, "{url}");
        assert_eq!(response.json::<Value>().await.expect("JSON")["error"], message, "{url}");
        assert_eq!(server.client_violations().len(), violations, "{url}");
    }
    assert_eq!(server.credentials_seen(), ["", API_KEY, "wrong"]);
    assert_eq!((server.request_count(), server.request_count_for_job(EXECUTION_ID)), (5, 2));
}

#[tokio::test]
async fn requests_and_concurrency_are_counted() {
    let (server, client) = (FakeServer::start().await, client());
    server.inject_fault(FaultTarget::All, Fault::Hang, FaultRepeat::Always);
    let waiting = async {
        tokio::join!(request_status(&client, &server, "a"), request_status(&client, &server, "b"))
    };
    let arrived = async {
        server.wait_for_first_request_for("b", DEADLINE).await;
        server.wait_for_requests(2, DEADLINE).await;
    };
    tokio::select! {
        _ = waiting => panic!("a hanging request was answered"),
        () = arrived => {}
    }
    assert_eq!(server.max_concurrent_requests(), 2);
    assert_eq!((server.request_count_for_job("a"), server.request_count_for_job("b")), (1, 1));
    server.stop().await;
}

#[tokio::test]
async fn paused_server_refuses_connections_and_resumes_on_the_same_port() {
    let (server, client) = (FakeServer::start().await, client());
    server.add_job(EXECUTION_ID, JobScript::new());
    request_status(&client, &server, EXECUTION_ID).await.expect("a response");
    server.pause().await;
    assert!(
        request_status(&client, &server, EXECUTION_ID)
            .await
            .expect_err("the server does not listen")
            .is_connect()
    );
    server.resume().await;
    assert_eq!(
        request_status(&client, &server, EXECUTION_ID).await.expect("a response").status(),
        200
    );
    assert_eq!(server.request_count(), 2);
}

#[tokio::test]
async fn dune_client_can_execute_a_query_and_fetch_its_result() {
    let (server, client) = (FakeServer::start().await, client());
    server.add_job(
        EXECUTION_ID,
        JobScript::starting_at_first_request()
            .with_query_id(7)
            .running(millis(0))
            .ending_with(JobEnd::Completed),
    );
    let url = |path: &str| format!("{}/api/v1/{path}", server.base_url());
    let send = async |request: reqwest::RequestBuilder| -> (u16, Value) {
        let response =
            request.header(dune::API_KEY_HEADER, API_KEY).send().await.expect("a response");
        (response.status().as_u16(), response.json().await.expect("JSON"))
    };
    let (status, execution) = send(client.post(url("query/7/execute"))).await;
    assert_eq!((status, &execution["execution_id"]), (200, &Value::from(EXECUTION_ID)));
    let (status, second) = send(client.post(url("query/7/execute"))).await;
    assert_eq!(
        (status, &second["error"]),
        (404, &Value::from("Object not found")),
        "it runs already"
    );
    assert_eq!(server.request_count(), 0, "executions are not logged");

    let (_, status_body) = send(client.get(url(&format!("execution/{EXECUTION_ID}/status")))).await;
    assert_eq!((&status_body["query_id"], &status_body["result"]), (&Value::from(7), &Value::Null));
    let (_, result_body) =
        send(client.get(url(&format!("execution/{EXECUTION_ID}/results?limit=9")))).await;
    assert_eq!(result_body["result"]["metadata"], status_body["result_metadata"]);
    assert_eq!((server.request_count(), server.client_violations().len()), (2, 1));
}
