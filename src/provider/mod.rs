//! The requests to remote services; no other module sends any. Each kind of service is one implementation of [`Provider`].
//!
//! Called by the scheduler; built by the daemon from the configuration. A provider never waits between
//! requests and never retries: if a credential was rejected and another one is available, the answer says so,
//! and the tracker sends the request again. Only a request for a token is repeated at once, with a password
//! that was replaced at its place; it goes to IAM, which is another service. A provider uses no database and
//! decides no job's state. The kinds are listed in `kinds`.

mod answer_json;
pub mod classify;
mod connection_check;
mod connection_error;
mod deadline;
mod decoded_text;
mod foreign_body;
mod http;
mod huawei_profile;
mod json_fields;
mod json_limiter;
mod json_structure;
mod kinds;
mod proxy;
mod rate_limit_fields;
mod rate_limit_headers;
mod redaction;
mod renewable_secrets;
mod secret;
mod secret_file;
mod secret_form;
mod service_url;
mod state_map;
mod transport;

use futures_util::future::BoxFuture;

use crate::config::{KindSchema, ProviderConfig, StatementCapture};
use crate::job::{
    Answer, ConnectionCheck, ListPage, ListPageQuery, ProviderError, ProviderErrorKind,
    ProviderName, RemoteId, UtcTime,
};

use classify::ErrorRule;
use deadline::DeadlineProvider;
use http::HttpClient;
use kinds::{BuildContext, KINDS};
pub use kinds::{SharedCredentials, sign};
pub use transport::{NewTransport, Transport, network};

/// One configured account of a service.
pub trait Provider: Send + Sync + std::fmt::Debug {
    /// Checks whether the service could have issued this id.
    ///
    /// # Errors
    /// A description of valid ids.
    fn validate_id(&self, id: &RemoteId) -> Result<(), String>;

    /// What all known ids of the service look like, if this one does not.
    fn doubt_id(&self, _id: &RemoteId) -> Option<&'static str> {
        None
    }

    /// Requests a job's state, once. `now` is the local clock: the age of tokens and the date of signatures are
    /// computed from it, and a relative `Retry-After` if the response has no `Date`.
    fn poll<'a>(&'a self, id: &'a RemoteId, now: UtcTime) -> BoxFuture<'a, Answer>;

    /// A number that changes with the credentials and reveals nothing about them. A pause after rejections
    /// ends when it changes.
    fn credential_fingerprint(&self) -> u64;

    /// Reads the secrets again if the service rejected them, and takes over what has changed. Called while the
    /// provider is paused.
    fn renew_rejected_secrets(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Whether the service reports many jobs in one response.
    fn supports_list(&self) -> bool {
        false
    }

    /// Requests one page of the service's list of jobs, once.
    fn list<'a>(
        &'a self,
        _window: &'a ListPageQuery,
        _now: UtcTime,
    ) -> BoxFuture<'a, Answer<ListPage>> {
        let error = ProviderError::new(
            ProviderErrorKind::Misconfigured,
            "this kind of provider has no list",
        );
        Box::pin(std::future::ready(Answer::failed(error)))
    }

    /// Requests the service to stop the job, once. Success means that the service accepted the request;
    /// only a later poll shows the state.
    fn cancel<'a>(&'a self, id: &'a RemoteId, now: UtcTime) -> BoxFuture<'a, Answer<()>>;

    /// Requests the state of a job that cannot exist: the answer "not found" shows that address,
    /// credentials and permissions are right.
    fn check_connection(&self, now: UtcTime) -> BoxFuture<'_, ConnectionCheck>;
}

/// A provider cannot be built from its settings.
#[derive(Debug, thiserror::Error)]
#[error("provider {provider}: {reason}")]
pub struct BuildError {
    provider: ProviderName,
    reason: String,
}

/// Builds a provider; reads its secrets. The daemon passes [`network`].
///
/// # Errors
/// If a secret cannot be read, or a setting cannot be used.
pub fn build(
    name: &ProviderName,
    config: &ProviderConfig,
    statement_capture: StatementCapture,
    new_transport: &NewTransport,
    shared_credentials: &SharedCredentials,
) -> Result<Box<dyn Provider>, BuildError> {
    let build = || {
        let kind = KINDS.iter().find(|kind| kind.name() == config.kind);
        let kind =
            kind.ok_or_else(|| format!("kind: {} is not a kind of provider", config.kind))?;
        let context = BuildContext {
            http: HttpClient::new(new_transport(
                config.polling.request_timeout,
                &config.connection,
            )?),
            user_states: &config.state_map,
            statement_capture,
            shared_credentials,
        };
        let provider = kind.build(&config.settings, context)?;
        let request_timeout = config.polling.request_timeout;
        Ok(Box::new(DeadlineProvider::new(provider, request_timeout)) as Box<dyn Provider>)
    };
    build().map_err(|reason| BuildError { provider: name.clone(), reason })
}

/// The kinds, for [`crate::config::load()`].
#[must_use]
pub fn kind_schemas() -> [&'static dyn KindSchema; KINDS.len()] {
    KINDS.map(|kind| kind as &'static dyn KindSchema)
}

/// Every rule by which an unsuccessful response is classified, for documentation and tests.
pub fn error_rules() -> impl Iterator<Item = &'static ErrorRule> {
    let kind_rules = KINDS.iter().flat_map(|kind| kind.error_rules()).copied().flatten();
    classify::SERVER_ERROR_RULES.iter().chain(kind_rules).chain(classify::STATUS_RULES)
}
