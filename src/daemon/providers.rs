//! Config → providers that can be asked, with the tracker's rules for each.

use crate::config::{Config, PolicyName, PollingConfig, ProviderConfig};
use crate::job::{Grace, ProviderName, Utc};
use crate::policy::{Backoff, Rule};
use crate::provider::{self, BuildError};
use crate::scheduler::{Configured, Fatal, Providers, renamings};
use crate::store::{Batch, Writer};
use crate::tracker::{LaneSettings, Policy};

/// All providers of the config; their secrets are read.
pub(super) fn build_all(config: &Config) -> Result<Providers, BuildError> {
    let built = config.providers.iter().map(|(name, own)| {
        let provider = provider::build(name, own, &config.polling, config.store.statement)?;
        let settings = settings(name, own, config, provider.lists());
        let kind = own.kind.as_str();
        let (provider, formerly) = (provider.into(), own.formerly.clone());
        Ok((name.clone(), Configured { kind, settings, provider, formerly }))
    });
    built.collect()
}

/// At a start, before the jobs are loaded. A name that must not be changed is no reason not to serve
/// all others: its jobs wait, visibly, as those of a provider that is not configured.
pub(super) async fn rename(
    writer: &mut Writer,
    providers: &Providers,
    now: Utc,
) -> Result<(), Fatal> {
    let renamings = renamings(providers);
    if renamings.is_empty() {
        return Ok(());
    }
    let batch = Batch { renamings, at: Some(now), ..Batch::default() };
    let committed = writer.write(&batch).await?;
    for renamed in &committed.renamed {
        tracing::info!("{renamed}");
    }
    if let Some(conflict) = committed.conflict {
        tracing::error!("{conflict}; until then, and a reload, the jobs of former names wait");
    }
    Ok(())
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
        policy: policy(&polling),
        backoff: Backoff { min: polling.min_interval, max: polling.max_interval },
        give_up_after: polling.give_up_after,
        lost_after: Grace { seen: polling.lost_after, unseen: polling.lost_after_unseen },
        request_timeout: polling.request_timeout,
        lists,
    }
}

fn policy(polling: &PollingConfig) -> Policy {
    match polling.policy {
        PolicyName::Learned => Policy::Learned(Rule {
            price: polling.price,
            min_interval: polling.min_interval,
            promises: true,
        }),
        PolicyName::Backoff => Policy::Backoff,
    }
}
