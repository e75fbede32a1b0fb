//! One execution of Dune, from the answer to a poll.

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::job::{
    Observation, ObservedState, ProviderError, ProviderErrorKind, ProviderTimes, RemoteId,
    SimilarityKeys,
};
use crate::provider::http::HttpResponse;
use crate::provider::json_fields::{
    MAX_PROVIDER_STATE_BYTES, collect_detail, parse_integer, parse_object, parse_rfc3339,
    parse_run_duration_ms, scalar_only, select_fields,
};
use crate::provider::state_map::StateMap;

use super::error::{error_message, rejection_error};

/// The body of a response with status 200. A field of an unexpected type is dropped; a field that occurs twice makes the
/// answer malformed.
#[derive(Debug, Deserialize)]
struct DuneStatusResponse {
    execution_id: String,
    state: String,
    is_execution_finished: Option<Value>,
    submitted_at: Option<Value>,
    execution_started_at: Option<Value>,
    execution_ended_at: Option<Value>,
    cancelled_at: Option<Value>,
    expires_at: Option<Value>,
    query_id: Option<Value>,
    queue_position: Option<Value>,
    execution_cost_credits: Option<Value>,
    max_inflight_interactive_executions: Option<Value>,
    max_inflight_interactive_reached: Option<Value>,
    error: Option<Value>,
    result_metadata: Option<Value>,
}

const ERROR_FIELDS: [&str; 3] = ["type", "message", "metadata"];
const RESULT_FIELDS: [&str; 9] = [
    "column_names",
    "column_types",
    "row_count",
    "total_row_count",
    "result_set_bytes",
    "total_result_set_bytes",
    "datapoint_count",
    "pending_time_millis",
    "execution_time_millis",
];

/// Reads the answer to a poll of the execution `expected_id`.
pub(super) fn parse_status(
    response: &HttpResponse,
    expected_id: &RemoteId,
    state_map: &StateMap,
) -> Result<Observation, ProviderError> {
    if response.status != StatusCode::OK {
        return Err(rejection_error(response));
    }
    let status: DuneStatusResponse = parse_object(&response.body)?;
    if status.execution_id != expected_id.as_str() {
        return Err(ProviderError::new(
            ProviderErrorKind::Malformed,
            "the answer is about another execution",
        ));
    }
    if status.state.is_empty() || status.state.len() > MAX_PROVIDER_STATE_BYTES {
        return Err(ProviderError::new(
            ProviderErrorKind::Malformed,
            "the state is empty or too long",
        ));
    }
    let finished = status.is_execution_finished.as_ref().and_then(Value::as_bool);
    let fallback_state =
        if finished == Some(true) { ObservedState::Indeterminate } else { ObservedState::Unknown };
    let observed_state = state_map.lookup(&status.state).unwrap_or(fallback_state);
    let times = ProviderTimes {
        submitted_at: parse_rfc3339(status.submitted_at.as_ref()),
        started_at: parse_rfc3339(status.execution_started_at.as_ref()),
        ended_at: parse_rfc3339(status.execution_ended_at.as_ref())
            .or_else(|| parse_rfc3339(status.cancelled_at.as_ref())),
        expires_at: parse_rfc3339(status.expires_at.as_ref()),
    };
    // The two times give the duration where both are present; in the example of Dune's own page
    // `execution_time_millis` contradicts them.
    let lacks_times = times.started_at.is_none() || times.ended_at.is_none();
    let execution_millis =
        status.result_metadata.as_ref().and_then(|metadata| metadata.get("execution_time_millis"));
    Ok(Observation {
        list_time: None,
        source: query_number(status.query_id.as_ref()).map(|id| id.to_string()),
        credits: status.execution_cost_credits.as_ref().and_then(Value::as_f64),
        similarity_keys: similarity_keys(status.query_id.as_ref()),
        reported_duration: parse_run_duration_ms(execution_millis)
            .filter(|_| lacks_times && observed_state.to_state().is_terminal()),
        state: observed_state,
        times,
        message: error_message(status.error.as_ref()),
        provider_state: status.state.clone(),
        detail: status_detail(status),
    })
}

/// Runs of the same saved query are similar. Ad-hoc SQL has no `query_id`, or 0.
fn similarity_keys(query_id: Option<&Value>) -> SimilarityKeys {
    SimilarityKeys::from_provider(query_number(query_id).map(|id| format!("query {id}")))
}

fn query_number(query_id: Option<&Value>) -> Option<i64> {
    parse_integer(query_id).filter(|id| *id > 0)
}

fn status_detail(status: DuneStatusResponse) -> Map<String, Value> {
    collect_detail([
        ("query_id", scalar_only(status.query_id)),
        ("is_execution_finished", scalar_only(status.is_execution_finished)),
        ("queue_position", scalar_only(status.queue_position)),
        ("execution_cost_credits", scalar_only(status.execution_cost_credits)),
        (
            "max_inflight_interactive_executions",
            scalar_only(status.max_inflight_interactive_executions),
        ),
        ("max_inflight_interactive_reached", scalar_only(status.max_inflight_interactive_reached)),
        ("error", select_fields(&ERROR_FIELDS, status.error)),
        ("result_metadata", select_fields(&RESULT_FIELDS, status.result_metadata)),
    ])
}
