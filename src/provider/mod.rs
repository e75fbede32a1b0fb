//! The only HTTP to the outside: one file a kind of service, each a translation of its words.
//!
//! Called by the scheduler. A provider never sleeps, never retries, touches no store and decides no
//! job's state. To add a kind: its file, and a line each at `mod`, in [`crate::config::Kind`] and in
//! [`build`].

mod dune;
mod http;
mod pace;
mod secret;

use futures_util::future::BoxFuture;

use crate::config::{Kind, PollingConfig, ProviderConfig};
use crate::job::{Answer, ProviderName, RemoteId, Utc};

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
    Secret(ProviderName, #[source] SecretError),
    /// The HTTP client cannot be made.
    #[error("provider {0}: the HTTP client cannot be set up: {1}")]
    Client(ProviderName, String),
}

/// Makes the provider that `config` describes; reads its secret.
///
/// # Errors
/// If the secret cannot be read.
pub fn build(
    name: &ProviderName,
    config: &ProviderConfig,
    polling: &PollingConfig,
) -> Result<Box<dyn Provider>, BuildError> {
    let timeout = config.polling(polling).request_timeout;
    let http = http::Http::new(timeout).map_err(|why| BuildError::Client(name.clone(), why))?;
    let secret = |reference: &Option<_>| match reference {
        Some(reference) => {
            secret::read(reference).map_err(|error| BuildError::Secret(name.clone(), error))
        }
        None => Err(BuildError::Client(name.clone(), "no key is configured".into())),
    };
    match config.kind {
        Kind::Dune => dune::Dune::new(http, config.base_url(), secret(&config.api_key)?)
            .map(|dune| Box::new(dune) as Box<dyn Provider>)
            .map_err(|why| BuildError::Client(name.clone(), why)),
    }
}
