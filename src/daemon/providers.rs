//! Builds the configured providers, each with the tracker's settings for it. A start, a reload and
//! `jobtrackd --check` use it.

use crate::config::{Config, PolicyName, PollingConfig, ProviderConfig};
use crate::job::{NotFoundTimeout, ProviderName};
use crate::policy::{Backoff, LearnedPolicySettings};
use crate::provider::{self, BuildError, NewTransport};
use crate::scheduler::{ConfiguredProvider, Providers};
use crate::tracker::{PollPolicy, ProviderSettings};

/// Builds all providers of the config, which reads their secrets.
///
/// # Errors
/// If a secret cannot be read, or a setting cannot be used.
pub fn build_providers(
    config: &Config,
    new_transport: &NewTransport,
) -> Result<Providers, BuildError> {
    let built = config.providers.iter().map(|(name, provider_config)| {
        let provider =
            provider::build(name, provider_config, config.store.statement, new_transport)?;
        let settings = provider_settings(name, provider_config, provider.supports_list());
        let kind = provider_config.kind;
        Ok((name.clone(), ConfiguredProvider { kind, settings, provider: provider.into() }))
    });
    built.collect()
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
    }
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
