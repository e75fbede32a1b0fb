//! One job of DLI, from the answer to a poll or from a row of the list.
//!
//! Used by the provider and by [`list`](super::list). The older revision of the document has an example
//! that is not valid JSON; answers of that form are read too.

use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::config::StatementCapture;
use crate::job::{
    Observation, ObservedState, ProviderError, ProviderErrorKind, ProviderTimes, RemoteId,
    SimilarityKeys, UtcTime,
};
use crate::provider::http::HttpResponse;
use crate::provider::json_fields::{
    MAX_PROVIDER_STATE_BYTES, MAX_TEXT_BYTES, collect_detail, non_empty_str, parse_duration_ms,
    parse_epoch_ms, parse_number, parse_object, parse_run_duration_ms, scalar_only, truncate,
};
use crate::provider::kinds::huawei::error::{rejection_error, rejection_error_from_body};
use crate::provider::state_map::StateMap;

/// The body of a response with status 200, or a row of the list. A field of an unexpected type is dropped; a field that occurs
/// twice makes the answer malformed.
#[derive(Debug, Deserialize)]
pub(super) struct DliJobStatus {
    is_success: Option<Value>,
    message: Option<Value>,
    pub(super) job_id: Option<Value>,
    job_type: Option<Value>,
    job_mode: Option<Value>,
    queue_name: Option<Value>,
    owner: Option<Value>,
    start_time: Option<Value>,
    duration: Option<Value>,
    end_time: Option<Value>,
    status: Option<Value>,
    input_row_count: Option<Value>,
    bad_row_count: Option<Value>,
    input_size: Option<Value>,
    result_count: Option<Value>,
    database_name: Option<Value>,
    table_name: Option<Value>,
    detail: Option<Value>,
    statement: Option<Value>,
    tags: Option<Value>,
    user_conf: Option<Value>,
    result_path: Option<Value>,
    result_format: Option<Value>,
    execution_details_path: Option<Value>,
}

/// Reads the state of jobs, with the settings of one provider.
#[derive(Debug)]
pub(super) struct StatusParser {
    pub(super) state_map: StateMap,
    pub(super) statement_capture: StatementCapture,
}

impl StatusParser {
    /// Reads the answer to a poll of the job `expected_id`.
    pub(super) fn parse_status(
        &self,
        response: &HttpResponse,
        expected_id: &RemoteId,
    ) -> Result<Observation, ProviderError> {
        if response.status != StatusCode::OK {
            return Err(rejection_error(response));
        }
        let malformed = |reason: String| ProviderError::new(ProviderErrorKind::Malformed, reason);
        let status: DliJobStatus = parse_object(&response.body)
            .or_else(|error| repair_unescaped_message(&response.body).ok_or(error))?;
        if status.is_success == Some(Value::Bool(false)) {
            return Err(unsuccessful_response_error(&response.body, status.message.as_ref()));
        }
        let is_other_id = |id: &Value| !id.is_null() && id.as_str() != Some(expected_id.as_str());
        if status.job_id.as_ref().is_some_and(is_other_id) {
            return Err(malformed("the answer is about another job".into()));
        }
        self.parse_observation(status)
    }

    /// Reads the job's fields; the caller has checked which job they belong to.
    pub(super) fn parse_observation(
        &self,
        status: DliJobStatus,
    ) -> Result<Observation, ProviderError> {
        let malformed = |reason: String| ProviderError::new(ProviderErrorKind::Malformed, reason);
        let provider_state = non_empty_str(status.status.as_ref())
            .filter(|provider_state| provider_state.len() <= MAX_PROVIDER_STATE_BYTES)
            .ok_or_else(|| malformed("the state is missing or too long".into()))?
            .to_owned();
        let observed_state =
            self.state_map.lookup(&provider_state).unwrap_or(ObservedState::Unknown);
        let message = non_empty_str(status.message.as_ref())
            .map(|text| truncate(text, MAX_TEXT_BYTES).to_owned());
        let is_terminal = observed_state.to_state().is_terminal();
        let ended_at = if is_terminal { end_time(&status) } else { None };
        let listed_at = parse_epoch_ms(status.start_time.as_ref());
        Ok(Observation {
            list_time: listed_at,
            source: name_part(status.queue_name.as_ref()),
            credits: None,
            similarity_keys: similarity_keys(&status, self.statement_capture),
            reported_duration: parse_run_duration_ms(status.duration.as_ref())
                .filter(|_| is_terminal),
            state: observed_state,
            provider_state,
            times: ProviderTimes { ended_at, ..ProviderTimes::default() },
            message,
            detail: status_detail(status, self.statement_capture),
        })
    }
}

/// Jobs of the same queue and type are similar, those with the same statement more so. With
/// [`StatementCapture::None`] the statement is ignored here too: the list drops it while it is received,
/// and a list row must give the same keys as the answer to a poll.
fn similarity_keys(status: &DliJobStatus, statement_capture: StatementCapture) -> SimilarityKeys {
    let (Some(queue), Some(job_type)) =
        (name_part(status.queue_name.as_ref()), name_part(status.job_type.as_ref()))
    else {
        return SimilarityKeys::Unknown;
    };
    let broad_key = format!("queue {queue}, {job_type}");
    let statement = non_empty_str(status.statement.as_ref())
        .filter(|_| statement_capture != StatementCapture::None);
    let exact_key =
        statement.map(|sql| format!("{broad_key}, statement {}", sha256_hex_prefix(sql, 6)));
    SimilarityKeys::from_provider(exact_key.into_iter().chain([broad_key]))
}

