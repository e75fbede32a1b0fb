//! Kind `dune`: states, bodies of the document and of real answers, unsuccessful answers.

use jobtrack::job::{Observation, ObservedState, ProviderTimes, SimilarityKeys, UtcTime};
use serde_json::{Value, json};

use super::harness::{BodyExample, ProviderFixture, RejectionCase, into_object};
use crate::support::fake_server::{API_KEY, FakeServer, dune};
use jobtrack::job::ProviderErrorKind;

const ID: &str = "01GBM4W2N0NMCGPZYW8AYK4YF1";

pub(crate) const DUNE: ProviderFixture = ProviderFixture {
    kind: "dune",
    config: |base_url, secrets| {
        let key = secrets.join(API_KEY);
        format!("base_url = \"{base_url}\"\napi_key = {{ file = \"{}\" }}\n", key.display())
    },
    expected_credential: API_KEY,
    renews_token: false,
    secrets: &[API_KEY],
    remote_id: ID,
    cancel_request: ("POST", "/cancel"),
    cancel_rejection_body: Some(r#"{"success":false}"#),
    add_job: |server: &FakeServer, life| server.add_job(ID, life),
    minimal_body: |word| into_object(json!({ "execution_id": ID, "state": word })),
    id_field: Some("execution_id"),
    state_field: "state",
    detail_field: Some("query_id"),
    finished_field: Some("is_execution_finished"),
    known_states: &[
        ("QUERY_STATE_PENDING", ObservedState::Pending),
        ("QUERY_STATE_EXECUTING", ObservedState::Running),
        ("QUERY_STATE_COMPLETED", ObservedState::Succeeded),
        ("QUERY_STATE_COMPLETED_PARTIAL", ObservedState::Succeeded),
        ("QUERY_STATE_FAILED", ObservedState::Failed),
        ("QUERY_STATE_CANCELLED", ObservedState::Cancelled),
        ("QUERY_STATE_CANCELED", ObservedState::Cancelled),
        ("QUERY_STATE_EXPIRED", ObservedState::Expired),
        ("PENDING", ObservedState::Pending),
        ("EXECUTING", ObservedState::Running),
        ("COMPLETED", ObservedState::Succeeded),
        ("CANCELED", ObservedState::Cancelled),
    ],
    running_state: "QUERY_STATE_EXECUTING",
    examples,
    failed_body: |message| {
        into_object(json!({
            "execution_id": ID,
            "state": "QUERY_STATE_FAILED",
            "error": { "type": "FAILED_TYPE_EXECUTION_FAILED", "message": message },
        }))
    },
    rejections: &[
        RejectionCase {
            status: 400,
            body: r#"{"error":"The requested execution ID (ID: 01GBM4W2N0NMCGPZYW8AYK4YF1) is invalid."}"#,
            error_kind: ProviderErrorKind::InvalidId,
        },
        RejectionCase {
            status: 404,
            body: r#"{"error":"Object not found"}"#,
            error_kind: ProviderErrorKind::NotFound,
        },
        RejectionCase {
            status: 400,
            body: r#"{"error":"bad request"}"#,
            error_kind: ProviderErrorKind::Malformed,
        },
        RejectionCase {
            status: 400,
            body: r#"{"error":"invalid parameter"}"#,
            error_kind: ProviderErrorKind::Malformed,
        },
        RejectionCase {
            status: 404,
            body: r#"{"error":"no route"}"#,
            error_kind: ProviderErrorKind::Misconfigured,
        },
        RejectionCase {
            status: 401,
            body: r#"{"error":"invalid API Key"}"#,
            error_kind: ProviderErrorKind::Auth,
        },
        RejectionCase {
            status: 402,
            body: r#"{"error":"This API request would exceed your configured limits per billing cycle."}"#,
            error_kind: ProviderErrorKind::QuotaExceeded,
        },
        // A "not found" message with another status is not about the job.
        RejectionCase {
            status: 500,
            body: r#"{"error":"Object not found"}"#,
            error_kind: ProviderErrorKind::Transient,
        },
    ],
    error_body: |text| json!({ "error": text }).to_string(),
};

fn utc(text: &str) -> UtcTime {
    UtcTime::parse_rfc3339(text).expect("a time")
}

fn observation(
    observed_state: ObservedState,
    state_suffix: &str,
    times: ProviderTimes,
    detail: Value,
) -> Observation {
    let (provider_state, detail) = (format!("QUERY_STATE_{state_suffix}"), into_object(detail));
    Observation {
        similarity_keys: SimilarityKeys::from_provider(
            detail.get("query_id").map(|id| format!("query {id}")),
        ),
        source: detail.get("query_id").map(ToString::to_string),
        credits: detail.get("execution_cost_credits").and_then(Value::as_f64),
        reported_duration: None,
        state: observed_state,
        provider_state,
        times,
        message: None,
        list_time: None,
        detail,
    }
}

fn examples() -> Vec<BodyExample> {
    let mut examples = documented_examples();
    examples.extend(real_world_examples());
    examples.extend(edge_case_examples());
    examples
}

/// The two example answers of the document, verbatim.
fn documented_examples() -> Vec<BodyExample> {
    let completed: Value = serde_json::from_str(dune::COMPLETED_EXAMPLE).expect("JSON");
    vec![
        BodyExample {
            name: "the document's running query: nanoseconds, and 1970 for no time",
            body: dune::EXECUTING_EXAMPLE.to_owned(),
            expected: observation(
                ObservedState::Running,
                "EXECUTING",
                ProviderTimes {
                    submitted_at: Some(utc("2022-08-29T06:33:24.913Z")),
                    started_at: Some(utc("2022-08-29T06:33:24.916Z")),
                    ended_at: None,
                    expires_at: None,
                },
                json!({ "query_id": 980_708 }),
            ),
        },
        BodyExample {
            name: "the document's completed query: microseconds, a fraction of five digits",
            body: dune::COMPLETED_EXAMPLE.to_owned(),
            expected: observation(
                ObservedState::Succeeded,
                "COMPLETED",
                ProviderTimes {
                    submitted_at: Some(utc("2022-08-29T06:33:24.913Z")),
                    started_at: Some(utc("2022-08-29T06:33:24.916Z")),
                    ended_at: Some(utc("2022-08-29T06:36:41.588Z")),
                    expires_at: Some(utc("2024-08-28T06:36:41.588Z")),
                },
                json!({ "query_id": 980_708, "result_metadata": completed["result_metadata"] }),
            ),
        },
    ]
}

fn real_world_examples() -> Vec<BodyExample> {
    let submitted = "2026-11-22T09:00:00Z";
    let only_submitted =
        ProviderTimes { submitted_at: Some(utc(submitted)), ..ProviderTimes::default() };
    let failed = json!({
        "type": "FAILED_TYPE_EXECUTION_FAILED",
        "message": "line 24:13: Column 'blok_number' cannot be resolved",
        "metadata": { "line": 24, "column": 13 },
    });
    let failed_detail = json!({ "error": failed, "is_execution_finished": true });
    vec![
        BodyExample {
            name: "a real waiting query holds five fields",
            body: json!({
                "execution_id": ID, "query_id": 980_708, "state": "QUERY_STATE_PENDING",
                "queue_position": 33894, "submitted_at": submitted,
            })
            .to_string(),
            expected: observation(
                ObservedState::Pending,
                "PENDING",
                only_submitted,
                json!({ "query_id": 980_708, "queue_position": 33894 }),
            ),
        },
        BodyExample {
            name: "a failed one has an object for its error, and may lack start and end",
            body: json!({
                "execution_id": ID, "state": "QUERY_STATE_FAILED", "submitted_at": submitted,
                "is_execution_finished": true, "error": failed,
            })
            .to_string(),
            expected: Observation {
                list_time: None,
                message: Some("line 24:13: Column 'blok_number' cannot be resolved".to_owned()),
                ..observation(ObservedState::Failed, "FAILED", only_submitted, failed_detail)
            },
        },
        BodyExample {
            name: "one that was cancelled while it waited ended then",
            body: json!({
                "execution_id": ID, "state": "QUERY_STATE_CANCELLED", "submitted_at": submitted,
                "cancelled_at": "2026-11-22T09:00:05.5Z",
            })
            .to_string(),
            expected: observation(
                ObservedState::Cancelled,
                "CANCELLED",
                ProviderTimes { ended_at: Some(utc("2026-11-22T09:00:05.5Z")), ..only_submitted },
                json!({}),
            ),
        },
        BodyExample {
            name: "an end goes before a cancellation",
            body: json!({
                "execution_id": ID, "state": "QUERY_STATE_CANCELED",
                "execution_ended_at": "2026-11-22T09:00:06Z",
                "cancelled_at": "2026-11-22T09:00:05Z",
            })
            .to_string(),
            expected: observation(
                ObservedState::Cancelled,
                "CANCELED",
                ProviderTimes {
                    ended_at: Some(utc("2026-11-22T09:00:06Z")),
                    ..ProviderTimes::default()
                },
                json!({}),
            ),
        },
    ]
}

fn edge_case_examples() -> Vec<BodyExample> {
    vec![
        BodyExample {
            name: "what the account may do at once is kept; what no document names is not",
            body: json!({
                "execution_id": ID, "state": "QUERY_STATE_EXECUTING", "query_id": null,
                "execution_cost_credits": 0.125, "max_inflight_interactive_executions": 3,
                "max_inflight_interactive_reached": 1, "surprise": [{ "rows": [1, 2] }],
                "result_metadata": { "row_count": 5, "surprise": 1 },
            })
            .to_string(),
            expected: observation(
                ObservedState::Running,
                "EXECUTING",
                ProviderTimes::default(),
                json!({
                    "execution_cost_credits": 0.125, "max_inflight_interactive_executions": 3,
                    "max_inflight_interactive_reached": 1, "result_metadata": { "row_count": 5 },
                }),
            ),
        },
        BodyExample {
            name: "a number beyond 64 bits is none, within the metadata too",
            body: format!(
                r#"{{"execution_id":"{ID}","state":"QUERY_STATE_COMPLETED",
                     "result_metadata":{{"row_count":18446744073709551616,"datapoint_count":3}}}}"#
            ),
            expected: observation(
                ObservedState::Succeeded,
                "COMPLETED",
                ProviderTimes::default(),
                json!({ "result_metadata": { "row_count": null, "datapoint_count": 3 } }),
            ),
        },
        BodyExample {
            name: "times of other forms than the document's are none",
            body: json!({
                "execution_id": ID, "state": "QUERY_STATE_EXECUTING", "submitted_at": 1_661_754_804,
                "execution_started_at": "2026-11-22T09:00:06", "execution_ended_at": "soon",
                "expires_at": "99999-01-01T00:00:00Z", "cancelled_at": "1999-12-31T23:59:59Z",
            })
            .to_string(),
            expected: observation(
                ObservedState::Running,
                "EXECUTING",
                ProviderTimes::default(),
                json!({}),
            ),
        },
    ]
}
