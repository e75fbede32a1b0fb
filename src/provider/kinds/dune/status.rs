//! One execution of Dune, from the answer to a poll.

use reqwest::StatusCode;
use serde_json::{Map, Value};

use crate::job::{
    Observation, ObservedState, ProviderError, ProviderTimes, RemoteId, SimilarityKeys,
};
use crate::provider::answer_json::{FieldTable, Fields, malformed, read_object};
use crate::provider::http::HttpResponse;
use crate::provider::json_fields::{
    MAX_PROVIDER_STATE_BYTES, collect_detail, parse_integer, parse_rfc3339, parse_run_duration_ms,
    scalar_only, select_fields,
};
use crate::provider::state_map::StateMap;

use super::error::{error_message, rejection_error};

/// The body of a response with status 200.
const STATUS_FIELDS: FieldTable = FieldTable {
    id: Some("execution_id"),
    deciding: &["execution_id", "state", "is_execution_finished"],
    kept: &[
        "submitted_at",
        "execution_started_at",
        "execution_ended_at",
        "cancelled_at",
        "expires_at",
        "query_id",
        "queue_position",
        "execution_cost_credits",
        "max_inflight_interactive_executions",
        "max_inflight_interactive_reached",
        "error",
        "result_metadata",
    ],
};

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
    let fields = read_object(&response.body, &STATUS_FIELDS)?;
    let id = fields.deciding_id("execution_id")?;
    let id = id.ok_or_else(|| malformed("missing field `execution_id`"))?;
    if !expected_id.is_same_id(&id) {
        return Err(malformed("the answer is about another execution"));
    }
    let provider_state = fields.deciding_text("state", MAX_PROVIDER_STATE_BYTES)?;
    let observed_state = match state_map.lookup(&provider_state) {
        Some(known) => known,
        None if is_finished(&fields)? => ObservedState::Indeterminate,
        None => ObservedState::Unknown,
    };
    let time = |name| parse_rfc3339(fields.kept(name).as_ref());
    let times = ProviderTimes {
        submitted_at: time("submitted_at"),
        started_at: time("execution_started_at"),
        ended_at: time("execution_ended_at").or_else(|| time("cancelled_at")),
        expires_at: time("expires_at"),
    };
    // The two times give the duration where both are present; in the example of Dune's own page
    // `execution_time_millis` contradicts them.
    let lacks_times = times.started_at.is_none() || times.ended_at.is_none();
    let result_metadata = fields.kept("result_metadata");
    let execution_millis =
        result_metadata.as_ref().and_then(|metadata| metadata.get("execution_time_millis"));
    let query_id = fields.kept("query_id");
    Ok(Observation {
        list_time: None,
        source: query_number(query_id.as_ref()).map(|id| id.to_string()),
        credits: fields.kept("execution_cost_credits").as_ref().and_then(Value::as_f64),
        similarity_keys: similarity_keys(query_id.as_ref()),
        reported_duration: parse_run_duration_ms(execution_millis)
            .filter(|_| lacks_times && observed_state.to_state().is_terminal()),
        state: observed_state,
        times,
        message: error_message(fields.kept("error").as_ref()),
        provider_state,
        detail: status_detail(&fields),
    })
}

/// `null` means the same as an absent field, which the document allows.
fn is_finished(fields: &Fields<'_>) -> Result<bool, ProviderError> {
    if fields.deciding("is_execution_finished")? == Some(Value::Null) {
        return Ok(false);
    }
    Ok(fields.deciding_flag("is_execution_finished")? == Some(true))
}

/// Runs of the same saved query are similar. Ad-hoc SQL has no `query_id`, or 0.
fn similarity_keys(query_id: Option<&Value>) -> SimilarityKeys {
    SimilarityKeys::from_provider(query_number(query_id).map(|id| format!("query {id}")))
}

fn query_number(query_id: Option<&Value>) -> Option<i64> {
    parse_integer(query_id).filter(|id| *id > 0)
}

fn status_detail(fields: &Fields<'_>) -> Map<String, Value> {
    let scalar = |name| scalar_only(fields.kept(name));
    let finished_flag = fields.deciding("is_execution_finished").ok().flatten();
    collect_detail([
        ("query_id", scalar("query_id")),
        ("is_execution_finished", scalar_only(finished_flag)),
        ("queue_position", scalar("queue_position")),
        ("execution_cost_credits", scalar("execution_cost_credits")),
        ("max_inflight_interactive_executions", scalar("max_inflight_interactive_executions")),
        ("max_inflight_interactive_reached", scalar("max_inflight_interactive_reached")),
        ("error", select_fields(&ERROR_FIELDS, fields.kept("error"))),
        ("result_metadata", select_fields(&RESULT_FIELDS, fields.kept("result_metadata"))),
    ])
}
