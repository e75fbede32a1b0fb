//! Jobs of Huawei's Data Lake Insight: `GET {base}/v1.0/{project_id}/jobs/{job_id}/status`, or many
//! of them in one request (`list`).
//!
//! Words and fields are those of "Querying Job Status" (`dli_02_0021`) in both revisions, with and
//! without `job_mode`, `tags` and SCALING. All fields are optional but the state. `is_success` speaks
//! of the request, never of the job.

mod list;

use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::config::StatementCapture;
use crate::job::{
    Answer, ConnectionCheck, ListPage, ListWindow, Observation, ObservedState, ProviderError,
    ProviderErrorKind, ProviderTimes, RemoteId, SimilarityKeys, UtcTime,
};

use super::Provider;
use super::connection_check::build_connection_check;
use super::http::{HttpResponse, parse_answer};
use super::huawei::{
    HuaweiClient, HuaweiRequest, NONEXISTENT_ID, is_permission_error, rejection_error,
    rejection_error_from_body,
};
use super::json_fields::{
    MAX_PROVIDER_STATE_BYTES, MAX_TEXT_BYTES, collect_detail, is_ascii_id, non_empty_str,
    parse_duration_ms, parse_epoch_ms, parse_number, parse_object, parse_run_duration_ms,
    scalar_only, truncate,
};
use super::state_map::{BuiltinStates, StateMap};

/// One project's jobs.
#[derive(Debug)]
pub(super) struct DliProvider {
    pub(super) client: HuaweiClient,
    pub(super) statement_capture: StatementCapture,
    pub(super) state_map: StateMap,
}

pub(super) const BUILTIN_STATES: BuiltinStates = &[
    ("LAUNCHING", ObservedState::Pending),
    ("RUNNING", ObservedState::Running),
    ("SCALING", ObservedState::Running),
    ("FINISHED", ObservedState::Succeeded),
    ("FAILED", ObservedState::Failed),
    ("CANCELLED", ObservedState::Cancelled),
    ("CANCELED", ObservedState::Cancelled),
];

impl DliProvider {
    async fn poll_job(&self, id: &RemoteId, now: UtcTime) -> Answer {
        let project = self.client.project_id.as_str();
        let path = ["v1.0", project, "jobs", id.as_str(), "status"];
        let reply = self.client.send(HuaweiRequest::get(&path), now).await;
        parse_answer(reply, |reply| parse_status(reply, id, self))
    }

    async fn cancel_job(&self, id: &RemoteId, now: UtcTime) -> Result<(), ProviderError> {
        let project = self.client.project_id.as_str();
        let path = ["v1.0", project, "jobs", id.as_str()];
        let request = HuaweiRequest { method: Method::DELETE, ..HuaweiRequest::get(&path) };
        let reply = self.client.send(request, now).await?;
        if reply.status != StatusCode::OK {
            return Err(rejection_error(&reply));
        }
        let body: Map<String, Value> = parse_object(&reply.body)?;
        if body.get("is_success") == Some(&Value::Bool(false)) {
            return Err(unsuccessful_response_error(&reply.body, body.get("message")));
        }
        Ok(())
    }

    async fn probe_connection(&self, now: UtcTime) -> ConnectionCheck {
        let path = ["v1.0", self.client.project_id.as_str(), "jobs", NONEXISTENT_ID, "status"];
        let reply = self.client.send(HuaweiRequest::get(&path), now).await;
        build_connection_check(reply, now, is_permission_error, rejection_error)
    }
}

impl Provider for DliProvider {
    fn validate_id(&self, id: &RemoteId) -> Result<(), String> {
        if is_ascii_id(id.as_str()) {
            Ok(())
        } else {
            Err("a DLI job id has at most 128 letters, digits, _ and -, such as \
                 208b08d4-0dc2-4dd7-8879-ddd4c020d7aa"
                .into())
        }
    }

    fn poll<'a>(&'a self, id: &'a RemoteId, now: UtcTime) -> BoxFuture<'a, Answer> {
        Box::pin(self.poll_job(id, now))
    }

    fn supports_list(&self) -> bool {
        true
    }

    fn list<'a>(&'a self, window: &'a ListWindow, now: UtcTime) -> BoxFuture<'a, Answer<ListPage>> {
        Box::pin(self.request_list_page(window, now))
    }

    fn cancel<'a>(
        &'a self,
        id: &'a RemoteId,
        now: UtcTime,
    ) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(self.cancel_job(id, now))
    }

    fn check_connection(&self, now: UtcTime) -> BoxFuture<'_, ConnectionCheck> {
        Box::pin(self.probe_connection(now))
    }
}

