//! The services of Huawei Cloud: each has its own states, bodies and rejections on the shared
//! server.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::RequestBuilder;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{DEADLINE, client, millis, parse_example};
use crate::support::fake_server::{
    API_KEY, FakeServer, Fault, FaultRepeat, FaultTarget, JobEnd, JobScript, RateLimit,
    ServiceKind, dataarts, dli, dune,
};

const JOB_ID: &str = "208b08d4-0dc2-4dd7-8879-ddd4c020d7aa";
const INSTANCE_ID: &str = "日报_2.sql/a1ad-448a-9d56";
const PROJECT_ID: &str = "48cc2c48765f481480c7db940d6409d1";
const TOKEN_HEADER: &str = "x-auth-token";

fn job_url(server: &FakeServer, id: &str) -> String {
    format!("{}/v1.0/{PROJECT_ID}/jobs/{id}/status", server.base_url())
}

fn instance_url(server: &FakeServer, script: &str, instance: &str) -> String {
    format!("{}/v1/{PROJECT_ID}/scripts/{script}/instances/{instance}", server.base_url())
}

/// Sends the request; returns status, error code and body.
async fn send(request: RequestBuilder) -> (u16, String, Value) {
    let response = request.send().await.expect("a response");
    let status = response.status().as_u16();
    let body: Value = response.json().await.expect("JSON");
    (status, body["error_code"].as_str().unwrap_or_default().to_owned(), body)
}

