//! The kind `dli`: its words, the examples of both revisions of its document, its refusals.

use std::path::Path;
use std::time::Duration;

use jobtrack::job::{Likeness, Observation, Said, Times, Utc};
use serde_json::{Value, json};

use super::harness::{Class, Example, Refusal, Subject, huawei_auth, huawei_user, object};
use crate::support::fake_server::{AK, FIRST_TOKEN, KEY, Kind, PASSWORD, SK, StandIn, dli};

pub(crate) const PROJECT: &str = "48cc2c48765f481480c7db940d6409d1";
const ID: &str = "208b08d4-0dc2-4dd7-8879-ddd4c020d7aa";

pub(crate) const DLI: Subject = Subject {
    kind: "dli",
    config: |base_url, secrets| config(base_url, secrets, &[("token", KEY)]),
    key: KEY,
    renews: false,
    secrets: &[KEY],
    id: ID,
    stop: ("DELETE", "/jobs/208b08d4-0dc2-4dd7-8879-ddd4c020d7aa"),
    stop_refused: Some(r#"{"is_success":false,"message":"it is being committed"}"#),
    put: |standin: &StandIn, life| standin.put_for(Kind::Dli, ID, life),
    body: |word| object(json!({ "job_id": ID, "status": word })),
    id_field: Some("job_id"),
    word_field: "status",
    detail_field: Some("queue_name"),
    over_field: None,
    words: &[
        ("LAUNCHING", Said::Pending),
        ("RUNNING", Said::Running),
        ("SCALING", Said::Running),
        ("FINISHED", Said::Succeeded),
        ("FAILED", Said::Failed),
        ("CANCELLED", Said::Cancelled),
        ("CANCELED", Said::Cancelled),
        // Named by the SDK's filters, documented nowhere.
        ("SUSPENDED", Said::Unknown),
        ("DELETED", Said::Unknown),
        ("FINISH", Said::Unknown),
    ],
    running: "RUNNING",
    examples,
    failure: |message| object(json!({ "job_id": ID, "status": "FAILED", "message": message })),
    refusals: &[
        Refusal {
            status: 400,
            body: r#"{"error_code":"DLI.0002","error_msg":"The object does not exist."}"#,
            class: Class::NotFound,
        },
        Refusal {
            status: 404,
            body: r#"{"error_code":"DLI.0023","error_msg":"not found"}"#,
            class: Class::NotFound,
        },
        Refusal {
            status: 400,
            body: r#"{"error_code":"DLI.0999","error_msg":"internal"}"#,
            class: Class::Transient,
        },
        Refusal { status: 400, body: r#"{"error_code":"DLI.0012"}"#, class: Class::Transient },
        Refusal {
            status: 400,
            body: r#"{"error_code":"DLI.0001","error_msg":"bad parameter"}"#,
            class: Class::Malformed,
        },
        Refusal { status: 401, body: r#"{"error_code":"DLI.0013"}"#, class: Class::Auth },
        Refusal {
            status: 401,
            body: r#"{"error_code":"APIGW.0307","error_msg":"The token must be updated."}"#,
            class: Class::Auth,
        },
        Refusal {
            status: 401,
            body: r#"{"error":{"code":401,"message":"The request you have made requires authentication.","title":"Unauthorized"}}"#,
            class: Class::Auth,
        },
        Refusal { status: 403, body: r#"{"error_code":"APIG.0302"}"#, class: Class::Auth },
        Refusal {
            status: 404,
            body: r#"{"error_code":"APIGW.0101","error_msg":"The API does not exist."}"#,
            class: Class::Misconfigured,
        },
        Refusal {
            status: 429,
            body: r#"{"error_code":"APIGW.0308","error_msg":"policy user over ratelimit,limit:60,time:1 minute"}"#,
            class: Class::RateLimited,
        },
        Refusal { status: 504, body: r#"{"error_code":"APIGW.0201"}"#, class: Class::Transient },
        Refusal { status: 413, body: r#"{"error_code":"APIG.0201"}"#, class: Class::Transient },
        // "Not found" from a server in trouble is not about the job.
        Refusal { status: 500, body: r#"{"error_code":"DLI.0002"}"#, class: Class::Transient },
        // A 200 whose request failed.
        Refusal {
            status: 200,
            body: r#"{"is_success":false,"message":"{\"error_code\":\"DLI.0002\"}"}"#,
            class: Class::NotFound,
        },
        Refusal {
            status: 200,
            body: r#"{"is_success":false,"message":"something is wrong","status":"FAILED"}"#,
            class: Class::Transient,
        },
    ],
    error_body: |text| json!({ "error_code": "DLI.0001", "error_msg": text }).to_string(),
};

/// The same, signed with a lasting key.
pub(crate) const SIGNED_DLI: Subject = Subject {
    config: |base_url, secrets| config(base_url, secrets, &[("ak", AK), ("sk", SK)]),
    key: AK,
    secrets: &[AK, SK],
    ..DLI
};

/// The same, for a user with a password.
pub(crate) const NAMED_DLI: Subject = Subject {
    config: |base_url, secrets| {
        let base_url_only = config(base_url, secrets, &[]).replace("auth = {  }\n", "");
        format!("{base_url_only}{}", huawei_user(base_url, secrets))
    },
    key: FIRST_TOKEN,
    renews: true,
    secrets: &[PASSWORD],
    ..DLI
};

fn config(base_url: &str, secrets: &Path, auth: &[(&str, &str)]) -> String {
    let auth = huawei_auth(secrets, auth);
    format!("base_url = \"{base_url}\"\nproject_id = \"{PROJECT}\"\n{auth}")
}

/// What the documents' example is like: the hash is of `select * from t1`.
pub(crate) const DOCUMENTED: [&str; 2] =
    ["queue default, QUERY, statement 4e57ed1b45d1", "queue default, QUERY"];

/// `start_time + duration` of the documents' example.
const END_MS: i64 = 1_509_335_108_918 + 2523;

fn finished(message: Option<&str>, detail: Value) -> Observation {
    Observation {
        likeness: Likeness::told(DOCUMENTED.map(str::to_owned)),
        took: Some(Duration::from_millis(2523)),
        listed_at: Some(Utc::from_millis(1_509_335_108_918)),
        said: Said::Succeeded,
        word: "FINISHED".into(),
        times: Times { ended_at: Some(Utc::from_millis(END_MS)), ..Times::default() },
        message: message.map(str::to_owned),
        detail: object(detail),
    }
}

/// What both revisions of the example tell.
fn documented() -> Value {
    let newer: Value = serde_json::from_str(dli::FINISHED_EXAMPLE).expect("JSON");
    let mut told = object(newer);
    for field in ["is_success", "message", "job_id", "status", "job_mode"] {
        told.remove(field);
    }
    Value::Object(told)
}

fn examples() -> Vec<Example> {
    let mut newer = documented();
    newer["job_mode"] = "async".into();
    let running = |body: Value, detail: Value| Example {
        name: "a running job: numbers as text, tags, and no end",
        body: body.to_string(),
        expected: Observation {
            likeness: Likeness::Unknown,
            took: None,
            listed_at: Some(Utc::from_millis(1_509_335_108_918)),
            said: Said::Running,
            word: "RUNNING".into(),
            times: Times::default(),
            message: None,
            detail: object(detail),
        },
    };
    vec![
        Example {
            name: "the newer document's finished job",
            body: dli::FINISHED_EXAMPLE.to_owned(),
            expected: finished(None, newer),
        },
        Example {
            name: "the older document's, whose message has quotes that are not escaped",
            body: dli::OLDER_FINISHED_EXAMPLE.to_owned(),
            expected: finished(Some(r#"{"error_code":"DLI.0999"}"#), documented()),
        },
        running(
            json!({
                "is_success": true, "message": "", "job_id": ID, "status": "RUNNING",
                "start_time": "1509335108918", "duration": "2523", "input_row_count": "7",
                "bad_row_count": 0, "tags": [{ "key": "team", "value": "data" }],
                "result_path": "obs://bucket/x", "surprise": 1,
            }),
            json!({
                "start_time": 1_509_335_108_918_i64, "duration": 2523, "input_row_count": 7,
                "bad_row_count": 0, "tags": [{ "key": "team", "value": "data" }],
                "result_path": "obs://bucket/x",
            }),
        ),
        Example {
            name: "an end that cannot be reckoned is none",
            body: json!({ "status": "FINISHED", "start_time": 1_509_335_108, "duration": -5 })
                .to_string(),
            expected: Observation {
                listed_at: None,
                likeness: Likeness::Unknown,
                took: None,
                times: Times::default(),
                ..finished(None, json!({ "start_time": 1_509_335_108, "duration": -5 }))
            },
        },
    ]
}
