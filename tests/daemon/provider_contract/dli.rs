//! Kind `dli`: states, the examples of both revisions of its document, unsuccessful answers.

use std::path::Path;
use std::time::Duration;

use jobtrack::job::{Observation, ObservedState, ProviderTimes, SimilarityKeys, UtcTime};
use serde_json::{Value, json};

use super::harness::{
    BodyExample, ProviderFixture, RejectionCase, huawei_auth_config, huawei_password_config,
    into_object,
};
use crate::support::fake_server::{
    ACCESS_KEY_ID, API_KEY, FIRST_TOKEN, FakeServer, PASSWORD, SECRET_ACCESS_KEY, ServiceKind, dli,
};
use jobtrack::job::ProviderErrorKind;

pub(crate) const PROJECT: &str = "48cc2c48765f481480c7db940d6409d1";
const ID: &str = "208b08d4-0dc2-4dd7-8879-ddd4c020d7aa";

pub(crate) const DLI: ProviderFixture = ProviderFixture {
    kind: "dli",
    config: |base_url, secrets| config(base_url, secrets, &[("token", API_KEY)]),
    expected_credential: API_KEY,
    renews_token: false,
    secrets: &[API_KEY],
    remote_id: ID,
    cancel_request: ("DELETE", "/jobs/208b08d4-0dc2-4dd7-8879-ddd4c020d7aa"),
    cancel_rejection_body: Some(r#"{"is_success":false,"message":"it is being committed"}"#),
    add_job: |server: &FakeServer, life| server.add_job_of(ServiceKind::Dli, ID, life),
    minimal_body: |word| into_object(json!({ "job_id": ID, "status": word })),
    id_field: Some("job_id"),
    state_field: "status",
    detail_field: Some("queue_name"),
    finished_field: None,
    known_states: &[
        ("LAUNCHING", ObservedState::Pending),
        ("RUNNING", ObservedState::Running),
        ("SCALING", ObservedState::Running),
        ("FINISHED", ObservedState::Succeeded),
        ("FAILED", ObservedState::Failed),
        ("CANCELLED", ObservedState::Cancelled),
        ("CANCELED", ObservedState::Cancelled),
        // Filters of the SDK have these states; no document does.
        ("SUSPENDED", ObservedState::Unknown),
        ("DELETED", ObservedState::Unknown),
        ("FINISH", ObservedState::Unknown),
    ],
    running_state: "RUNNING",
    examples,
    failed_body: |message| {
        into_object(json!({ "job_id": ID, "status": "FAILED", "message": message }))
    },
    rejections: &[
        RejectionCase {
            status: 400,
            body: r#"{"error_code":"DLI.0002","error_msg":"The object does not exist."}"#,
            error_kind: ProviderErrorKind::NotFound,
        },
        RejectionCase {
            status: 404,
            body: r#"{"error_code":"DLI.0023","error_msg":"not found"}"#,
            error_kind: ProviderErrorKind::NotFound,
        },
        RejectionCase {
            status: 400,
            body: r#"{"error_code":"DLI.0999","error_msg":"internal"}"#,
            error_kind: ProviderErrorKind::Transient,
        },
        RejectionCase {
            status: 400,
            body: r#"{"error_code":"DLI.0012"}"#,
            error_kind: ProviderErrorKind::Transient,
        },
        RejectionCase {
            status: 400,
            body: r#"{"error_code":"DLI.0001","error_msg":"bad parameter"}"#,
            error_kind: ProviderErrorKind::Malformed,
        },
        RejectionCase {
            status: 401,
            body: r#"{"error_code":"DLI.0013"}"#,
            error_kind: ProviderErrorKind::Auth,
        },
        RejectionCase {
            status: 401,
            body: r#"{"error_code":"APIGW.0307","error_msg":"The token must be updated."}"#,
            error_kind: ProviderErrorKind::Auth,
        },
        RejectionCase {
            status: 401,
            body: r#"{"error":{"code":401,"message":"The request you have made requires authentication.","title":"Unauthorized"}}"#,
            error_kind: ProviderErrorKind::Auth,
        },
        RejectionCase {
            status: 403,
            body: r#"{"error_code":"APIG.0302"}"#,
            error_kind: ProviderErrorKind::Auth,
        },
        RejectionCase {
            status: 404,
            body: r#"{"error_code":"APIGW.0101","error_msg":"The API does not exist."}"#,
            error_kind: ProviderErrorKind::Misconfigured,
        },
        RejectionCase {
            status: 429,
            body: r#"{"error_code":"APIGW.0308","error_msg":"policy user over ratelimit,limit:60,time:1 minute"}"#,
            error_kind: ProviderErrorKind::RateLimited,
        },
        RejectionCase {
            status: 504,
            body: r#"{"error_code":"APIGW.0201"}"#,
            error_kind: ProviderErrorKind::Transient,
        },
        RejectionCase {
            status: 413,
            body: r#"{"error_code":"APIG.0201"}"#,
            error_kind: ProviderErrorKind::Transient,
        },
        // A "not found" with a 5xx is not about the job.
        RejectionCase {
            status: 500,
            body: r#"{"error_code":"DLI.0002"}"#,
            error_kind: ProviderErrorKind::Transient,
        },
        // A 200 for a request that failed.
        RejectionCase {
            status: 200,
            body: r#"{"is_success":false,"message":"{\"error_code\":\"DLI.0002\"}"}"#,
            error_kind: ProviderErrorKind::NotFound,
        },
        RejectionCase {
            status: 200,
            body: r#"{"is_success":false,"message":"something is wrong","status":"FAILED"}"#,
            error_kind: ProviderErrorKind::Transient,
        },
    ],
    error_body: |text| json!({ "error_code": "DLI.0001", "error_msg": text }).to_string(),
};

/// The same kind with a permanent access key.
pub(crate) const SIGNED_DLI: ProviderFixture = ProviderFixture {
    config: |base_url, secrets| {
        config(base_url, secrets, &[("ak", ACCESS_KEY_ID), ("sk", SECRET_ACCESS_KEY)])
    },
    expected_credential: ACCESS_KEY_ID,
    secrets: &[ACCESS_KEY_ID, SECRET_ACCESS_KEY],
    ..DLI
};

/// The same kind with a user and a password.
pub(crate) const PASSWORD_DLI: ProviderFixture = ProviderFixture {
    config: |base_url, secrets| {
        let base_url_only = config(base_url, secrets, &[]).replace("auth = {  }\n", "");
        format!("{base_url_only}{}", huawei_password_config(base_url, secrets))
    },
    expected_credential: FIRST_TOKEN,
    renews_token: true,
    secrets: &[PASSWORD],
    ..DLI
};

fn config(base_url: &str, secrets: &Path, auth: &[(&str, &str)]) -> String {
    let auth = huawei_auth_config(secrets, auth);
    format!("base_url = \"{base_url}\"\nproject_id = \"{PROJECT}\"\n{auth}")
}

/// The keys of the documents' example; the hash is that of `select * from t1`.
pub(crate) const DOCUMENTED_SIMILARITY_KEYS: [&str; 2] =
    ["queue default, QUERY, statement 4e57ed1b45d1", "queue default, QUERY"];

/// `start_time + duration` of the documents' example.
const EXAMPLE_END_MS: i64 = 1_509_335_108_918 + 2523;

fn finished_observation(message: Option<&str>, detail: Value) -> Observation {
    Observation {
        similarity_keys: SimilarityKeys::from_provider(
            DOCUMENTED_SIMILARITY_KEYS.map(str::to_owned),
        ),
        source: detail["queue_name"].as_str().map(str::to_owned),
        credits: None,
        reported_duration: Some(Duration::from_millis(2523)),
        list_time: Some(UtcTime::from_millis(1_509_335_108_918)),
        state: ObservedState::Succeeded,
        provider_state: "FINISHED".into(),
        times: ProviderTimes {
            ended_at: Some(UtcTime::from_millis(EXAMPLE_END_MS)),
            ..ProviderTimes::default()
        },
        message: message.map(str::to_owned),
        detail: into_object(detail),
    }
}

/// The observation that both revisions of the example give.
fn documented_detail() -> Value {
    let newer: Value = serde_json::from_str(dli::FINISHED_EXAMPLE).expect("JSON");
    let mut fields = into_object(newer);
    for field in ["is_success", "message", "job_id", "status", "job_mode"] {
        fields.remove(field);
    }
    Value::Object(fields)
}

fn examples() -> Vec<BodyExample> {
    let mut newer = documented_detail();
    newer["job_mode"] = "async".into();
    let running_example = |body: Value, detail: Value| BodyExample {
        name: "a running job: numbers as text, tags, and no end",
        body: body.to_string(),
        expected: Observation {
            similarity_keys: SimilarityKeys::Unknown,
            source: None,
            credits: None,
            reported_duration: None,
            list_time: Some(UtcTime::from_millis(1_509_335_108_918)),
            state: ObservedState::Running,
            provider_state: "RUNNING".into(),
            times: ProviderTimes::default(),
            message: None,
            detail: into_object(detail),
        },
    };
    vec![
        BodyExample {
            name: "the newer document's finished job",
            body: dli::FINISHED_EXAMPLE.to_owned(),
            expected: finished_observation(None, newer),
        },
        BodyExample {
            name: "the older document's, whose message has quotes that are not escaped",
            body: dli::OLDER_FINISHED_EXAMPLE.to_owned(),
            expected: finished_observation(
                Some(r#"{"error_code":"DLI.0999"}"#),
                documented_detail(),
            ),
        },
        running_example(
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
        BodyExample {
            name: "an end that cannot be reckoned is none",
            body: json!({ "status": "FINISHED", "start_time": 1_509_335_108, "duration": -5 })
                .to_string(),
            expected: Observation {
                list_time: None,
                similarity_keys: SimilarityKeys::Unknown,
                reported_duration: None,
                times: ProviderTimes::default(),
                ..finished_observation(None, json!({ "start_time": 1_509_335_108, "duration": -5 }))
            },
        },
    ]
}