#[test]
fn responses_match_the_documented_examples() {
    let started = Timestamp::from_millisecond(1_509_335_108_918).expect("a time");
    let script = JobScript::new().running(millis(2523)).ending_with(JobEnd::Completed);
    let mut expected = parse_example(dli::FINISHED_EXAMPLE);
    let newer = dli::ResponseVariant { older_revision: false, numbers_as_text: false };
    let older = dli::ResponseVariant { older_revision: true, ..newer };
    let snapshot = script.snapshot_after(DEADLINE);
    assert_eq!(dli::status_body(JOB_ID, newer, started, &snapshot), expected);
    let mode = expected.as_object_mut().expect("an object").remove("job_mode");
    assert_eq!(mode, Some("async".into()));
    assert_eq!(dli::status_body(JOB_ID, older, started, &snapshot), expected);
    let valid_json = dli::OLDER_FINISHED_EXAMPLE.replace(r#""{"error_code":"DLI.0999"}""#, "\"\"");
    assert_eq!(parse_example(&valid_json), expected);

    let script =
        JobScript::new().running(millis(500)).ending_with(JobEnd::Completed).with_result_rows(1);
    let body = dataarts::status_body(INSTANCE_ID, &script.snapshot_after(DEADLINE));
    assert_eq!(body, parse_example(dataarts::FINISHED_EXAMPLE));
}

#[test]
fn duration_grows_until_the_job_ends_and_then_stays() {
    let number = |value: &Value| match value {
        Value::String(text) => text.parse().expect("a number in text"),
        other => other.as_i64().expect("a number"),
    };
    let submitted: Timestamp = "2026-11-21T23:17:05.123987Z".parse().expect("a time");
    let script =
        JobScript::new().pending(millis(300)).running(millis(900)).ending_with(JobEnd::Failed);
    for older in [false, true] {
        for numbers_as_text in [false, true] {
            let variant = dli::ResponseVariant { older_revision: older, numbers_as_text };
            let at = |ms| {
                dli::status_body(JOB_ID, variant, submitted, &script.snapshot_after(millis(ms)))
            };
            let durations = [0, 500, 700, 1200, 9000].map(|ms| number(&at(ms)["duration"]));
            assert_eq!(
                durations,
                if older { [0, 500, 700, 1200, 1200] } else { [0, 200, 400, 900, 900] }
            );
            let ended = at(9000);
            let ended_at = number(&ended["start_time"]) + number(&ended["duration"]);
            assert_eq!(ended_at, (submitted + millis(1200)).as_millisecond());
            assert_eq!(ended["start_time"].is_string(), numbers_as_text);
            assert!(
                ended["message"].as_str().is_some_and(|text| text.contains(dli::FAILURE_MESSAGE))
            );
            assert_eq!(
                (ended["status"].as_str(), at(500)["message"].as_str()),
                (Some("FAILED"), Some(""))
            );
        }
    }
}

#[tokio::test]
async fn each_service_rejects_in_its_own_format() {
    let (server, client) = (FakeServer::start().await, client());
    server.add_job_of(ServiceKind::Dli, JOB_ID, JobScript::new());
    server.add_job_of(ServiceKind::DataArts, "dws/1", JobScript::new());
    let cases = [
        (job_url(&server, JOB_ID), API_KEY, 200, "", 0),
        (job_url(&server, JOB_ID), "wrong", 401, "APIGW.0301", 0),
        (job_url(&server, "other"), API_KEY, 400, "DLI.0002", 0),
        (instance_url(&server, "dws", "1"), API_KEY, 200, "", 0),
        (instance_url(&server, "dws", "2"), API_KEY, 400, "DLF.6205", 0),
        (instance_url(&server, "other", "1"), API_KEY, 400, "DLF.6201", 0),
        (job_url(&server, JOB_ID).replace("/status", "/progress"), API_KEY, 404, "APIGW.0101", 1),
        (job_url(&server, JOB_ID) + "?X-Auth-Token=fake-api-key", API_KEY, 200, "", 2),
    ];
    for (url, key, code, error, violations) in cases {
        let (status, error_code, _) = send(client.get(&url).header(TOKEN_HEADER, key)).await;
        assert_eq!((status, error_code.as_str()), (code, error), "{url}");
        assert_eq!(server.client_violations().len(), violations, "{url}");
    }
    let missing =
        send(client.get(instance_url(&server, "other", "1")).header(TOKEN_HEADER, API_KEY)).await;
    assert_eq!(missing.2, parse_example(dataarts::ERROR_EXAMPLE));
    let with_both_keys = client
        .get(job_url(&server, JOB_ID))
        .header(TOKEN_HEADER, API_KEY)
        .header(dune::API_KEY_HEADER, API_KEY);
    assert_eq!((send(with_both_keys).await.0, server.client_violations().len()), (200, 3));
    server.set_credentials("new");
    for url in [job_url(&server, JOB_ID), instance_url(&server, "dws", "1")] {
        assert_eq!(send(client.get(&url).header(TOKEN_HEADER, API_KEY)).await.0, 401);
        assert_eq!(send(client.get(&url).header(TOKEN_HEADER, "new")).await.0, 200);
    }
    assert_eq!(server.credentials_seen(), [API_KEY, "new", "wrong"]);
}

#[tokio::test]
async fn list_returns_all_jobs_of_the_service_in_pages() {
    let (server, client) = (FakeServer::start().await, client());
    let begin = |ms: i64| Timestamp::from_millisecond(1_700_000_000_000 + ms).expect("a time");
    for (id, ms) in [("a", 0), ("b", 10), ("c", 20)] {
        let script = JobScript::new().submitted_at(begin(ms)).ending_with(JobEnd::Completed);
        server.add_job_of(ServiceKind::Dli, id, script);
    }
    server.add_job_of(ServiceKind::Dli, "not-yet", JobScript::starting_at_first_request());
    server.add_job_of(ServiceKind::DataArts, "d/1", JobScript::new());
    let request_list = async |query: &str| {
        let url = format!("{}/v1.0/{PROJECT_ID}/jobs?{query}", server.base_url());
        send(client.get(url).header(TOKEN_HEADER, API_KEY)).await
    };
    let cases = [
        ("", 3, "cba"),
        ("order=start_time_asc", 3, "abc"),
        ("order=start_time_asc&page-size=2", 3, "ab"),
        ("order=start_time_asc&page-size=2&current-page=2", 3, "c"),
        ("page-size=2&current-page=3", 3, ""),
        ("start=1700000000010&end=1700000000020", 2, "cb"),
        ("end=1700000000009", 1, "a"),
    ];
    for (query, count, ids) in cases {
        let (_, _, body) = request_list(query).await;
        let rows = body["jobs"].as_array().expect("rows");
        let listed: String = rows.iter().filter_map(|row| row["job_id"].as_str()).collect();
        assert_eq!((body["job_count"].as_u64(), listed.as_str()), (Some(count), ids), "{query}");
        for row in rows {
            let fields = ["end_time", "job_mode", "is_success"].map(|name| row.get(name).is_some());
            assert_eq!(fields, [true, false, false], "{row}");
        }
    }
    for bad in ["page-size=0", "page-size=101", "current-page=101", "order=x", "x=1", "start=x"] {
        assert_eq!(request_list(bad).await.1, "DLI.0001", "{bad}");
    }
    server.inject_fault(FaultTarget::ListRequests, Fault::status(503, "{}"), FaultRepeat::Once);
    assert_eq!(send(client.get(job_url(&server, "a")).header(TOKEN_HEADER, API_KEY)).await.0, 200);
    assert_eq!(request_list("").await.0, 503);
    assert_eq!((server.list_request_count(), server.request_count_for_job("a")), (14, 1));
    assert_eq!(server.client_violations(), [""; 0]);
}

#[tokio::test]
async fn script_name_is_percent_encoded_once() {
    let (server, client) = (FakeServer::start().await, client());
    server.add_job_of(ServiceKind::DataArts, INSTANCE_ID, JobScript::new());
    let encoded_once = "%E6%97%A5%E6%8A%A5_2.sql";
    let request_script = |script: &str| {
        let request = client.get(instance_url(&server, script, "a1ad-448a-9d56"));
        request.header(TOKEN_HEADER, API_KEY).header("workspace", "team")
    };
    assert_eq!(send(request_script(encoded_once)).await.0, 200);
    assert_eq!(
        (server.request_count_for_job(INSTANCE_ID), server.client_violations().len()),
        (1, 0)
    );
    assert_eq!(send(request_script(&encoded_once.replace('%', "%25"))).await.1, "APIGW.0101");
    let raw =
        format!("GET /v1/{PROJECT_ID}/scripts/{INSTANCE_ID} HTTP/1.1\r\nconnection: close\r\n\r\n");
    let mut stream = TcpStream::connect(server.addr()).await.expect("a connection");
    stream.write_all(raw.as_bytes()).await.expect("sent");
    stream.read_to_end(&mut Vec::new()).await.expect("a response");

    let violations = server.client_violations();
    assert!(
        violations[0].ends_with("encoded twice") && violations[1].ends_with("not percent-encoded")
    );
    let first = &server.requests()[0];
    assert!(first.path.contains(encoded_once), "{}", first.path);
    assert_eq!((first.kind, first.workspace.as_deref()), (ServiceKind::DataArts, Some("team")));
}

#[tokio::test]
async fn faults_and_rate_limits_apply_to_every_service() {
    let (server, client) = (FakeServer::start().await, client());
    server.add_job_of(ServiceKind::Dli, JOB_ID, JobScript::new());
    server.add_job_of(ServiceKind::DataArts, INSTANCE_ID, JobScript::new());
    server.inject_fault(FaultTarget::job(INSTANCE_ID), Fault::status(503, "{}"), FaultRepeat::Once);
    server.inject_fault(
        FaultTarget::All,
        Fault::RateLimited { retry_after: None },
        FaultRepeat::Once,
    );
    let job_request = || client.get(job_url(&server, JOB_ID)).header(TOKEN_HEADER, API_KEY);
    let instance_request = || {
        client
            .get(instance_url(&server, "日报_2.sql", "a1ad-448a-9d56"))
            .header(TOKEN_HEADER, API_KEY)
    };
    assert_eq!(send(instance_request()).await.0, 503);
    assert_eq!(send(job_request()).await.1, "APIGW.0308");
    assert_eq!(send(job_request()).await.2["status"], "LAUNCHING");

    server.set_rate_limit(RateLimit {
        requests: 1,
        window: Duration::from_mins(1),
        send_retry_after: false,
    });
    assert_eq!(send(instance_request()).await.0, 200);
    let rejected = job_request().send().await.expect("a response");
    for name in ["retry-after", "ratelimit", "ratelimit-policy"] {
        assert!(!rejected.headers().contains_key(name), "{name}");
    }
    let text = rejected.text().await.expect("text");
    assert!(text.contains("ratelimit,limit:1,time:1 minute"), "{text}");
    assert_eq!(
        (server.request_count_for_job(JOB_ID), server.request_count_for_job(INSTANCE_ID)),
        (3, 2)
    );
}

#[tokio::test]
async fn instance_response_carries_all_result_rows() {
    let (server, client) = (FakeServer::start().await, client());
    let new_script = || JobScript::new().running(millis(1)).submitted_at(Timestamp::UNIX_EPOCH);
    server.add_job_of(ServiceKind::DataArts, "a/1", new_script().ending_with(JobEnd::Completed));
    server.add_job_of(
        ServiceKind::DataArts,
        "a/2",
        new_script().ending_with(JobEnd::Completed).with_result_rows(20_000),
    );
    server.add_job_of(ServiceKind::DataArts, "a/3", new_script().ending_with(JobEnd::Failed));
    let mut sizes = Vec::new();
    for id in ["1", "2", "3"] {
        let request = client.get(instance_url(&server, "a", id)).header(TOKEN_HEADER, API_KEY);
        let text = request.send().await.expect("a response").text().await.expect("text");
        assert_eq!(
            text.contains(dataarts::FAILURE_MESSAGE.split('"').next().expect("a part")),
            id == "3"
        );
        sizes.push((text.matches(dataarts::ROW_MARKER).count(), text.len() > 2 << 20));
    }
    assert_eq!(sizes, [(300, false), (20_000, true), (0, false)]);
}

#[test]
#[should_panic(expected = "DataArts has no state for Ended(Cancelled)")]
fn script_with_an_unsupported_phase_is_rejected() {
    ServiceKind::DataArts.resolve_states(JobScript::new().ending_with(JobEnd::Cancelled));
}
