//! The only HTTP to the outside: one file a kind of service, each a translation of its words.
//!
//! Called by the scheduler. A provider never sleeps, never retries (but once with a new token, where
//! tokens are fetched), touches no store and decides no job's state. To add a kind: its file, and a line each at `mod`, in [`crate::config::Kind`] and in
//! [`build`].

pub mod classify;
mod connection_check;
mod dataarts;
mod dli;
mod dune;
mod http;
mod huawei;
mod json_fields;
mod json_filter;
mod rate_limit_headers;
mod secret;
mod state_map;

use futures_util::future::BoxFuture;

use reqwest::Url;
use reqwest::header::HeaderValue;

use crate::config::{
    AuthConfig, PollingConfig, ProviderConfig, ProviderKind, SecretRef, StatementCapture,
};
use crate::job::{
    Answer, ConnectionCheck, ListPage, ListWindow, ProviderError, ProviderErrorKind, ProviderName,
    RemoteId, UtcTime,
};

use http::HttpClient;
pub use huawei::sign;
use huawei::{Auth, IamUser, TokenCache};
pub use secret::SecretError;
use state_map::{BuiltinStates, StateMap};

/// One configured account of a service.
pub trait Provider: Send + Sync + std::fmt::Debug {
    /// Whether the service could have given such an id; if not, why.
    ///
    /// # Errors
    /// What such an id looks like.
    fn validate_id(&self, id: &RemoteId) -> Result<(), String>;

    /// Asks once how the job is. `now` is our clock, for answers that name a time.
    fn poll<'a>(&'a self, id: &'a RemoteId, now: UtcTime) -> BoxFuture<'a, Answer>;

    /// Whether the service tells of many jobs in one request.
    fn supports_list(&self) -> bool {
        false
    }

    /// Asks once for a page of the service's list, where it has one.
    fn list<'a>(
        &'a self,
        _window: &'a ListWindow,
        _now: UtcTime,
    ) -> BoxFuture<'a, Answer<ListPage>> {
        let error = ProviderError::new(ProviderErrorKind::Misconfigured, "has no list");
        Box::pin(std::future::ready(Answer::failed(error)))
    }

    /// Asks the service once to stop the job. Only a person orders that; what became of the job tells
    /// the next poll.
    fn cancel<'a>(
        &'a self,
        id: &'a RemoteId,
        now: UtcTime,
    ) -> BoxFuture<'a, Result<(), ProviderError>>;

    /// Asks once, for a job that cannot exist, whether the service knows us and answers.
    fn check_connection(&self, now: UtcTime) -> BoxFuture<'_, ConnectionCheck>;
}

/// Why a provider cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Its secret cannot be read.
    #[error("provider {0}: {1}")]
    Secret(ProviderName, SecretError),
    /// A setting cannot be used.
    #[error("provider {0}: {1}")]
    InvalidSetting(ProviderName, String),
}

/// Makes the provider that `own` describes; reads its secrets.
///
/// # Errors
/// If a secret cannot be read, or a setting cannot be used.
pub fn build(
    name: &ProviderName,
    config: &ProviderConfig,
    polling: &PollingConfig,
    statement_capture: StatementCapture,
) -> Result<Box<dyn Provider>, BuildError> {
    let invalid_setting = |reason: String| BuildError::InvalidSetting(name.clone(), reason);
    let missing_setting = |key: &str| invalid_setting(format!("{key} is not set"));
    let read_secret = |reference: &SecretRef| {
        secret::read(reference).map_err(|error| BuildError::Secret(name.clone(), error))
    };
    let http = HttpClient::new(config.effective_polling(polling).request_timeout)
        .map_err(invalid_setting)?;
    let base_url = config.base_url().ok_or_else(|| missing_setting("base_url"))?;
    let base_url =
        Url::parse(&base_url).map_err(|error| invalid_setting(format!("base_url: {error}")))?;
    let huawei_client = |http, base_url| {
        let auth = match config.auth.as_ref().ok_or_else(|| missing_setting("auth"))? {
            AuthConfig::Token(token) => Auth::Token(read_secret(token)?),
            AuthConfig::Password { user, password, domain, project } => {
                let iam_url = config.iam_url().ok_or_else(|| missing_setting("iam_url"))?;
                let iam_url = Url::parse(&iam_url)
                    .map_err(|error| invalid_setting(format!("iam_url: {error}")))?;
                Auth::Password(TokenCache::new(IamUser {
                    iam_url,
                    name: user.clone(),
                    password: read_secret(password)?,
                    domain: domain.clone(),
                    project: project.clone().or_else(|| config.region.clone()),
                    project_id: config.project_id.clone().unwrap_or_default(),
                }))
            }
            AuthConfig::AccessKey { ak, sk, security_token } => Auth::AccessKey {
                access_key: sign::AccessKey { id: read_secret(ak)?, secret: read_secret(sk)? },
                security_token: security_token.as_ref().map(read_secret).transpose()?,
            },
        };
        let project_id = config.project_id.clone().ok_or_else(|| missing_setting("project_id"))?;
        HeaderValue::from_str(&project_id)
            .map_err(|_| invalid_setting("project_id: not a header's text".into()))?;
        Ok(huawei::HuaweiClient { http, base_url, project_id, auth })
    };
    let state_map = |prefix, builtin_states: BuiltinStates| {
        StateMap::new(prefix, builtin_states, &config.state_map).map_err(invalid_setting)
    };
    Ok(match config.kind {
        ProviderKind::Dune => {
            let api_key = config.api_key.as_ref().ok_or_else(|| missing_setting("api_key"))?;
            let state_map = state_map(dune::STATE_PREFIX, dune::BUILTIN_STATES)?;
            Box::new(dune::DuneProvider {
                http,
                base_url,
                api_key: read_secret(api_key)?,
                state_map,
            })
        }
        ProviderKind::Dli => {
            let state_map = state_map("", dli::BUILTIN_STATES)?;
            Box::new(dli::DliProvider {
                client: huawei_client(http, base_url)?,
                statement_capture,
                state_map,
            })
        }
        ProviderKind::DataArts => {
            let workspace = config.workspace_id.as_deref().map(str::parse).transpose();
            let workspace = workspace
                .map_err(|_| invalid_setting("workspace_id: not a header's text".into()))?;
            let state_map = state_map("", dataarts::BUILTIN_STATES)?;
            Box::new(dataarts::DataArtsProvider {
                client: huawei_client(http, base_url)?,
                workspace,
                state_map,
            })
        }
    })
}
