//! Builds the providers of a configuration, and the tracker's settings for each.
//!
//! Called at a start, on a reload and by `jobtrackd --check`. Building reads the secrets.

use crate::config::{Config, PolicyName, PollingConfig, ProviderConfig};
use crate::job::{NotFoundTimeout, ProviderName, UtcTime};
use crate::policy::{Backoff, PollRule};
use crate::provider::{self, BuildError};
use crate::scheduler::{ConfiguredProvider, Providers, SchedulerError, provider_renames};
use crate::store::{Batch, Writer};
use crate::tracker::{PollPolicy, ProviderSettings};

/// Builds all providers; reads their secrets.
pub(super) fn build_providers(config: &Config) -> Result<Providers, BuildError> {
    let built = config.providers.iter().map(|(name, provider_config)| {
        let provider = provider::build(name, provider_config, config.store.statement)?;
        let settings = provider_settings(name, provider_config, provider.supports_list());
        let kind = provider_config.kind;
        let (provider, formerly) = (provider.into(), provider_config.previous_names.clone());
        Ok((
            name.clone(),
            ConfiguredProvider { kind, settings, provider, previous_names: formerly },
        ))
    });
    built.collect()
}

/// At a start, before the jobs are loaded. A name that must not be changed is no reason not to serve
/// all others: its jobs wait, visibly, as those of a provider that is not configured.
pub(super) async fn apply_renames(
    writer: &mut Writer,
    providers: &Providers,
    now: UtcTime,
) -> Result<(), SchedulerError> {
    let renamings = provider_renames(providers);
    if renamings.is_empty() {
        return Ok(());
    }
    let batch = Batch { provider_renames: renamings, written_at: Some(now), ..Batch::default() };
    let committed = writer.write(&batch).await?;
    for renamed in &committed.applied_renames {
        tracing::info!("{renamed}");
    }
    if let Some(conflict) = committed.rename_conflict {
        tracing::error!("{conflict}; until then, and a reload, the jobs of former names wait");
    }
    Ok(())
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
        PolicyName::Learned => PollPolicy::Learned(PollRule {
            price: polling.price,
            min_interval: polling.min_interval,
            enforce_max_wait: true,
        }),
        PolicyName::Backoff => PollPolicy::Backoff,
    }
}