/// The name of a queue or of a type of jobs.
fn name_part(value: Option<&Value>) -> Option<String> {
    /// Longer than any name of a queue or a type.
    const MAX_NAME_BYTES: usize = 128;
    non_empty_str(value).map(|text| truncate(text, MAX_NAME_BYTES).to_owned())
}

/// DLI cancels jobs after 12 h by default; a larger number is not a duration.
const MAX_DURATION: Duration = Duration::from_hours(10 * 365 * 24);

/// `end_time`, which list rows have, else `start_time + duration`. The document does not state whether
/// `start_time` is the submission or the start, so it is used as neither and only kept in the detail.
fn end_time(status: &DliJobStatus) -> Option<UtcTime> {
    let reported = parse_epoch_ms(status.end_time.as_ref());
    reported.or_else(|| {
        let started_at = parse_epoch_ms(status.start_time.as_ref())?;
        let duration =
            parse_duration_ms(status.duration.as_ref()).filter(|took| *took < MAX_DURATION)?;
        Some(started_at.plus(duration))
    })
}

/// The error for a response with status 200 and `"is_success": false`. Its `message` may be the JSON of an error, as text.
pub(super) fn unsuccessful_response_error(body: &[u8], message: Option<&Value>) -> ProviderError {
    let nested_error =
        non_empty_str(message).and_then(|text| serde_json::from_str::<Value>(text).ok());
    let body = nested_error.unwrap_or_else(|| serde_json::from_slice(body).unwrap_or_default());
    let error = rejection_error_from_body(StatusCode::OK, &body);
    if error.kind != ProviderErrorKind::Malformed {
        return error;
    }
    // Without a known error code only this request has failed, so a retry may succeed.
    let reason = truncate(non_empty_str(message).unwrap_or("the answer gives no reason"), 512);
    let message = format!("HTTP 200, but is_success is false: {reason}");
    ProviderError::new(ProviderErrorKind::Transient, message)
}

/// Reads an answer whose `message` contains JSON with unescaped quotes, as the example of the older
/// revision does. The message ends where the next field of the document begins.
fn repair_unescaped_message(body: &[u8]) -> Option<DliJobStatus> {
    const MESSAGE_KEY: &str = "\"message\"";
    let body = std::str::from_utf8(body).ok()?;
    let after_key = body.find(MESSAGE_KEY)? + MESSAGE_KEY.len();
    let value_start = after_key + body[after_key..].find('"')?;
    if body[after_key..value_start].trim() != ":" {
        return None;
    }
    let text_start = value_start + 1;
    let next_field = text_start
        + body[text_start..]
            .find("\"job_id\"")
            .or_else(|| body[text_start..].find("\"job_type\""))?;
    let text_end = text_start + body[text_start..next_field].rfind('"')?;
    if body[text_end + 1..next_field].trim() != "," || !body[text_start..text_end].starts_with('{')
    {
        return None;
    }
    let escaped_text = serde_json::to_string(&body[text_start..text_end]).ok()?;
    serde_json::from_str(&format!(
        "{}{escaped_text}{}",
        &body[..value_start],
        &body[text_end + 1..]
    ))
    .ok()
}

fn status_detail(status: DliJobStatus, statement_capture: StatementCapture) -> Map<String, Value> {
    let number_field = |value: Option<Value>| value.and_then(parse_number);
    let statement =
        status.statement.filter(Value::is_string).and_then(|sql| match statement_capture {
            StatementCapture::Full => Some(sql),
            StatementCapture::Hash => sql.as_str().map(|sql| Value::String(statement_hash(sql))),
            StatementCapture::None => None,
        });
    collect_detail([
        ("job_type", scalar_only(status.job_type)),
        ("job_mode", scalar_only(status.job_mode)),
        ("queue_name", scalar_only(status.queue_name)),
        ("owner", scalar_only(status.owner)),
        ("start_time", number_field(status.start_time)),
        ("duration", number_field(status.duration)),
        ("end_time", number_field(status.end_time)),
        ("input_row_count", number_field(status.input_row_count)),
        ("bad_row_count", number_field(status.bad_row_count)),
        ("input_size", number_field(status.input_size)),
        ("result_count", number_field(status.result_count)),
        ("database_name", scalar_only(status.database_name)),
        ("table_name", scalar_only(status.table_name)),
        ("detail", scalar_only(status.detail)),
        ("statement", statement),
        ("tags", status.tags.filter(Value::is_array)),
        ("user_conf", status.user_conf.filter(|conf| !conf.is_null())),
        ("result_path", scalar_only(status.result_path)),
        ("result_format", scalar_only(status.result_format)),
        ("execution_details_path", scalar_only(status.execution_details_path)),
    ])
}

/// The first half of the statement's SHA-256; equal for equal statements.
fn statement_hash(sql: &str) -> String {
    format!("sha256:{}", sha256_hex_prefix(sql, 16))
}

/// The first bytes of the SHA-256 of a text, in hexadecimal.
fn sha256_hex_prefix(text: &str, bytes: usize) -> String {
    let sha256 = Sha256::digest(text.as_bytes());
    let hex: Vec<_> = sha256.iter().take(bytes).map(|byte| format!("{byte:02x}")).collect();
    hex.concat()
}
