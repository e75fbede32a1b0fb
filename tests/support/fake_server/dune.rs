//! The fake Dune API: paths, states, bodies and rejections.
//!
//! Bodies follow the documentation of the status endpoint and the fields that real responses add to
//! it.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::http::{FakeHttpRequest, FakeHttpResponse};
use super::script::{JobEnd, JobPhase, ScriptSnapshot, add_duration};
use super::service::{ServiceKind, ServiceRejection};

/// The documented response for a running query, verbatim.
pub const EXECUTING_EXAMPLE: &str = include_str!("../data/dune-executing.json");
/// The documented response for a completed query, verbatim.
pub const COMPLETED_EXAMPLE: &str = include_str!("../data/dune-completed.json");
/// The error message of every failed query.
pub const FAILURE_MESSAGE: &str = "line 24:13: Column 'blok_number' cannot be resolved";
pub const API_KEY_HEADER: &str = "x-dune-api-key";
pub const RESULT_RETENTION: Duration = Duration::from_hours(90 * 24);

/// The query id of executions whose script sets none.
const DEFAULT_QUERY_ID: u64 = 980_708;
pub const STATE_PHASES: [(&str, JobPhase); 8] = [
    ("QUERY_STATE_PENDING", JobPhase::Pending),
    ("QUERY_STATE_EXECUTING", JobPhase::Running),
    ("QUERY_STATE_COMPLETED", JobPhase::Ended(JobEnd::Completed)),
    ("QUERY_STATE_COMPLETED_PARTIAL", JobPhase::Ended(JobEnd::CompletedPartial)),
    ("QUERY_STATE_FAILED", JobPhase::Ended(JobEnd::Failed)),
    ("QUERY_STATE_CANCELLED", JobPhase::Ended(JobEnd::Cancelled)),
    ("QUERY_STATE_CANCELED", JobPhase::Ended(JobEnd::Canceled)),
    ("QUERY_STATE_EXPIRED", JobPhase::Ended(JobEnd::Expired)),
];

/// The phase of a provider state; `None` if Dune does not have this state.
pub fn phase_of_state(state: &str) -> Option<JobPhase> {
    ServiceKind::Dune.phase_of_state(state)
}

/// The execution of a status path; `None` for any other path.
pub fn job_id_from_path(path: &str) -> Option<String> {
    path.strip_prefix("/api/v1/execution/")?
        .strip_suffix("/status")
        .filter(|id| !id.is_empty() && !id.contains('/'))
        .map(str::to_owned)
}

/// The query that a request executes. Only Dune's own clients send such requests. Only jobs whose
/// script has a query id can be executed so, and only their results can be fetched.
pub fn query_to_execute(request: &FakeHttpRequest) -> Option<u64> {
    let query = request.path().strip_prefix("/api/v1/query/")?.strip_suffix("/execute")?;
    query.parse().ok().filter(|_| request.method == "POST")
}

pub fn execute_response(id: &str) -> FakeHttpResponse {
    FakeHttpResponse::json(200, &json!({ "execution_id": id, "state": "QUERY_STATE_PENDING" }))
}

/// The execution of a result path; `None` for any other path.
pub fn job_id_from_result_path(path: &str) -> Option<String> {
    job_id_from_path(&format!("{}/status", path.strip_suffix("/results")?))
}

/// Turns the body of a status response into that of a result response.
pub fn result_body(mut body: Value) -> Value {
    let metadata = body.as_object_mut().and_then(|body| body.remove("result_metadata"));
    if let Some(metadata) = metadata {
        body["result"] = json!({ "rows": [], "metadata": metadata });
    }
    body
}

pub fn rejection_response(rejection: &ServiceRejection<'_>) -> FakeHttpResponse {
    let (status, message) = match rejection {
        ServiceRejection::InvalidParameter => (400, "Bad request".to_owned()),
        ServiceRejection::WrongMethod => (405, "Method not allowed".to_owned()),
        ServiceRejection::UnknownPath => (404, "Object not found".to_owned()),
        ServiceRejection::InvalidCredential
        | ServiceRejection::InvalidSignature
        | ServiceRejection::ExpiredToken => (401, "invalid API Key".to_owned()),
        ServiceRejection::JobNotFound(id, _) if !id.chars().all(|c| c.is_ascii_alphanumeric()) => {
            (400, format!("The requested execution ID (ID: {id}) is invalid."))
        }
        ServiceRejection::JobNotFound(..) => (404, "Object not found".to_owned()),
        ServiceRejection::RateLimited { .. } => {
            (429, "This request would exceed your rate limit".to_owned())
        }
    };
    FakeHttpResponse::json(status, &json!({ "error": message }))
}

