//! Dune's part: its path, its words, its bodies, its refusals.
//!
//! All that the stand-in knows of Dune is in this file; another kind is another such file, chosen
//! in `world`. Shapes follow the document of the status endpoint, and what real answers add to it.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::http::{Answer, Head};
use super::life::{End, Phase, Snapshot};

/// The document's answer for a running query, word for word.
pub const EXECUTING_EXAMPLE: &str = include_str!("../data/dune-executing.json");
/// The document's answer for a completed query, word for word.
pub const COMPLETED_EXAMPLE: &str = include_str!("../data/dune-completed.json");
/// The message of every query that fails here.
pub const FAILURE: &str = "line 24:13: Column 'blok_number' cannot be resolved";
pub const KEY_HEADER: &str = "x-dune-api-key";
/// How long a result is kept.
pub const KEPT: Duration = Duration::from_hours(90 * 24);

const QUERY_ID: u64 = 980_708;
const WORDS: [(&str, Phase); 8] = [
    ("QUERY_STATE_PENDING", Phase::Pending),
    ("QUERY_STATE_EXECUTING", Phase::Running),
    ("QUERY_STATE_COMPLETED", Phase::Ended(End::Completed)),
    ("QUERY_STATE_COMPLETED_PARTIAL", Phase::Ended(End::CompletedPartial)),
    ("QUERY_STATE_FAILED", Phase::Ended(End::Failed)),
    ("QUERY_STATE_CANCELLED", Phase::Ended(End::Cancelled)),
    ("QUERY_STATE_CANCELED", Phase::Ended(End::Canceled)),
    ("QUERY_STATE_EXPIRED", Phase::Ended(End::Expired)),
];

/// Dune's word for a phase.
pub fn word(phase: &Phase) -> String {
    match phase {
        Phase::Said { word, .. } => word.clone(),
        Phase::Pending | Phase::Running | Phase::Ended(_) => {
            let known = WORDS.iter().find(|(_, meant)| meant == phase);
            known.expect("every phase but Said has a word").0.to_owned()
        }
    }
}

/// What a word of Dune's means.
pub fn phase(word: &str) -> Option<Phase> {
    WORDS.iter().find(|(known, _)| *known == word).map(|(_, phase)| phase.clone())
}

/// The execution that a path asks for; none if it is not the status path.
pub fn job_of(path: &str) -> Option<&str> {
    path.strip_prefix("/api/v1/execution/")?
        .strip_suffix("/status")
        .filter(|id| !id.is_empty() && !id.contains('/'))
}

/// What a decent client of Dune never does.
pub fn violations(head: &Head) -> Vec<String> {
    let mut found = Vec::new();
    if head.query().split('&').any(|pair| pair.starts_with("api_key=")) {
        found.push(format!("the API key is in the URL of {}", head.path()));
    }
    if head.method != "GET" || job_of(head.path()).is_none() {
        found.push(format!("{} {} is not the status endpoint", head.method, head.path()));
    }
    found
}

/// What Dune answers; `look` gives a job's submission and where it stands, if it is known.
pub fn answer(
    head: &Head,
    key: &str,
    look: impl FnOnce(&str) -> Option<(Timestamp, Snapshot)>,
) -> Answer {
    if head.method != "GET" {
        return refusal(405, "Method not allowed");
    }
    let Some(id) = job_of(head.path()) else {
        return refusal(404, "Object not found");
    };
    if head.header(KEY_HEADER) != Some(key) {
        return refusal(401, "invalid API Key");
    }
    if !id.chars().all(|c| c.is_ascii_alphanumeric()) {
        return refusal(400, &format!("The requested execution ID (ID: {id}) is invalid."));
    }
    match look(id) {
        Some((submitted, snapshot)) => Answer::json(200, &body(id, submitted, &snapshot)),
        None => refusal(404, "Object not found"),
    }
}

/// The answer to one request too many.
pub fn rate_limited(retry_after: Option<String>) -> Answer {
    let answer = refusal(429, "This request would exceed your rate limit");
    match retry_after {
        Some(after) => answer.header("retry-after", after),
        None => answer,
    }
}

/// The body of a good answer.
pub fn body(id: &str, submitted: Timestamp, now: &Snapshot) -> Value {
    let mut body = Map::new();
    body.insert("execution_id".into(), id.into());
    body.insert("query_id".into(), QUERY_ID.into());
    body.insert("state".into(), word(&now.phase).into());
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

/// The instant `span` after `at`.
pub fn after(at: Timestamp, span: Duration) -> Timestamp {
    at.checked_add(span).unwrap_or(Timestamp::MAX)
}

/// RFC 3339 cut to microseconds, without trailing zeros.
fn micros(at: Timestamp) -> String {
    Timestamp::from_microsecond(at.as_microsecond()).expect("a time cut to µs").to_string()
}

fn refusal(status: u16, why: &str) -> Answer {
    Answer::json(status, &json!({ "error": why }))
}
