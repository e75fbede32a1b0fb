//! Dune's part: its paths, its words, its bodies, its refusals.
//!
//! Shapes follow the document of the status endpoint, and what real answers add to it.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::http::{Answer, Head};
use super::script::{End, Phase, Snapshot, after};
use super::service::{Kind, Refusal};

/// The document's answer for a running query, word for word.
pub const EXECUTING_EXAMPLE: &str = include_str!("../data/dune-executing.json");
/// The document's answer for a completed query, word for word.
pub const COMPLETED_EXAMPLE: &str = include_str!("../data/dune-completed.json");
/// The message of every query that fails here.
pub const FAILURE: &str = "line 24:13: Column 'blok_number' cannot be resolved";
pub const KEY_HEADER: &str = "x-dune-api-key";
/// How long a result is kept.
pub const KEPT: Duration = Duration::from_hours(90 * 24);

/// Of an execution whose life names none.
const QUERY_ID: u64 = 980_708;
pub const WORDS: [(&str, Phase); 8] = [
    ("QUERY_STATE_PENDING", Phase::Pending),
    ("QUERY_STATE_EXECUTING", Phase::Running),
    ("QUERY_STATE_COMPLETED", Phase::Ended(End::Completed)),
    ("QUERY_STATE_COMPLETED_PARTIAL", Phase::Ended(End::CompletedPartial)),
    ("QUERY_STATE_FAILED", Phase::Ended(End::Failed)),
    ("QUERY_STATE_CANCELLED", Phase::Ended(End::Cancelled)),
    ("QUERY_STATE_CANCELED", Phase::Ended(End::Canceled)),
    ("QUERY_STATE_EXPIRED", Phase::Ended(End::Expired)),
];

/// What a word of Dune's means.
pub fn phase(word: &str) -> Option<Phase> {
    Kind::Dune.phase(word)
}

/// The execution that a path asks for; none if it is not the status path.
pub fn job_of(path: &str) -> Option<String> {
    path.strip_prefix("/api/v1/execution/")?
        .strip_suffix("/status")
        .filter(|id| !id.is_empty() && !id.contains('/'))
        .map(str::to_owned)
}

/// The query that a request runs. Only Dune's own clients send this, and only executions that are
/// of a query can be run so, or be asked for their results.
pub fn runs(head: &Head) -> Option<u64> {
    let query = head.path().strip_prefix("/api/v1/query/")?.strip_suffix("/execute")?;
    query.parse().ok().filter(|_| head.method == "POST")
}

/// The answer to a request that ran a query.
pub fn running(id: &str) -> Answer {
    Answer::json(200, &json!({ "execution_id": id, "state": "QUERY_STATE_PENDING" }))
}

/// The execution whose result a path asks for.
pub fn fetched(path: &str) -> Option<String> {
    job_of(&format!("{}/status", path.strip_suffix("/results")?))
}

/// The body of a good answer to who asked for the result, from the one to who asked for the status.
pub fn with_result(mut body: Value) -> Value {
    let metadata = body.as_object_mut().and_then(|body| body.remove("result_metadata"));
    if let Some(metadata) = metadata {
        body["result"] = json!({ "rows": [], "metadata": metadata });
    }
    body
}

pub fn refuse(why: &Refusal<'_>) -> Answer {
    let (status, told) = match why {
        Refusal::Parameter => (400, "Bad request".to_owned()),
        Refusal::Method => (405, "Method not allowed".to_owned()),
        Refusal::Path => (404, "Object not found".to_owned()),
        Refusal::Key | Refusal::Signature | Refusal::Stale => (401, "invalid API Key".to_owned()),
        Refusal::NoJob(id, _) if !id.chars().all(|c| c.is_ascii_alphanumeric()) => {
            (400, format!("The requested execution ID (ID: {id}) is invalid."))
        }
        Refusal::NoJob(..) => (404, "Object not found".to_owned()),
        Refusal::TooMany { .. } => (429, "This request would exceed your rate limit".to_owned()),
    };
    Answer::json(status, &json!({ "error": told }))
}

/// The body of a good answer.
pub fn body(id: &str, submitted: Timestamp, now: &Snapshot) -> Value {
    let mut body = Map::new();
    body.insert("execution_id".into(), id.into());
    body.insert("query_id".into(), now.query.unwrap_or(QUERY_ID).into());
    body.insert("state".into(), Kind::Dune.word(&now.phase).into());
    body.insert("submitted_at".into(), micros(submitted).into());
    if now.phase == Phase::Pending {
        // A real answer for a waiting query holds no more than this.
        let left = now.left.map_or(33_893, |left| left.as_millis() / 100);
        body.insert("queue_position".into(), json!(left + 1));
        return body.into();
    }
    let over = match &now.phase {
        Phase::Pending | Phase::Running => Some(false),
        Phase::Ended(_) => Some(true),
        Phase::Said { finished, .. } => *finished,
    };
    if let Some(over) = over {
        body.insert("is_execution_finished".into(), over.into());
    }
    let expires = now.expired.or(now.ended.map(|ended| ended.saturating_add(KEPT)));
    let expires = expires.filter(|_| over == Some(true));
    let expires = expires.map_or(Timestamp::UNIX_EPOCH, |span| after(submitted, span));
    body.insert("expires_at".into(), micros(expires).into());
    if let Some(started) = now.started.map(|span| after(submitted, span)) {
        // The same instant has nine digits while the query runs, and six afterwards.
        let text = if over == Some(true) { micros(started) } else { started.to_string() };
        body.insert("execution_started_at".into(), text.into());
    }
    if over == Some(true) {
        body.extend(outcome(submitted, now));
    }
    body.into()
}

/// The fields that only a finished query has.
fn outcome(submitted: Timestamp, now: &Snapshot) -> Map<String, Value> {
    let mut fields = Map::new();
    let ended = now.ended.unwrap_or_default();
    let ended_text = micros(after(submitted, ended));
    if now.started.is_some() {
        fields.insert("execution_ended_at".into(), ended_text.clone().into());
    }
    match now.phase {
        Phase::Ended(End::Completed | End::CompletedPartial) => {
            let started = now.started.unwrap_or(ended);
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
        Phase::Ended(End::Failed) => {
            let error = json!({
                "type": "FAILED_TYPE_EXECUTION_FAILED",
                "message": FAILURE,
                "metadata": { "line": 24, "column": 13 },
            });
            fields.insert("error".into(), error);
        }
        Phase::Ended(End::Cancelled | End::Canceled) => {
            fields.insert("cancelled_at".into(), ended_text.into());
        }
        Phase::Ended(End::Expired) | Phase::Pending | Phase::Running | Phase::Said { .. } => {}
    }
    fields
}

/// RFC 3339 cut to microseconds, without trailing zeros.
fn micros(at: Timestamp) -> String {
    Timestamp::from_microsecond(at.as_microsecond()).expect("a time cut to µs").to_string()
}
