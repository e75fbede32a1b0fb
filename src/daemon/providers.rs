//! Builds the configured providers, each with the tracker's settings for it. A start, a reload and
//! `jobtrackd --check` use it.
//!
//! The file of a secret may block a read: a pipe without a writer, a file system that hangs. Secrets are
//! therefore read in a thread of their own, which is waited for at most [`READ_TIMEOUT`].

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crate::config::{Config, PolicyName, PollingConfig, ProviderConfig};
use crate::job::{NotFoundTimeout, ProviderName};
use crate::policy::{Backoff, LearnedPolicySettings};
use crate::provider::{self, BuildError, NewTransport, Provider, SharedCredentials};
use crate::scheduler::{ConfiguredProvider, Providers};
use crate::tracker::{PollPolicy, ProviderSettings};

/// How long a start or a reload waits for the config and all secrets.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The config or the secrets cannot be read in time.
#[derive(Debug, thiserror::Error)]
#[error(
    "the configuration and its secrets could not be read within {} s: a file system does not answer",
    READ_TIMEOUT.as_secs()
)]
pub(super) struct ReadTimeout;

/// Runs `read` in a thread that may block, and waits for it for a limited time.
///
/// # Errors
/// If it takes too long. The thread then goes on, and its result is dropped.
pub(super) async fn read_in_thread<T: Send + 'static>(
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ReadTimeout> {
    let reading = tokio::task::spawn_blocking(read);
    match tokio::time::timeout(READ_TIMEOUT, reading).await {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(error)) => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(ReadTimeout),
    }
}

/// Builds all providers of the config, which reads their secrets.
///
/// # Errors
/// If a secret cannot be read, or a setting cannot be used.
pub fn build_providers(
    config: &Config,
    new_transport: &NewTransport,
    shared_credentials: &SharedCredentials,
) -> Result<Providers, BuildError> {
    let built = config.providers.iter().map(|(name, provider_config)| {
        let provider = provider::build(
            name,
            provider_config,
            config.store.statement,
            new_transport,
            shared_credentials,
        )?;
        let settings = ProviderSettings {
            connection_fingerprint: connection_fingerprint(provider_config, &*provider),
            ..provider_settings(name, provider_config, provider.supports_list())
        };
        let kind = provider_config.kind;
        Ok((name.clone(), ConfiguredProvider { kind, settings, provider: provider.into() }))
    });
    built.collect()
}

/// Reads secrets again that services rejected. Returns the providers whose credentials have changed, as the
/// tracker should know, because their pauses end.
pub(super) async fn renew_rejected_secrets(
    config: &Config,
    providers: &mut Providers,
) -> Vec<ProviderName> {
    for (_, configured) in providers.iter_mut() {
        configured.provider.renew_rejected_secrets().await;
    }
    let mut renewed = Vec::new();
    // Providers may share a secret, so that each is looked at after all were read.
    for (name, configured) in providers.iter_mut() {
        let Some(provider_config) = config.providers.get(name) else { continue };
        let fingerprint = connection_fingerprint(provider_config, &*configured.provider);
        if std::mem::replace(&mut configured.settings.connection_fingerprint, fingerprint)
            != fingerprint
        {
            renewed.push(name.clone());
        }
    }
    renewed
}

fn provider_settings(
    name: &ProviderName,
    provider_config: &ProviderConfig,
    supports_list: bool,
) -> ProviderSettings {
    let polling = &provider_config.polling;
    ProviderSettings {
        name: name.clone(),
        account: provider_config.account.as_ref().map(|account| account.as_str().to_owned()),
        requests_per_minute: provider_config.requests_per_minute,
        max_in_flight: provider_config.max_in_flight,
        policy: build_policy(polling),
        backoff: Backoff { min: polling.min_interval, max: polling.max_interval },
        give_up_after: polling.give_up_after,
        lost_after: NotFoundTimeout {
            previously_seen: polling.lost_after,
            never_seen: polling.lost_after_never_seen,
        },
        request_timeout: polling.request_timeout,
        supports_list,
        connection_fingerprint: 0,
    }
}

/// A number that changes with the address, the proxy, the other settings of the kind, and the credentials.
fn connection_fingerprint(provider_config: &ProviderConfig, provider: &dyn Provider) -> u64 {
    let ProviderConfig { kind, settings, connection, .. } = provider_config;
    let mut hasher = DefaultHasher::new();
    (kind, settings.to_json(), connection, provider.credential_fingerprint()).hash(&mut hasher);
    hasher.finish()
}

fn build_policy(polling: &PollingConfig) -> PollPolicy {
    match polling.policy {
        PolicyName::Learned => PollPolicy::Learned(LearnedPolicySettings {
            price: polling.price,
            min_interval: polling.min_interval,
            enforce_max_wait: true,
        }),
        PolicyName::Backoff => PollPolicy::Backoff,
    }
}
