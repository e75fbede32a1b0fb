//! The only HTTP to the outside: one file a kind of service, each a translation of its words.
//!
//! Called by the scheduler. A provider never sleeps, never retries (but once with a new token, where
//! tokens are fetched), touches no store and decides no job's state. To add a kind: its file, and a line each at `mod`, in [`crate::config::Kind`] and in
//! [`build`].

mod checkup;
mod dataarts;
mod dli;
mod dune;
mod fields;
mod http;
mod huawei;
pub mod meaning;
mod pace;
mod secret;
mod sieve;
mod words;

use futures_util::future::BoxFuture;

use reqwest::Url;
use reqwest::header::HeaderValue;

use crate::config::{AuthConfig, Kind, PollingConfig, ProviderConfig, SecretRef, Statement};
use crate::job::{Answer, Checkup, Listing, Page, ProviderError, ProviderName, RemoteId, Utc};

use http::Http;
pub use huawei::sign;
use huawei::{Auth, Tokens, User};
pub use secret::SecretError;
use words::{Known, Words};

/// One configured account of a service.
pub trait Provider: Send + Sync + std::fmt::Debug {
    /// Whether the service could have given such an id; if not, why.
    ///
    /// # Errors
    /// What such an id looks like.
    fn check_id(&self, id: &RemoteId) -> Result<(), String>;

    /// Asks once how the job is. `now` is our clock, for answers that name a time.
    fn poll<'a>(&'a self, id: &'a RemoteId, now: Utc) -> BoxFuture<'a, Answer>;

    /// Whether the service tells of many jobs in one request.
    fn lists(&self) -> bool {
        false
    }

    /// Asks once for a page of the service's list, where it has one.
    fn list<'a>(&'a self, _page: &'a Page, _now: Utc) -> BoxFuture<'a, Listing> {
        let error = ProviderError::Misconfigured("has no list".into());
        Box::pin(std::future::ready(Listing::failed(error)))
    }

    /// Asks the service once to stop the job. Only a person orders that; what became of the job tells
    /// the next poll.
    fn cancel<'a>(&'a self, id: &'a RemoteId, now: Utc)
    -> BoxFuture<'a, Result<(), ProviderError>>;

    /// Asks once, for a job that cannot exist, whether the service knows us and answers.
    fn check(&self, now: Utc) -> BoxFuture<'_, Checkup>;
}

/// Why a provider cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Its secret cannot be read.
    #[error("provider {0}: {1}")]
    Secret(ProviderName, SecretError),
    /// A setting cannot be used.
    #[error("provider {0}: {1}")]
    Setting(ProviderName, String),
}

/// Makes the provider that `own` describes; reads its secrets.
///
/// # Errors
/// If a secret cannot be read, or a setting cannot be used.
pub fn build(
    name: &ProviderName,
    own: &ProviderConfig,
    polling: &PollingConfig,
    statement: Statement,
) -> Result<Box<dyn Provider>, BuildError> {
    let setting = |why: String| BuildError::Setting(name.clone(), why);
    let missing = |key: &str| setting(format!("{key} is not set"));
    let secret = |reference: &SecretRef| {
        secret::read(reference).map_err(|error| BuildError::Secret(name.clone(), error))
    };
    let http = Http::new(own.polling(polling).request_timeout).map_err(setting)?;
    let base = own.base_url().ok_or_else(|| missing("base_url"))?;
    let base = Url::parse(&base).map_err(|error| setting(format!("base_url: {error}")))?;
    let huawei = |http, base| {
        let auth = match own.auth.as_ref().ok_or_else(|| missing("auth"))? {
            AuthConfig::Token(token) => Auth::Token(secret(token)?),
            AuthConfig::Password { user, password, domain, project } => {
                let iam = own.iam_url().ok_or_else(|| missing("iam_url"))?;
                let iam = Url::parse(&iam).map_err(|error| setting(format!("iam_url: {error}")))?;
                Auth::Password(Tokens::new(User {
                    iam,
                    name: user.clone(),
                    password: secret(password)?,
                    domain: domain.clone(),
                    project: project.clone().or_else(|| own.region.clone()),
                    project_id: own.project_id.clone().unwrap_or_default(),
                }))
            }
            AuthConfig::Signed { ak, sk, security_token } => Auth::Signed {
                key: sign::Key { ak: secret(ak)?, sk: secret(sk)? },
                security_token: security_token.as_ref().map(secret).transpose()?,
            },
        };
        let project_id = own.project_id.clone().ok_or_else(|| missing("project_id"))?;
        HeaderValue::from_str(&project_id)
            .map_err(|_| setting("project_id: not a header's text".into()))?;
        Ok(huawei::Account { http, base, project_id, auth })
    };
    let words = |prefix, known: Known| Words::new(prefix, known, &own.states).map_err(setting);
    Ok(match own.kind {
        Kind::Dune => {
            let key = own.api_key.as_ref().ok_or_else(|| missing("api_key"))?;
            let words = words(dune::PREFIX, dune::WORDS)?;
            Box::new(dune::Dune { http, base, key: secret(key)?, words })
        }
        Kind::Dli => {
            let words = words("", dli::WORDS)?;
            Box::new(dli::Dli { account: huawei(http, base)?, statement, words })
        }
        Kind::DataArts => {
            let workspace = own.workspace.as_deref().map(str::parse).transpose();
            let workspace =
                workspace.map_err(|_| setting("workspace: not a header's text".into()))?;
            let words = words("", dataarts::WORDS)?;
            Box::new(dataarts::DataArts { account: huawei(http, base)?, workspace, words })
        }
    })
}
