//! The kind `dune`: its words, its bodies as the document and real answers have them, its refusals.

use jobtrack::job::{Likeness, Observation, Said, Times, Utc};
use serde_json::{Value, json};

use super::harness::{Class, Example, Refusal, Subject, object};
use crate::support::fake_server::{KEY, StandIn, dune};

const ID: &str = "01GBM4W2N0NMCGPZYW8AYK4YF1";

pub(crate) const DUNE: Subject = Subject {
    kind: "dune",
    config: |base_url, secrets| {
        let key = secrets.join(KEY);
        format!("base_url = \"{base_url}\"\napi_key = {{ file = \"{}\" }}\n", key.display())
    },
    key: KEY,
    renews: false,
    secrets: &[KEY],
    id: ID,
    stop: ("POST", "/cancel"),
    stop_refused: Some(r#"{"success":false}"#),
    put: |standin: &StandIn, life| standin.put(ID, life),
    body: |word| object(json!({ "execution_id": ID, "state": word })),
    id_field: Some("execution_id"),
    word_field: "state",
    detail_field: Some("query_id"),
    over_field: Some("is_execution_finished"),
    words: &[
        ("QUERY_STATE_PENDING", Said::Pending),
        ("QUERY_STATE_EXECUTING", Said::Running),
        ("QUERY_STATE_COMPLETED", Said::Succeeded),
        ("QUERY_STATE_COMPLETED_PARTIAL", Said::Succeeded),
        ("QUERY_STATE_FAILED", Said::Failed),
        ("QUERY_STATE_CANCELLED", Said::Cancelled),
        ("QUERY_STATE_CANCELED", Said::Cancelled),
        ("QUERY_STATE_EXPIRED", Said::Expired),
        ("PENDING", Said::Pending),
        ("EXECUTING", Said::Running),
        ("COMPLETED", Said::Succeeded),
        ("CANCELED", Said::Cancelled),
    ],
    running: "QUERY_STATE_EXECUTING",
    examples,
    failure: |message| {
        object(json!({
            "execution_id": ID,
            "state": "QUERY_STATE_FAILED",
            "error": { "type": "FAILED_TYPE_EXECUTION_FAILED", "message": message },
        }))
    },
    refusals: &[
        Refusal {
            status: 400,
            body: r#"{"error":"The requested execution ID (ID: 01GBM4W2N0NMCGPZYW8AYK4YF1) is invalid."}"#,
            class: Class::NotFound,
        },
        Refusal { status: 404, body: r#"{"error":"Object not found"}"#, class: Class::NotFound },
        Refusal { status: 400, body: r#"{"error":"bad request"}"#, class: Class::Malformed },
        Refusal { status: 400, body: r#"{"error":"invalid parameter"}"#, class: Class::Malformed },
        Refusal { status: 404, body: r#"{"error":"no route"}"#, class: Class::Misconfigured },
        Refusal { status: 401, body: r#"{"error":"invalid API Key"}"#, class: Class::Auth },
        Refusal {
            status: 402,
            body: r#"{"error":"This API request would exceed your configured limits per billing cycle."}"#,
            class: Class::Quota,
        },
        // "Not found" in the words of another status is not about the job.
        Refusal { status: 500, body: r#"{"error":"Object not found"}"#, class: Class::Transient },
    ],
    error_body: |text| json!({ "error": text }).to_string(),
};

fn at(text: &str) -> Utc {
    Utc::parse(text).expect("a time")
}

fn observation(said: Said, word: &str, times: Times, detail: Value) -> Observation {
    let (word, detail) = (format!("QUERY_STATE_{word}"), object(detail));
    Observation {
        likeness: Likeness::told(detail.get("query_id").map(|id| format!("query {id}"))),
        took: None,
        said,
        word,
        times,
        message: None,
        listed_at: None,
        detail,
    }
}

fn examples() -> Vec<Example> {
    let mut found = documented();
    found.extend(seen_in_the_wild());
    found.extend(odd());
    found
}

/// The two answers of the document, word for word.
fn documented() -> Vec<Example> {
    let completed: Value = serde_json::from_str(dune::COMPLETED_EXAMPLE).expect("JSON");
    vec![
        Example {
            name: "the document's running query: nanoseconds, and 1970 for no time",
            body: dune::EXECUTING_EXAMPLE.to_owned(),
            expected: observation(
                Said::Running,
                "EXECUTING",
                Times {
                    submitted_at: Some(at("2022-08-29T06:33:24.913Z")),
                    started_at: Some(at("2022-08-29T06:33:24.916Z")),
                    ended_at: None,
                    expires_at: None,
                },
                json!({ "query_id": 980_708 }),
            ),
        },
        Example {
            name: "the document's completed query: microseconds, a fraction of five digits",
            body: dune::COMPLETED_EXAMPLE.to_owned(),
            expected: observation(
                Said::Succeeded,
                "COMPLETED",
                Times {
                    submitted_at: Some(at("2022-08-29T06:33:24.913Z")),
                    started_at: Some(at("2022-08-29T06:33:24.916Z")),
                    ended_at: Some(at("2022-08-29T06:36:41.588Z")),
                    expires_at: Some(at("2024-08-28T06:36:41.588Z")),
                },
                json!({ "query_id": 980_708, "result_metadata": completed["result_metadata"] }),
            ),
        },
    ]
}

fn seen_in_the_wild() -> Vec<Example> {
    let submitted = "2026-11-22T09:00:00Z";
    let only_submitted = Times { submitted_at: Some(at(submitted)), ..Times::default() };
    let failed = json!({
        "type": "FAILED_TYPE_EXECUTION_FAILED",
        "message": "line 24:13: Column 'blok_number' cannot be resolved",
        "metadata": { "line": 24, "column": 13 },
    });
    let of_failed = json!({ "error": failed, "is_execution_finished": true });
    vec![
        Example {
            name: "a real waiting query holds five fields",
            body: json!({
                "execution_id": ID, "query_id": 980_708, "state": "QUERY_STATE_PENDING",
                "queue_position": 33894, "submitted_at": submitted,
            })
            .to_string(),
            expected: observation(
                Said::Pending,
                "PENDING",
                only_submitted,
                json!({ "query_id": 980_708, "queue_position": 33894 }),
            ),
        },
        Example {
            name: "a failed one has an object for its error, and may lack start and end",
            body: json!({
                "execution_id": ID, "state": "QUERY_STATE_FAILED", "submitted_at": submitted,
                "is_execution_finished": true, "error": failed,
            })
            .to_string(),
            expected: Observation {
                listed_at: None,
                message: Some("line 24:13: Column 'blok_number' cannot be resolved".to_owned()),
                ..observation(Said::Failed, "FAILED", only_submitted, of_failed)
            },
        },
        Example {
            name: "one that was cancelled while it waited ended then",
            body: json!({
                "execution_id": ID, "state": "QUERY_STATE_CANCELLED", "submitted_at": submitted,
                "cancelled_at": "2026-11-22T09:00:05.5Z",
            })
            .to_string(),
            expected: observation(
                Said::Cancelled,
                "CANCELLED",
                Times { ended_at: Some(at("2026-11-22T09:00:05.5Z")), ..only_submitted },
                json!({}),
            ),
        },
        Example {
            name: "an end goes before a cancellation",
            body: json!({
                "execution_id": ID, "state": "QUERY_STATE_CANCELED",
                "execution_ended_at": "2026-11-22T09:00:06Z",
                "cancelled_at": "2026-11-22T09:00:05Z",
            })
            .to_string(),
            expected: observation(
                Said::Cancelled,
                "CANCELED",
                Times { ended_at: Some(at("2026-11-22T09:00:06Z")), ..Times::default() },
                json!({}),
            ),
        },
    ]
}

fn odd() -> Vec<Example> {
    vec![
        Example {
            name: "what the account may do at once is kept; what no document names is not",
            body: json!({
                "execution_id": ID, "state": "QUERY_STATE_EXECUTING", "query_id": null,
                "execution_cost_credits": 0.125, "max_inflight_interactive_executions": 3,
                "max_inflight_interactive_reached": 1, "surprise": [{ "rows": [1, 2] }],
                "result_metadata": { "row_count": 5, "surprise": 1 },
            })
            .to_string(),
            expected: observation(
                Said::Running,
                "EXECUTING",
                Times::default(),
                json!({
                    "execution_cost_credits": 0.125, "max_inflight_interactive_executions": 3,
                    "max_inflight_interactive_reached": 1, "result_metadata": { "row_count": 5 },
                }),
            ),
        },
        Example {
            name: "a number beyond 64 bits is none, within the metadata too",
            body: format!(
                r#"{{"execution_id":"{ID}","state":"QUERY_STATE_COMPLETED",
                     "result_metadata":{{"row_count":18446744073709551616,"datapoint_count":3}}}}"#
            ),
            expected: observation(
                Said::Succeeded,
                "COMPLETED",
                Times::default(),
                json!({ "result_metadata": { "row_count": null, "datapoint_count": 3 } }),
            ),
        },
        Example {
            name: "times of other forms than the document's are none",
            body: json!({
                "execution_id": ID, "state": "QUERY_STATE_EXECUTING", "submitted_at": 1_661_754_804,
                "execution_started_at": "2026-11-22T09:00:06", "execution_ended_at": "soon",
                "expires_at": "99999-01-01T00:00:00Z", "cancelled_at": "1999-12-31T23:59:59Z",
            })
            .to_string(),
            expected: observation(Said::Running, "EXECUTING", Times::default(), json!({})),
        },
    ]
}
