//! Kind `dataarts`: states, the example of its document, unsuccessful answers. An answer contains no id.

use std::path::Path;
use std::time::Duration;

use jobtrack::job::{Observation, ObservedState, ProviderTimes, SimilarityKeys};
use serde_json::{Value, json};

use super::harness::{
    BodyExample, ProviderFixture, RejectionCase, huawei_auth_config, huawei_password_config,
    into_object,
};
use crate::support::fake_server::{
    ACCESS_KEY_ID, API_KEY, FIRST_TOKEN, FakeServer, PASSWORD, SECRET_ACCESS_KEY, SECURITY_TOKEN,
    ServiceKind, dataarts,
};
use jobtrack::job::ProviderErrorKind;

const ID: &str = "\u{811a}\u{672c}_etl.v2/a1ad-448a-9d56-4154193d49c5";

pub(crate) const DATAARTS: ProviderFixture = ProviderFixture {
    kind: "dataarts",
    config: |base_url, secrets| config(base_url, secrets, &[("token", API_KEY)]),
    expected_credential: API_KEY,
    renews_token: false,
    secrets: &[API_KEY],
    remote_id: ID,
    cancel_request: ("POST", "/stop"),
    cancel_rejection_body: None,
    add_job: |server: &FakeServer, life| server.add_job_of(ServiceKind::DataArts, ID, life),
    minimal_body: |word| into_object(json!({ "status": word, "results": [] })),
    id_field: None,
    state_field: "status",
    detail_field: None,
    finished_field: None,
    known_states: &[
        ("LAUNCHING", ObservedState::Pending),
        ("RUNNING", ObservedState::Running),
        ("FINISHED", ObservedState::Succeeded),
        ("FAILED", ObservedState::Failed),
        // An instance can be stopped, but no state for that is documented.
        ("STOPPED", ObservedState::Unknown),
        ("CANCELLED", ObservedState::Unknown),
    ],
    running_state: "RUNNING",
    examples,
    failed_body: |message| {
        into_object(json!({ "status": "FAILED", "results": [{ "message": message }] }))
    },
    rejections: &[
        RejectionCase {
            status: 400,
            body: dataarts::ERROR_EXAMPLE,
            error_kind: ProviderErrorKind::NotFound,
        },
        RejectionCase {
            status: 400,
            body: r#"{"error_code":"DLF.6205"}"#,
            error_kind: ProviderErrorKind::NotFound,
        },
        RejectionCase {
            status: 400,
            body: r#"{"error_code":"DLF.30137"}"#,
            error_kind: ProviderErrorKind::NotFound,
        },
        RejectionCase {
            status: 400,
            body: r#"{"error_code":"DLF.6888","error_msg":"no permission"}"#,
            error_kind: ProviderErrorKind::Auth,
        },
        RejectionCase {
            status: 400,
            body: r#"{"error_code":"DLF.0100"}"#,
            error_kind: ProviderErrorKind::Malformed,
        },
        RejectionCase {
            status: 401,
            body: r#"{"error_code":"APIG.0301"}"#,
            error_kind: ProviderErrorKind::Auth,
        },
        RejectionCase {
            status: 404,
            body: r#"{"error_code":"APIG.0101"}"#,
            error_kind: ProviderErrorKind::Misconfigured,
        },
        RejectionCase {
            status: 429,
            body: r#"{"error_code":"APIGW.0308"}"#,
            error_kind: ProviderErrorKind::RateLimited,
        },
        RejectionCase {
            status: 500,
            body: r#"{"error_code":"DLF.6205"}"#,
            error_kind: ProviderErrorKind::Transient,
        },
    ],
    error_body: |text| json!({ "error_code": "DLF.0100", "error_msg": text }).to_string(),
};

/// The same kind with a temporary access key.
pub(crate) const SIGNED_DATAARTS: ProviderFixture = ProviderFixture {
    config: |base_url, secrets| {
        config(
            base_url,
            secrets,
            &[("ak", ACCESS_KEY_ID), ("sk", SECRET_ACCESS_KEY), ("security_token", SECURITY_TOKEN)],
        )
    },
    expected_credential: ACCESS_KEY_ID,
    secrets: &[ACCESS_KEY_ID, SECRET_ACCESS_KEY, SECURITY_TOKEN],
    ..DATAARTS
};

/// The same kind with a user and a password.
pub(crate) const PASSWORD_DATAARTS: ProviderFixture = ProviderFixture {
    config: |base_url, secrets| {
        let base_url_only = config(base_url, secrets, &[]).replace("auth = {  }\n", "");
        format!("{base_url_only}{}", huawei_password_config(base_url, secrets))
    },
    expected_credential: FIRST_TOKEN,
    renews_token: true,
    secrets: &[PASSWORD],
    ..DATAARTS
};

fn config(base_url: &str, secrets: &Path, auth: &[(&str, &str)]) -> String {
    let auth = huawei_auth_config(secrets, auth);
    format!(
        "base_url = \"{base_url}\"\nproject_id = \"b384b9e9ab9b4ee8994c8633aabc9505\"\n\
         workspace_id = \"7c1f\"\n{auth}"
    )
}

fn observation(
    observed_state: ObservedState,
    provider_state: &str,
    message: Option<&str>,
    results: &Value,
) -> Observation {
    let detail = if results.is_null() { json!({}) } else { json!({ "results": results }) };
    Observation {
        similarity_keys: SimilarityKeys::from_provider([
            "script \u{811a}\u{672c}_etl.v2".to_owned()
        ]),
        source: Some("\u{811a}\u{672c}_etl.v2".to_owned()),
        credits: None,
        reported_duration: None,
        list_time: None,
        state: observed_state,
        provider_state: provider_state.into(),
        times: ProviderTimes::default(),
        message: message.map(str::to_owned),
        detail: into_object(detail),
    }
}

fn examples() -> Vec<BodyExample> {
    let documented: Value = serde_json::from_str(dataarts::FINISHED_EXAMPLE).expect("JSON");
    let schema = &documented["results"][0]["schema"];
    vec![
        BodyExample {
            name: "the document's finished instance: all but its rows",
            body: dataarts::FINISHED_EXAMPLE.to_owned(),
            expected: Observation {
                reported_duration: Some(Duration::from_millis(500)),
                ..observation(
                    ObservedState::Succeeded,
                    "FINISHED",
                    None,
                    &json!([{ "duration": 0.5, "rowCount": 1, "schema": schema }]),
                )
            },
        },
        BodyExample {
            name: "a message may be an object",
            body: json!({
                "status": "FAILED",
                "results": [{ "message": { "code": 7, "text": "no table" }, "rawResult": "x" }],
            })
            .to_string(),
            expected: observation(
                ObservedState::Failed,
                "FAILED",
                Some(r#"{"code":7,"text":"no table"}"#),
                &json!([{}]),
            ),
        },
        BodyExample {
            name: "and may stand beside the results",
            body: json!({ "status": "FAILED", "message": "no cluster", "results": null })
                .to_string(),
            expected: observation(
                ObservedState::Failed,
                "FAILED",
                Some("no cluster"),
                &Value::Null,
            ),
        },
        BodyExample {
            name: "rows may be many times as long as an answer",
            body: format!(
                r#"{{"results":[{{"rows":[["{}"]],"rowCount":"3"}}],"status":"FINISHED"}}"#,
                "row ".repeat(2_000_000)
            ),
            expected: observation(
                ObservedState::Succeeded,
                "FINISHED",
                None,
                &json!([{ "rowCount": 3 }]),
            ),
        },
    ]
}