/// The body of a successful status response.
pub fn status_body(id: &str, submitted: Timestamp, snapshot: &ScriptSnapshot) -> Value {
    let mut body = Map::new();
    body.insert("execution_id".into(), id.into());
    body.insert("query_id".into(), snapshot.query_id.unwrap_or(DEFAULT_QUERY_ID).into());
    body.insert("state".into(), ServiceKind::Dune.provider_state(&snapshot.phase).into());
    body.insert("submitted_at".into(), format_micros(submitted).into());
    if snapshot.phase == JobPhase::Pending {
        // Real responses for a waiting query have no other fields.
        let remaining = snapshot.until_next_phase.map_or(33_893, |until| until.as_millis() / 100);
        body.insert("queue_position".into(), json!(remaining + 1));
        return body.into();
    }
    let finished = match &snapshot.phase {
        JobPhase::Pending | JobPhase::Running => Some(false),
        JobPhase::Ended(_) => Some(true),
        JobPhase::Custom { finished, .. } => *finished,
    };
    if let Some(is_finished) = finished {
        body.insert("is_execution_finished".into(), is_finished.into());
    }
    let expires = snapshot
        .expired_after
        .or(snapshot.ended_after.map(|ended| ended.saturating_add(RESULT_RETENTION)));
    let expires = expires.filter(|_| finished == Some(true));
    let expires = expires.map_or(Timestamp::UNIX_EPOCH, |span| add_duration(submitted, span));
    body.insert("expires_at".into(), format_micros(expires).into());
    if let Some(started) = snapshot.started_after.map(|span| add_duration(submitted, span)) {
        // Real responses have nanoseconds while the query runs, and microseconds afterwards.
        let text =
            if finished == Some(true) { format_micros(started) } else { started.to_string() };
        body.insert("execution_started_at".into(), text.into());
    }
    if finished == Some(true) {
        body.extend(finished_fields(submitted, snapshot));
    }
    body.into()
}

/// The fields that only finished queries have.
fn finished_fields(submitted: Timestamp, snapshot: &ScriptSnapshot) -> Map<String, Value> {
    let mut fields = Map::new();
    let ended = snapshot.ended_after.unwrap_or_default();
    let ended_text = format_micros(add_duration(submitted, ended));
    if snapshot.started_after.is_some() {
        fields.insert("execution_ended_at".into(), ended_text.clone().into());
    }
    match snapshot.phase {
        JobPhase::Ended(JobEnd::Completed | JobEnd::CompletedPartial) => {
            let started = snapshot.started_after.unwrap_or(ended);
            let metadata = json!({
                "column_names": ["ct", "TableName"],
                "column_types": ["bigint", "varchar"],
                "result_set_bytes": 194,
                "total_row_count": 8,
                "datapoint_count": 16,
                "pending_time_millis": started.as_millis(),
                "execution_time_millis": ended.saturating_sub(started).as_millis(),
            });
            fields.insert("result_metadata".into(), metadata);
        }
        JobPhase::Ended(JobEnd::Failed) => {
            let error = json!({
                "type": "FAILED_TYPE_EXECUTION_FAILED",
                "message": FAILURE_MESSAGE,
                "metadata": { "line": 24, "column": 13 },
            });
            fields.insert("error".into(), error);
        }
        JobPhase::Ended(JobEnd::Cancelled | JobEnd::Canceled) => {
            fields.insert("cancelled_at".into(), ended_text.into());
        }
        JobPhase::Ended(JobEnd::Expired)
        | JobPhase::Pending
        | JobPhase::Running
        | JobPhase::Custom { .. } => {}
    }
    fields
}

/// RFC 3339, truncated to microseconds, without trailing zeros.
fn format_micros(at: Timestamp) -> String {
    Timestamp::from_microsecond(at.as_microsecond())
        .expect("a truncated time is in range")
        .to_string()
}
