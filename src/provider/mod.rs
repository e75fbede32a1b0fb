//! The only HTTP to the outside: one file a kind of service, each a translation of its words.
//!
//! Called by the scheduler. A provider never sleeps, never retries, touches no store and decides no
//! job's state. To add a kind: its file, and a line each at `mod`, in [`crate::config::Kind`] and in
//! [`build`].

mod dataarts;
mod dli;
mod dune;
mod fields;
mod http;
mod huawei;
mod pace;
mod secret;
mod sieve;

use futures_util::future::BoxFuture;

use reqwest::Url;

use crate::config::{Kind, PollingConfig, ProviderConfig, SecretRef, Statement};
use crate::job::{Answer, ProviderName, RemoteId, Utc};

use http::Http;
pub use secret::SecretError;

/// One configured account of a service.
pub trait Provider: Send + Sync + std::fmt::Debug {
    /// Whether the service could have given such an id; if not, why.
    ///
    /// # Errors
    /// What such an id looks like.
    fn check_id(&self, id: &RemoteId) -> Result<(), String>;

    /// Asks once how the job is. `now` is our clock, for answers that name a time.
    fn poll<'a>(&'a self, id: &'a RemoteId, now: Utc) -> BoxFuture<'a, Answer>;
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

/// Makes the provider that `own` describes; reads its secret.
///
/// # Errors
/// If the secret cannot be read.
pub fn build(
    name: &ProviderName,
    own: &ProviderConfig,
    polling: &PollingConfig,
    statement: Statement,
) -> Result<Box<dyn Provider>, BuildError> {
    let setting = |why: String| BuildError::Setting(name.clone(), why);
    let missing = |key: &str| setting(format!("{key} is not set"));
    let secret = |reference: Option<&SecretRef>, key| {
        let reference = reference.ok_or_else(|| missing(key))?;
        secret::read(reference).map_err(|error| BuildError::Secret(name.clone(), error))
    };
    let http = Http::new(own.polling(polling).request_timeout).map_err(setting)?;
    let base = own.base_url().ok_or_else(|| missing("base_url"))?;
    let base = Url::parse(&base).map_err(|error| setting(format!("base_url: {error}")))?;
    let huawei = |http, base| {
        let token = secret(own.auth.as_ref().map(|auth| &auth.token), "auth")?;
        let project_id = own.project_id.clone().ok_or_else(|| missing("project_id"))?;
        Ok(huawei::Account { http, base, project_id, token })
    };
    Ok(match own.kind {
        Kind::Dune => {
            Box::new(dune::Dune { http, base, key: secret(own.api_key.as_ref(), "api_key")? })
        }
        Kind::Dli => Box::new(dli::Dli { account: huawei(http, base)?, statement }),
        Kind::DataArts => {
            let workspace = own.workspace.as_deref().map(str::parse).transpose();
            let workspace =
                workspace.map_err(|_| setting("workspace: not a header's text".into()))?;
            Box::new(dataarts::DataArts { account: huawei(http, base)?, workspace })
        }
    })
}
