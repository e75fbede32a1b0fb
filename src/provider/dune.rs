//! Dune query executions: `GET {base}/api/v1/execution/{id}/status`, header `x-dune-api-key`.
//!
//! Words and fields are those of Dune's "Get execution status" page, of 2022 and of today; both
//! spellings of "cancelled" are in use. Nothing is sure to be in an answer but the id and the state.

use futures_util::future::BoxFuture;
use reqwest::header::HeaderName;
use reqwest::{Method, StatusCode, Url};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::job::{
    Answer, ConnectionCheck, Observation, ObservedState, ProviderError, ProviderErrorKind,
    ProviderTimes, RemoteId, SimilarityKeys, UtcTime,
};

use super::Provider;
use super::classify::{self, ErrorResponse};
use super::connection_check::build_connection_check;
use super::http::{HttpClient, HttpRequest, HttpResponse, parse_answer, sensitive_header};
use super::json_fields::{
    MAX_PROVIDER_STATE_BYTES, MAX_TEXT_BYTES, collect_detail, is_ascii_id, parse_integer,
    parse_object, parse_rfc3339, parse_run_duration_ms, scalar_only, select_fields, truncate,
};
use super::state_map::{BuiltinStates, StateMap};

/// Well formed, and no execution's.
const NONEXISTENT_ID: &str = "00000000000000000000000000";

/// One Dune account.
#[derive(Debug)]
pub(super) struct DuneProvider {
    pub(super) http: HttpClient,
    pub(super) base_url: Url,
    pub(super) api_key: SecretString,
    pub(super) state_map: StateMap,
}

/// Before every word, since 2022.
pub(super) const STATE_PREFIX: &str = "QUERY_STATE_";
pub(super) const BUILTIN_STATES: BuiltinStates = &[
    ("PENDING", ObservedState::Pending),
    ("EXECUTING", ObservedState::Running),
    ("COMPLETED", ObservedState::Succeeded),
    ("COMPLETED_PARTIAL", ObservedState::Succeeded),
    ("FAILED", ObservedState::Failed),
    ("CANCELLED", ObservedState::Cancelled),
    ("CANCELED", ObservedState::Cancelled),
    ("EXPIRED", ObservedState::Expired),
];

impl DuneProvider {
    fn endpoint_url(&self, segments: &[&str]) -> Result<Url, ProviderError> {
        let mut url = self.base_url.clone();
        url.path_segments_mut()
            .map_err(|()| {
                ProviderError::new(ProviderErrorKind::Misconfigured, "base_url has no path")
            })?
            .pop_if_empty()
            .extend(segments);
        Ok(url)
    }

    async fn poll_execution(&self, id: &RemoteId, now: UtcTime) -> Answer {
        let path = ["api", "v1", "execution", id.as_str(), "status"];
        let reply = self.send(Method::GET, &path, now).await;
        parse_answer(reply, |reply| parse_status(reply, id, &self.state_map))
    }

    async fn cancel_execution(&self, id: &RemoteId, now: UtcTime) -> Result<(), ProviderError> {
        let path = ["api", "v1", "execution", id.as_str(), "cancel"];
        let reply = self.send(Method::POST, &path, now).await?;
        if reply.status != StatusCode::OK {
            return Err(rejection_error(&reply));
        }
        let body: Map<String, Value> = parse_object(&reply.body)?;
        if body.get("success") == Some(&Value::Bool(false)) {
            return Err(ProviderError::new(
                ProviderErrorKind::Malformed,
                "HTTP 200: success is false",
            ));
        }
        Ok(())
    }

    async fn probe_connection(&self, now: UtcTime) -> ConnectionCheck {
        let path = ["api", "v1", "execution", NONEXISTENT_ID, "status"];
        let reply = self.send(Method::GET, &path, now).await;
        let is_permission_error = |reply: &HttpResponse| reply.status == StatusCode::FORBIDDEN;
        build_connection_check(reply, now, is_permission_error, rejection_error)
    }

    async fn send(
        &self,
        method: Method,
        segments: &[&str],
        now: UtcTime,
    ) -> Result<HttpResponse, ProviderError> {
        let url = self.endpoint_url(segments)?;
        let headers =
            vec![sensitive_header(HeaderName::from_static("x-dune-api-key"), &self.api_key)?];
        let (body, secrets_to_redact) = (Vec::new(), Vec::new());
        let max_bytes = HttpClient::MAX_BODY_BYTES;
        self.http
            .send(
                HttpRequest {
                    method,
                    url,
                    headers,
                    body,
                    secrets_to_redact,
                    body_filter: None,
                    max_bytes,
                },
                now,
            )
            .await
    }
}

impl Provider for DuneProvider {
    fn validate_id(&self, id: &RemoteId) -> Result<(), String> {
        if is_ascii_id(id.as_str()) {
            Ok(())
        } else {
            Err("a Dune execution id has at most 128 letters, digits, _ and -, such as \
                 01GBM4W2N0NMCGPZYW8AYK4YF1"
                .into())
        }
    }

    fn poll<'a>(&'a self, id: &'a RemoteId, now: UtcTime) -> BoxFuture<'a, Answer> {
        Box::pin(self.poll_execution(id, now))
    }

    fn cancel<'a>(
        &'a self,
        id: &'a RemoteId,
        now: UtcTime,
    ) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(self.cancel_execution(id, now))
    }

    fn check_connection(&self, now: UtcTime) -> BoxFuture<'_, ConnectionCheck> {
        Box::pin(self.probe_connection(now))
    }
}

/// The body of a 200. A field of another type than expected is dropped, not guessed at; one that
/// comes twice spoils the answer.
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

fn parse_status(
    reply: &HttpResponse,
    expected_id: &RemoteId,
    state_map: &StateMap,
) -> Result<Observation, ProviderError> {
    if reply.status != StatusCode::OK {
        return Err(rejection_error(reply));
    }
    let status: DuneStatusResponse = parse_object(&reply.body)?;
    if status.execution_id != expected_id.as_str() {
        return Err(ProviderError::new(
            ProviderErrorKind::Malformed,
            "an answer for another execution",
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
    // Times tell more; in the document's own example the two contradict each other.
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

/// Runs of one query are alike; SQL that belongs to none has no number.
fn similarity_keys(query_id: Option<&Value>) -> SimilarityKeys {
    SimilarityKeys::from_provider(query_number(query_id).map(|id| format!("query {id}")))
}

fn query_number(query_id: Option<&Value>) -> Option<i64> {
    parse_integer(query_id).filter(|id| *id > 0)
}

fn error_message(error: Option<&Value>) -> Option<String> {
    let error = error?;
    let text = error
        .as_str()
        .or_else(|| error.get("message")?.as_str())
        .or_else(|| error.get("type")?.as_str())?;
    Some(truncate(text, MAX_TEXT_BYTES).to_owned())
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

/// Dune's errors are `{"error":"<text>"}`; there are no codes.
fn rejection_error(reply: &HttpResponse) -> ProviderError {
    let body: Option<Value> = serde_json::from_slice(&reply.body).ok();
    let message =
        body.as_ref().and_then(|body| error_message(body.get("error"))).unwrap_or_default();
    let message = truncate(&message, 512);
    classify::provider_error(
        ErrorResponse { status: reply.status.as_u16(), code: "", dune_message: message },
        message,
    )
}
