//! Config → providers that can be asked, with the tracker's rules for each.

use crate::config::{Config, ProviderConfig};
use crate::job::{Grace, ProviderName};
use crate::policy::Backoff;
use crate::provider::{self, BuildError};
use crate::scheduler::{Configured, Providers};
use crate::tracker::{LaneSettings, Policy};

/// All providers of the config; their secrets are read.
pub(super) fn build_all(config: &Config) -> Result<Providers, BuildError> {
    let built = config.providers.iter().map(|(name, own)| {
        let provider = provider::build(name, own, &config.polling, config.store.statement)?;
        let settings = settings(name, own, config, provider.lists());
        let kind = own.kind.as_str();
        Ok((name.clone(), Configured { kind, settings, provider: provider.into() }))
    });
    built.collect()
}

fn settings(
    name: &ProviderName,
    own: &ProviderConfig,
    config: &Config,
    lists: bool,
) -> LaneSettings {
    let polling = own.polling(&config.polling);
    LaneSettings {
        name: name.clone(),
        account: own.account.as_ref().map(|account| account.as_str().to_owned()),
        requests_per_minute: own.requests_per_minute(),
        max_in_flight: own.max_in_flight(),
        policy: Policy::Backoff,
        backoff: Backoff { min: polling.min_interval, max: polling.max_interval },
        give_up_after: polling.give_up_after,
        lost_after: Grace { seen: polling.lost_after, unseen: polling.lost_after_unseen },
        request_timeout: polling.request_timeout,
        lists,
    }
}
