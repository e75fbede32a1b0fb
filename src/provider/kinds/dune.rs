//! Kind `dune`: Dune query executions, `GET {base}/api/v1/execution/{id}/status`.
//!
//! Source of states and fields: Dune's API reference, "Get execution status", in the revisions of 2022
//! and of 2025; the two spell "cancelled" differently. Only `execution_id` and `state` are in every
//! answer. `/results` is never requested: unlike the status it costs credits.

use futures_util::future::BoxFuture;
use reqwest::header::HeaderName;
use reqwest::{Method, StatusCode, Url};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::config::{KindSchema, SecretRef, SettingError, SettingsTable};
use crate::job::{
    Answer, ConnectionCheck, Observation, ObservedState, ProviderError, ProviderErrorKind,
    ProviderTimes, RemoteId, SimilarityKeys, UtcTime,
};
use crate::provider::Provider;
use crate::provider::classify::{self, ErrorResponse, ErrorRule, Matcher};
use crate::provider::connection_check::build_connection_check;
use crate::provider::http::{
    HttpClient, HttpRequest, HttpResponse, parse_answer, sensitive_header,
};
use crate::provider::json_fields::{
    MAX_PROVIDER_STATE_BYTES, MAX_TEXT_BYTES, collect_detail, is_ascii_id, parse_integer,
    parse_object, parse_rfc3339, parse_run_duration_ms, scalar_only, select_fields, truncate,
};
use crate::provider::secret;
use crate::provider::service_url::ServiceUrl;
use crate::provider::state_map::{BuiltinStates, StateMap};

use super::{BuildContext, Kind};

/// The kind.
#[derive(Debug)]
pub(super) struct Dune;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DuneSettings {
    base_url: Option<ServiceUrl>,
    api_key: SecretRef,
}

impl DuneSettings {
    fn base_url(&self) -> Result<ServiceUrl, String> {
        let default = || ServiceUrl::try_from("https://api.dune.com".to_owned());
        self.base_url.clone().map_or_else(default, Ok).map_err(|error| format!("base_url {error}"))
    }
}

impl KindSchema for Dune {
    fn name(&self) -> &'static str {
        "dune"
    }

    /// Dune's free plan allows 40 a minute for the whole account; other programs may use it too.
    fn default_requests_per_minute(&self) -> u32 {
        30
    }

    fn validate(
        &self,
        settings: &SettingsTable,
    ) -> Result<Vec<(&'static str, String)>, Vec<SettingError>> {
        let settings: DuneSettings = settings.parse().map_err(|error| vec![error])?;
        let base_url =
            settings.base_url().map_err(|error| vec![SettingError::new("base_url", error)])?;
        Ok(vec![("base_url", format!("{:?}", base_url.to_string()))])
    }
}

impl Kind for Dune {
    fn build(
        &self,
        settings: &SettingsTable,
        context: BuildContext<'_>,
    ) -> Result<Box<dyn Provider>, String> {
        let settings: DuneSettings = settings.parse().map_err(|error| error.to_string())?;
        Ok(Box::new(DuneProvider {
            http: context.http,
            base_url: settings.base_url()?.into_url(),
            api_key: secret::read(&settings.api_key).map_err(|error| error.to_string())?,
            state_map: StateMap::new(STATE_PREFIX, BUILTIN_STATES, context.user_states)?,
        }))
    }

    fn error_rules(&self) -> &'static [ErrorRule] {
        ERROR_RULES
    }
}

/// Dune's errors have no codes, only messages.
const ERROR_RULES: &[ErrorRule] = &[
    (Matcher::Message(404, &["object not found"]), ProviderErrorKind::NotFound),
    (Matcher::Message(400, &["execution id", "invalid"]), ProviderErrorKind::NotFound),
];

/// A well-formed id that no execution has.
const NONEXISTENT_ID: &str = "00000000000000000000000000";

/// One Dune account.
#[derive(Debug)]
struct DuneProvider {
    http: HttpClient,
    base_url: Url,
    api_key: SecretString,
    state_map: StateMap,
}

/// Precedes every state in the revision of 2022 and later.
const STATE_PREFIX: &str = "QUERY_STATE_";

const BUILTIN_STATES: BuiltinStates = &[
    ("PENDING", ObservedState::Pending),
    ("EXECUTING", ObservedState::Running),
    ("COMPLETED", ObservedState::Succeeded),
    // The result was cut at a size limit.
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
                "HTTP 200, but success is false",
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
        let request = HttpRequest {
            method,
            url,
            headers,
            body: Vec::new(),
            secrets_to_redact: Vec::new(),
            body_filter: None,
            max_bytes: HttpClient::MAX_BODY_BYTES,
        };
        self.http.send(request, now).await
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

/// The body of a 200. A field of an unexpected type is dropped; a field that occurs twice makes the
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
    let query = parse_integer(query_id).filter(|id| *id > 0);
    SimilarityKeys::from_provider(query.map(|id| format!("query {id}")))
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

/// The error for an unsuccessful answer, whose body is `{"error": "<message>"}`.
fn rejection_error(reply: &HttpResponse) -> ProviderError {
    let body: Option<Value> = serde_json::from_slice(&reply.body).ok();
    let message =
        body.as_ref().and_then(|body| error_message(body.get("error"))).unwrap_or_default();
    let message = truncate(&message, 512);
    let response = ErrorResponse { status: reply.status.as_u16(), code: "", message };
    classify::provider_error(response, ERROR_RULES, message)
}
