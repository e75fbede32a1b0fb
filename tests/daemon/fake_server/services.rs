//! The kinds beside Dune: that each has its own words, bodies and refusals, at one server.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::RequestBuilder;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{SOON, client, example, millis};
use crate::support::fake_server::{
    End, Fault, KEY, Kind, Life, Limit, StandIn, Target, Times, dataarts, dli, dune,
};

const JOB: &str = "208b08d4-0dc2-4dd7-8879-ddd4c020d7aa";
const INSTANCE: &str = "日报_2.sql/a1ad-448a-9d56";
const PROJECT: &str = "48cc2c48765f481480c7db940d6409d1";
const TOKEN: &str = "x-auth-token";

fn job(standin: &StandIn, id: &str) -> String {
    format!("{}/v1.0/{PROJECT}/jobs/{id}/status", standin.base_url())
}

fn instance(standin: &StandIn, script: &str, instance: &str) -> String {
    format!("{}/v1/{PROJECT}/scripts/{script}/instances/{instance}", standin.base_url())
}

/// Status, error code and body.
async fn told(request: RequestBuilder) -> (u16, String, Value) {
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.expect("JSON");
    (status, body["error_code"].as_str().unwrap_or_default().to_owned(), body)
}

#[test]
fn the_documents_examples_are_told_in_their_words() {
    let started = Timestamp::from_millisecond(1_509_335_108_918).expect("a time");
    let life = Life::new().running(millis(2523)).then(End::Completed);
    let mut expected = example(dli::FINISHED_EXAMPLE);
    let newer = dli::Dialect { older: false, numbers_as_text: false };
    let older = dli::Dialect { older: true, ..newer };
    let now = life.at(SOON);
    assert_eq!(dli::body(JOB, newer, started, &now), expected);
    let mode = expected.as_object_mut().expect("an object").remove("job_mode");
    assert_eq!(mode, Some("async".into()));
    assert_eq!(dli::body(JOB, older, started, &now), expected);
    let mended = dli::OLDER_FINISHED_EXAMPLE.replace(r#""{"error_code":"DLI.0999"}""#, "\"\"");
    assert_eq!(example(&mended), expected);

    let life = Life::new().running(millis(500)).then(End::Completed).rows(1);
    let told = dataarts::body(INSTANCE, &life.at(SOON));
    assert_eq!(told, example(dataarts::FINISHED_EXAMPLE));
}

#[test]
fn a_jobs_duration_grows_until_its_end_and_then_tells_it() {
    let number = |value: &Value| match value {
        Value::String(text) => text.parse().expect("a number in text"),
        other => other.as_i64().expect("a number"),
    };
    let submitted: Timestamp = "2026-11-21T23:17:05.123987Z".parse().expect("a time");
    let life = Life::new().pending(millis(300)).running(millis(900)).then(End::Failed);
    for older in [false, true] {
        for numbers_as_text in [false, true] {
            let dialect = dli::Dialect { older, numbers_as_text };
            let at = |ms| dli::body(JOB, dialect, submitted, &life.at(millis(ms)));
            let durations = [0, 500, 700, 1200, 9000].map(|ms| number(&at(ms)["duration"]));
            assert_eq!(
                durations,
                if older { [0, 500, 700, 1200, 1200] } else { [0, 200, 400, 900, 900] }
            );
            let end = at(9000);
            let told = number(&end["start_time"]) + number(&end["duration"]);
            assert_eq!(told, (submitted + millis(1200)).as_millisecond());
            assert_eq!(end["start_time"].is_string(), numbers_as_text);
            assert!(end["message"].as_str().is_some_and(|text| text.contains(dli::FAILURE)));
            assert_eq!(
                (end["status"].as_str(), at(500)["message"].as_str()),
                (Some("FAILED"), Some(""))
            );
        }
    }
}

#[tokio::test]
async fn each_kind_refuses_in_its_own_way() {
    let (standin, client) = (StandIn::start().await, client());
    standin.put_for(Kind::Dli, JOB, Life::new());
    standin.put_for(Kind::DataArts, "dws/1", Life::new());
    let cases = [
        (job(&standin, JOB), KEY, 200, "", 0),
        (job(&standin, JOB), "wrong", 401, "APIGW.0301", 0),
        (job(&standin, "other"), KEY, 400, "DLI.0002", 0),
        (instance(&standin, "dws", "1"), KEY, 200, "", 0),
        (instance(&standin, "dws", "2"), KEY, 400, "DLF.6205", 0),
        (instance(&standin, "other", "1"), KEY, 400, "DLF.6201", 0),
        (job(&standin, JOB).replace("/status", "/progress"), KEY, 404, "APIGW.0101", 1),
        (job(&standin, JOB) + "?X-Auth-Token=standin-key", KEY, 200, "", 2),
    ];
    for (url, key, code, error, violations) in cases {
        let (status, told, _) = told(client.get(&url).header(TOKEN, key)).await;
        assert_eq!((status, told.as_str()), (code, error), "{url}");
        assert_eq!(standin.violations().len(), violations, "{url}");
    }
    let missing = told(client.get(instance(&standin, "other", "1")).header(TOKEN, KEY)).await;
    assert_eq!(missing.2, example(dataarts::ERROR_EXAMPLE));
    let stray = client.get(job(&standin, JOB)).header(TOKEN, KEY).header(dune::KEY_HEADER, KEY);
    assert_eq!((told(stray).await.0, standin.violations().len()), (200, 3));
    standin.set_key("new");
    for url in [job(&standin, JOB), instance(&standin, "dws", "1")] {
        assert_eq!(told(client.get(&url).header(TOKEN, KEY)).await.0, 401);
        assert_eq!(told(client.get(&url).header(TOKEN, "new")).await.0, 200);
    }
    assert_eq!(standin.keys_seen(), ["new", KEY, "wrong"]);
}

#[tokio::test]
async fn a_list_tells_of_all_jobs_of_its_kind_in_pages() {
    let (standin, client) = (StandIn::start().await, client());
    let begin = |ms: i64| Timestamp::from_millisecond(1_700_000_000_000 + ms).expect("a time");
    for (id, ms) in [("a", 0), ("b", 10), ("c", 20)] {
        let life = Life::new().submitted_at(begin(ms)).then(End::Completed);
        standin.put_for(Kind::Dli, id, life);
    }
    standin.put_for(Kind::Dli, "not-yet", Life::from_first_request());
    standin.put_for(Kind::DataArts, "d/1", Life::new());
    let ask = async |query: &str| {
        let url = format!("{}/v1.0/{PROJECT}/jobs?{query}", standin.base_url());
        told(client.get(url).header(TOKEN, KEY)).await
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
        let (_, _, body) = ask(query).await;
        let rows = body["jobs"].as_array().expect("rows");
        let told: String = rows.iter().filter_map(|row| row["job_id"].as_str()).collect();
        assert_eq!((body["job_count"].as_u64(), told.as_str()), (Some(count), ids), "{query}");
        for row in rows {
            let fields = ["end_time", "job_mode", "is_success"].map(|name| row.get(name).is_some());
            assert_eq!(fields, [true, false, false], "{row}");
        }
    }
    for bad in ["page-size=0", "page-size=101", "current-page=101", "order=x", "x=1", "start=x"] {
        assert_eq!(ask(bad).await.1, "DLI.0001", "{bad}");
    }
    standin.fault(Target::Lists, Fault::status(503, "{}"), Times::Once);
    assert_eq!(told(client.get(job(&standin, "a")).header(TOKEN, KEY)).await.0, 200);
    assert_eq!(ask("").await.0, 503);
    assert_eq!((standin.lists(), standin.count_for("a")), (14, 1));
    assert_eq!(standin.violations(), [""; 0]);
}

#[tokio::test]
async fn a_scripts_name_is_encoded_once() {
    let (standin, client) = (StandIn::start().await, client());
    standin.put_for(Kind::DataArts, INSTANCE, Life::new());
    let once = "%E6%97%A5%E6%8A%A5_2.sql";
    let ask = |script: &str| {
        let request = client.get(instance(&standin, script, "a1ad-448a-9d56"));
        request.header(TOKEN, KEY).header("workspace", "team")
    };
    assert_eq!(told(ask(once)).await.0, 200);
    assert_eq!((standin.count_for(INSTANCE), standin.violations().len()), (1, 0));
    assert_eq!(told(ask(&once.replace('%', "%25"))).await.1, "APIGW.0101");
    let raw = format!("GET /v1/{PROJECT}/scripts/{INSTANCE} HTTP/1.1\r\nconnection: close\r\n\r\n");
    let mut stream = TcpStream::connect(standin.addr()).await.expect("a connection");
    stream.write_all(raw.as_bytes()).await.expect("sent");
    stream.read_to_end(&mut Vec::new()).await.expect("an answer");

    let violations = standin.violations();
    assert!(
        violations[0].ends_with("encoded twice") && violations[1].ends_with("not percent-encoded")
    );
    let first = &standin.requests()[0];
    assert!(first.path.contains(once), "{}", first.path);
    assert_eq!((first.kind, first.workspace.as_deref()), (Kind::DataArts, Some("team")));
}

#[tokio::test]
async fn faults_and_limits_meet_every_kind() {
    let (standin, client) = (StandIn::start().await, client());
    standin.put_for(Kind::Dli, JOB, Life::new());
    standin.put_for(Kind::DataArts, INSTANCE, Life::new());
    standin.fault(Target::job(INSTANCE), Fault::status(503, "{}"), Times::Once);
    standin.fault(Target::All, Fault::RateLimited { retry_after: None }, Times::Once);
    let ask_job = || client.get(job(&standin, JOB)).header(TOKEN, KEY);
    let ask_instance =
        || client.get(instance(&standin, "日报_2.sql", "a1ad-448a-9d56")).header(TOKEN, KEY);
    assert_eq!(told(ask_instance()).await.0, 503);
    assert_eq!(told(ask_job()).await.1, "APIGW.0308");
    assert_eq!(told(ask_job()).await.2["status"], "LAUNCHING");

    standin.limit(Limit { requests: 1, window: Duration::from_mins(1), retry_after: false });
    assert_eq!(told(ask_instance()).await.0, 200);
    let refused = ask_job().send().await.expect("an answer");
    for name in ["retry-after", "ratelimit", "ratelimit-policy"] {
        assert!(!refused.headers().contains_key(name), "{name}");
    }
    let text = refused.text().await.expect("text");
    assert!(text.contains("ratelimit,limit:1,time:1 minute"), "{text}");
    assert_eq!((standin.count_for(JOB), standin.count_for(INSTANCE)), (3, 2));
}

#[tokio::test]
async fn an_instances_answer_carries_all_its_rows() {
    let (standin, client) = (StandIn::start().await, client());
    let life = || Life::new().running(millis(1)).submitted_at(Timestamp::UNIX_EPOCH);
    standin.put_for(Kind::DataArts, "a/1", life().then(End::Completed));
    standin.put_for(Kind::DataArts, "a/2", life().then(End::Completed).rows(20_000));
    standin.put_for(Kind::DataArts, "a/3", life().then(End::Failed));
    let mut sizes = Vec::new();
    for id in ["1", "2", "3"] {
        let request = client.get(instance(&standin, "a", id)).header(TOKEN, KEY);
        let text = request.send().await.expect("an answer").text().await.expect("text");
        assert_eq!(text.contains(dataarts::FAILURE.split('"').next().expect("a part")), id == "3");
        sizes.push((text.matches(dataarts::ROW_MARK).count(), text.len() > 2 << 20));
    }
    assert_eq!(sizes, [(300, false), (20_000, true), (0, false)]);
}

#[test]
#[should_panic(expected = "DataArts has no word for Ended(Cancelled)")]
fn a_life_that_a_kind_cannot_tell_is_not_taken() {
    Kind::DataArts.reads(Life::new().then(End::Cancelled));
}
