//! One script instance, from the answer to a poll.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Map, Value, json};

use crate::job::{Observation, ObservedState, ProviderError, ProviderTimes, SimilarityKeys};
use crate::provider::answer_json::{FieldTable, read_object};
use crate::provider::http::HttpResponse;
use crate::provider::json_fields::{
    MAX_PROVIDER_STATE_BYTES, limit_text, parse_number, run_duration_from_secs, sanitize,
};
use crate::provider::kinds::huawei::error::rejection_error;
use crate::provider::state_map::StateMap;

/// The body of a response with status 200, which has no id.
const INSTANCE_FIELDS: FieldTable =
    FieldTable { id: None, deciding: &["status"], kept: &["message", "results"] };

/// Reads the answer to a poll of an instance of `script`.
pub(super) fn parse_instance(
    response: &HttpResponse,
    script: &str,
    state_map: &StateMap,
) -> Result<Observation, ProviderError> {
    if response.status != StatusCode::OK {
        return Err(rejection_error(response));
    }
    let fields = read_object(&response.body, &INSTANCE_FIELDS)?;
    let provider_state = fields.deciding_text("status", MAX_PROVIDER_STATE_BYTES)?;
    let observed_state = state_map.lookup(&provider_state).unwrap_or(ObservedState::Unknown);
    let results = match fields.kept("results") {
        Some(Value::Array(results)) => results,
        Some(_) | None => Vec::new(),
    };
    let instance_message = fields.kept("message");
    let result_messages = results.iter().map(|result| result.get("message"));
    let message =
        [instance_message.as_ref()].into_iter().chain(result_messages).find_map(message_text);
    Ok(Observation {
        list_time: None,
        source: Some(script.to_owned()),
        credits: None,
        similarity_keys: SimilarityKeys::from_provider([format!("script {script}")]),
        reported_duration: total_duration(&results)
            .filter(|_| observed_state.to_state().is_terminal()),
        state: observed_state,
        provider_state,
        times: ProviderTimes::default(),
        message,
        detail: results_detail(results),
    })
}

/// The sum of the durations of the statements, which run one after the other; `None` if one of them has
/// no duration.
fn total_duration(results: &[Value]) -> Option<Duration> {
    let seconds = results.iter().map(|result| match result.get("duration")? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    });
    run_duration_from_secs(seconds.sum::<Option<f64>>()?)
}

/// A message, which may be text or an object. An object is kept as JSON; an empty one is no message.
fn message_text(value: Option<&Value>) -> Option<String> {
    let text = match value? {
        Value::String(text) => text.clone(),
        Value::Object(map) if !map.is_empty() => value?.to_string(),
        _ => return None,
    };
    (!text.is_empty()).then(|| limit_text(&text))
}

fn results_detail(results: Vec<Value>) -> Map<String, Value> {
    let kept_results: Vec<_> = results
        .into_iter()
        .filter_map(|result| match result {
            Value::Object(map) => Some(map),
            _ => None,
        })
        .map(|map| {
            let kept_fields = map.into_iter().filter_map(|(key, value)| {
                let value = match key.as_str() {
                    "rowCount" | "inputRowCount" | "resultCount" | "duration" => {
                        parse_number(value)
                    }
                    "schema" => Some(sanitize(value)),
                    _ => None,
                }?;
                Some((key, value))
            });
            kept_fields.collect::<Map<_, _>>()
        })
        .collect();
    if kept_results.is_empty() {
        Map::new()
    } else {
        Map::from_iter([("results".to_owned(), json!(kept_results))])
    }
}
