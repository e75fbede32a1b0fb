//! Kind `dune`: Dune query executions, `GET {base}/api/v1/execution/{id}/status`.
//!
//! Source of states and fields: Dune's API reference, "Get execution status", in the revisions of 2022
//! and of 2025; the two spell "cancelled" differently. Only `execution_id` and `state` are in every
//! answer. `/results` is never requested: unlike the status it costs credits.

mod error;
mod status;

use futures_util::future::BoxFuture;
use reqwest::header::HeaderName;
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;

use crate::config::{KindSchema, SecretRef, SettingError, SettingsTable};
use crate::job::{
    Answer, ConnectionCheck, ObservedState, ProviderError, ProviderErrorKind, RemoteId,
    ServiceHints, UtcTime,
};
use crate::provider::Provider;
use crate::provider::answer_json::{FieldTable, read_object};
use crate::provider::classify::ErrorRule;
use crate::provider::connection_check::build_connection_check;
use crate::provider::http::{
    HttpClient, HttpRequest, HttpResponse, parse_answer, sensitive_header,
};
use crate::provider::json_fields::is_ascii_id;
use crate::provider::renewable_secrets::{RenewableSecrets, SecretValues};
use crate::provider::secret::SecretUse;
use crate::provider::service_url::ServiceUrl;
use crate::provider::state_map::{BuiltinStates, StateMap};

use super::{BuildContext, Kind};
use error::{ERROR_RULES, is_key_accepted, is_key_rejected, rejection_error};
use status::parse_status;

/// Registers the kind `dune`; the settings are in [`DuneSettings`].
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
            api_key: RenewableSecrets::read([settings.api_key.clone()], SecretUse::Key)
                .map_err(|error| error.to_string())?,
            state_map: StateMap::new(STATE_PREFIX, BUILTIN_STATES, context.user_states)?,
        }))
    }

    fn error_rules(&self) -> &'static [&'static [ErrorRule]] {
        ERROR_RULES
    }
}

/// A well-formed id that no execution has, for the connection check.
const NONEXISTENT_ID: &str = "00000000000000000000000000";

const HINTS: ServiceHints = ServiceHints {
    credential: "store a valid key where api_key points",
    permission: "use a key of an account that may read the execution",
    ..ServiceHints::GENERIC
};

#[derive(Debug)]
struct DuneProvider {
    http: HttpClient,
    base_url: Url,
    api_key: RenewableSecrets,
    state_map: StateMap,
}

/// The prefix of every state in the revision of 2022 and later.
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

/// The answer to a cancellation.
const CANCEL_FIELDS: FieldTable = FieldTable { id: None, deciding: &["success"], kept: &[] };

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
        let response = self.send(Method::GET, &path, now).await;
        parse_answer(response, |response| parse_status(response, id, &self.state_map))
    }

    async fn cancel_execution(&self, id: &RemoteId, now: UtcTime) -> Answer<()> {
        let path = ["api", "v1", "execution", id.as_str(), "cancel"];
        parse_answer(self.send(Method::POST, &path, now).await, |response| {
            if response.status != StatusCode::OK {
                return Err(rejection_error(response));
            }
            let fields = read_object(&response.body, &CANCEL_FIELDS)?;
            if fields.deciding_flag("success")? == Some(false) {
                return Err(ProviderError::new(
                    ProviderErrorKind::Malformed,
                    "HTTP 200, but success is false",
                ));
            }
            Ok(())
        })
    }

    async fn send_connection_check(&self, now: UtcTime) -> ConnectionCheck {
        let path = ["api", "v1", "execution", NONEXISTENT_ID, "status"];
        let response = self.send(Method::GET, &path, now).await;
        let is_permission_error =
            |response: &HttpResponse| response.status == StatusCode::FORBIDDEN;
        build_connection_check(response, HINTS, is_permission_error, rejection_error)
    }

    /// Sends a request, once. If the key is rejected, its place is read again.
    async fn send(
        &self,
        method: Method,
        segments: &[&str],
        now: UtcTime,
    ) -> Result<HttpResponse, ProviderError> {
        let key = self.api_key.values_for_request().await;
        let mut response = self.send_with_key(method, segments, &key, now).await?;
        if is_key_accepted(&response) {
            self.api_key.mark_accepted(&key);
        }
        if is_key_rejected(&response) {
            response.credential_replaced = self.api_key.renewed(&key).await.is_some();
        }
        Ok(response)
    }

    async fn send_with_key(
        &self,
        method: Method,
        segments: &[&str],
        key: &SecretValues,
        now: UtcTime,
    ) -> Result<HttpResponse, ProviderError> {
        let name = HeaderName::from_static("x-dune-api-key");
        let headers = key.iter().map(|key| sensitive_header(name.clone(), key));
        let request = HttpRequest {
            method,
            url: self.endpoint_url(segments)?,
            headers: headers.collect::<Result<_, _>>()?,
            body: Vec::new(),
            secrets_to_redact: Vec::new(),
            dropped_keys: &[],
            max_bytes: HttpClient::MAX_BODY_BYTES,
        };
        self.http.send(request, now).await
    }
}

impl Provider for DuneProvider {
    fn validate_id(&self, id: &RemoteId) -> Result<(), String> {
        let is_number = id.as_str().bytes().all(|byte| byte.is_ascii_digit());
        if is_number && !id.is_ulid() {
            Err("a Dune execution id is not a number, which may be that of a query; it looks like \
                 01GBM4W2N0NMCGPZYW8AYK4YF1"
                .into())
        } else if is_ascii_id(id.as_str()) {
            Ok(())
        } else {
            Err("a Dune execution id has at most 128 letters, digits, _ and -, such as \
                 01GBM4W2N0NMCGPZYW8AYK4YF1"
                .into())
        }
    }

    fn doubt_id(&self, id: &RemoteId) -> Option<&'static str> {
        let expected = "all known Dune execution ids are ULIDs, 26 letters and digits such as \
                        01GBM4W2N0NMCGPZYW8AYK4YF1";
        (!id.is_ulid()).then_some(expected)
    }

    fn credential_fingerprint(&self) -> u64 {
        self.api_key.fingerprint()
    }

    fn renew_rejected_secrets(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.api_key.renew_if_rejected())
    }

    fn poll<'a>(&'a self, id: &'a RemoteId, now: UtcTime) -> BoxFuture<'a, Answer> {
        Box::pin(self.poll_execution(id, now))
    }

    fn cancel<'a>(&'a self, id: &'a RemoteId, now: UtcTime) -> BoxFuture<'a, Answer<()>> {
        Box::pin(self.cancel_execution(id, now))
    }

    fn check_connection(&self, now: UtcTime) -> BoxFuture<'_, ConnectionCheck> {
        Box::pin(self.send_connection_check(now))
    }
}
