//! The kind `dataarts`: its words, its document's example, its refusals. Its answers name no job.

use std::path::Path;
use std::time::Duration;

use jobtrack::job::{Likeness, Observation, Said, Times};
use serde_json::{Value, json};

use super::harness::{Class, Example, Refusal, Subject, huawei_auth, huawei_user, object};
use crate::support::fake_server::{
    AK, FIRST_TOKEN, KEY, Kind, PASSWORD, SECURITY_TOKEN, SK, StandIn, dataarts,
};

const ID: &str = "\u{811a}\u{672c}_etl.v2/a1ad-448a-9d56-4154193d49c5";

pub(crate) const DATAARTS: Subject = Subject {
    kind: "dataarts",
    config: |base_url, secrets| config(base_url, secrets, &[("token", KEY)]),
    key: KEY,
    renews: false,
    secrets: &[KEY],
    id: ID,
    stop: ("POST", "/stop"),
    stop_refused: None,
    put: |standin: &StandIn, life| standin.put_for(Kind::DataArts, ID, life),
    body: |word| object(json!({ "status": word, "results": [] })),
    id_field: None,
    word_field: "status",
    detail_field: None,
    over_field: None,
    words: &[
        ("LAUNCHING", Said::Pending),
        ("RUNNING", Said::Running),
        ("FINISHED", Said::Succeeded),
        ("FAILED", Said::Failed),
        // There is a way to stop an instance; what is said of it then is not documented.
        ("STOPPED", Said::Unknown),
        ("CANCELLED", Said::Unknown),
    ],
    running: "RUNNING",
    examples,
    failure: |message| object(json!({ "status": "FAILED", "results": [{ "message": message }] })),
    refusals: &[
        Refusal { status: 400, body: dataarts::ERROR_EXAMPLE, class: Class::NotFound },
        Refusal { status: 400, body: r#"{"error_code":"DLF.6205"}"#, class: Class::NotFound },
        Refusal { status: 400, body: r#"{"error_code":"DLF.30137"}"#, class: Class::NotFound },
        Refusal {
            status: 400,
            body: r#"{"error_code":"DLF.6888","error_msg":"no permission"}"#,
            class: Class::Auth,
        },
        Refusal { status: 400, body: r#"{"error_code":"DLF.0100"}"#, class: Class::Malformed },
        Refusal { status: 401, body: r#"{"error_code":"APIG.0301"}"#, class: Class::Auth },
        Refusal { status: 404, body: r#"{"error_code":"APIG.0101"}"#, class: Class::Misconfigured },
        Refusal { status: 429, body: r#"{"error_code":"APIGW.0308"}"#, class: Class::RateLimited },
        Refusal { status: 500, body: r#"{"error_code":"DLF.6205"}"#, class: Class::Transient },
    ],
    error_body: |text| json!({ "error_code": "DLF.0100", "error_msg": text }).to_string(),
};

/// The same, signed with a temporary key.
pub(crate) const SIGNED_DATAARTS: Subject = Subject {
    config: |base_url, secrets| {
        config(base_url, secrets, &[("ak", AK), ("sk", SK), ("security_token", SECURITY_TOKEN)])
    },
    key: AK,
    secrets: &[AK, SK, SECURITY_TOKEN],
    ..DATAARTS
};

/// The same, for a user with a password.
pub(crate) const NAMED_DATAARTS: Subject = Subject {
    config: |base_url, secrets| {
        let base_url_only = config(base_url, secrets, &[]).replace("auth = {  }\n", "");
        format!("{base_url_only}{}", huawei_user(base_url, secrets))
    },
    key: FIRST_TOKEN,
    renews: true,
    secrets: &[PASSWORD],
    ..DATAARTS
};

fn config(base_url: &str, secrets: &Path, auth: &[(&str, &str)]) -> String {
    let auth = huawei_auth(secrets, auth);
    format!(
        "base_url = \"{base_url}\"\nproject_id = \"b384b9e9ab9b4ee8994c8633aabc9505\"\n\
         workspace = \"7c1f\"\n{auth}"
    )
}

fn observation(said: Said, word: &str, message: Option<&str>, results: &Value) -> Observation {
    let detail = if results.is_null() { json!({}) } else { json!({ "results": results }) };
    Observation {
        likeness: Likeness::told(["script \u{811a}\u{672c}_etl.v2".to_owned()]),
        took: None,
        listed_at: None,
        said,
        word: word.into(),
        times: Times::default(),
        message: message.map(str::to_owned),
        detail: object(detail),
    }
}

fn examples() -> Vec<Example> {
    let documented: Value = serde_json::from_str(dataarts::FINISHED_EXAMPLE).expect("JSON");
    let schema = &documented["results"][0]["schema"];
    vec![
        Example {
            name: "the document's finished instance: all but its rows",
            body: dataarts::FINISHED_EXAMPLE.to_owned(),
            expected: Observation {
                took: Some(Duration::from_millis(500)),
                ..observation(
                    Said::Succeeded,
                    "FINISHED",
                    None,
                    &json!([{ "duration": 0.5, "rowCount": 1, "schema": schema }]),
                )
            },
        },
        Example {
            name: "a message may be an object",
            body: json!({
                "status": "FAILED",
                "results": [{ "message": { "code": 7, "text": "no table" }, "rawResult": "x" }],
            })
            .to_string(),
            expected: observation(
                Said::Failed,
                "FAILED",
                Some(r#"{"code":7,"text":"no table"}"#),
                &json!([{}]),
            ),
        },
        Example {
            name: "and may stand beside the results",
            body: json!({ "status": "FAILED", "message": "no cluster", "results": null })
                .to_string(),
            expected: observation(Said::Failed, "FAILED", Some("no cluster"), &Value::Null),
        },
        Example {
            name: "rows may be many times as long as an answer",
            body: format!(
                r#"{{"results":[{{"rows":[["{}"]],"rowCount":"3"}}],"status":"FINISHED"}}"#,
                "row ".repeat(2_000_000)
            ),
            expected: observation(Said::Succeeded, "FINISHED", None, &json!([{ "rowCount": 3 }])),
        },
    ]
}