/// The body of a 200, or a row of a list; a field that comes twice spoils it.
#[derive(Debug, Deserialize)]
struct DliJobStatus {
    is_success: Option<Value>,
    message: Option<Value>,
    job_id: Option<Value>,
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

fn parse_status(
    reply: &HttpResponse,
    expected_id: &RemoteId,
    provider: &DliProvider,
) -> Result<Observation, ProviderError> {
    if reply.status != StatusCode::OK {
        return Err(rejection_error(reply));
    }
    let malformed = |reason: String| ProviderError::new(ProviderErrorKind::Malformed, reason);
    let status: DliJobStatus = parse_object(&reply.body)
        .or_else(|error| repair_unescaped_message(&reply.body).ok_or(error))?;
    if status.is_success == Some(Value::Bool(false)) {
        return Err(unsuccessful_response_error(&reply.body, status.message.as_ref()));
    }
    let is_other_id = |id: &Value| !id.is_null() && id.as_str() != Some(expected_id.as_str());
    if status.job_id.as_ref().is_some_and(is_other_id) {
        return Err(malformed("an answer for another job".into()));
    }
    parse_observation(status, provider)
}

/// What is told of the job, whichever it is.
fn parse_observation(
    status: DliJobStatus,
    provider: &DliProvider,
) -> Result<Observation, ProviderError> {
    let malformed = |reason: String| ProviderError::new(ProviderErrorKind::Malformed, reason);
    let provider_state = non_empty_str(status.status.as_ref())
        .filter(|provider_state| provider_state.len() <= MAX_PROVIDER_STATE_BYTES)
        .ok_or_else(|| malformed("the state is missing or too long".into()))?
        .to_owned();
    let observed_state =
        provider.state_map.lookup(&provider_state).unwrap_or(ObservedState::Unknown);
    let message = non_empty_str(status.message.as_ref())
        .map(|text| truncate(text, MAX_TEXT_BYTES).to_owned());
    let is_terminal = observed_state.to_state().is_terminal();
    let ended_at = if is_terminal { end_time(&status) } else { None };
    let listed_at = parse_epoch_ms(status.start_time.as_ref());
    Ok(Observation {
        list_time: listed_at,
        source: name_part(status.queue_name.as_ref()),
        credits: None,
        similarity_keys: similarity_keys(&status, provider.statement_capture),
        reported_duration: parse_run_duration_ms(status.duration.as_ref()).filter(|_| is_terminal),
        state: observed_state,
        provider_state,
        times: ProviderTimes { ended_at, ..ProviderTimes::default() },
        message,
        detail: status_detail(status, provider.statement_capture),
    })
}

/// Jobs of one queue and type are alike, and those with the same statement more so. Where no statement
/// is to be kept, none is heeded: a list drops it while it comes in, and tells the same as an answer.
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

/// Jobs are cancelled after 12 h by default; what is longer than this is no duration.
const MAX_DURATION: Duration = Duration::from_hours(10 * 365 * 24);

/// `start_time + duration`. Whether `start_time` is the submission or the start is not documented,
/// so it is neither; it stays in the detail.
fn end_time(status: &DliJobStatus) -> Option<UtcTime> {
    let reported = parse_epoch_ms(status.end_time.as_ref());
    reported.or_else(|| {
        let started_at = parse_epoch_ms(status.start_time.as_ref())?;
        let duration =
            parse_duration_ms(status.duration.as_ref()).filter(|took| *took < MAX_DURATION)?;
        Some(started_at.plus(duration))
    })
}

/// A 200 that says that the request failed; its `message` may be an error's JSON in text.
fn unsuccessful_response_error(body: &[u8], message: Option<&Value>) -> ProviderError {
    let nested_error =
        non_empty_str(message).and_then(|text| serde_json::from_str::<Value>(text).ok());
    let body = nested_error.unwrap_or_else(|| serde_json::from_slice(body).unwrap_or_default());
    let error = rejection_error_from_body(StatusCode::OK, &body);
    if error.kind != ProviderErrorKind::Malformed {
        return error;
    }
    // A 200 without a known error code says only that the request failed.
    let reason = truncate(non_empty_str(message).unwrap_or("no reason is given"), 512);
    let message = format!("HTTP 200: is_success is false: {reason}");
    ProviderError::new(ProviderErrorKind::Transient, message)
}

/// The older document's example has JSON in `message` with its quotes not escaped. An answer broken
/// in just that way is read: the text ends where the next field of the document begins.
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

/// Equal for equal statements: the first half of its SHA-256.
fn statement_hash(sql: &str) -> String {
    format!("sha256:{}", sha256_hex_prefix(sql, 16))
}

/// The first bytes of a text's SHA-256.
fn sha256_hex_prefix(text: &str, bytes: usize) -> String {
    let sha256 = Sha256::digest(text.as_bytes());
    let hex: Vec<_> = sha256.iter().take(bytes).map(|byte| format!("{byte:02x}")).collect();
    hex.concat()
}
