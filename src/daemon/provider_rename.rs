//! `previous_names` of a provider: jobs stored under a previous name become the provider's own.
//!
//! [`rename_at_start`] lets the store rename everything in one transaction before the scheduler
//! loads the jobs, so that no job in memory has a previous name. A reload renames nothing;
//! [`pending_renames`] describes what the next start will rename.

use std::collections::BTreeMap;

use crate::config::Config;
use crate::job::{ProviderName, UtcTime, counted};
use crate::scheduler::SchedulerSnapshot;
use crate::store::{ProviderRename, WriteError, Writer};

/// Each previous name with the provider that claims it. The validation of the config makes sure
/// that no two providers claim the same name.
pub(super) type CurrentNameByPrevious = BTreeMap<ProviderName, ProviderName>;

/// Renames in the database, and returns the names that are in force from now on.
///
/// A conflict renames nothing and returns no names, but does not prevent the start: the jobs of all
/// other providers are polled, and those of a previous name wait like jobs of any provider that is
/// not configured.
pub(super) async fn rename_at_start(
    writer: &mut Writer,
    config: &Config,
    now: UtcTime,
) -> Result<CurrentNameByPrevious, WriteError> {
    let provider_renames = requested_renames(config);
    if provider_renames.is_empty() {
        return Ok(CurrentNameByPrevious::new());
    }
    match writer.rename_providers(&provider_renames, now).await? {
        Ok(applied) => {
            for renamed in &applied {
                tracing::info!("{renamed}");
            }
            Ok(previous_names(config))
        }
        Err(conflict) => {
            tracing::error!(
                "{conflict}; then restart jobtrackd: until then these jobs are not polled"
            );
            Ok(CurrentNameByPrevious::new())
        }
    }
}

/// The renames of a reloaded config that are left to the next start, one line each, with the number
/// of unfinished jobs that are not polled until then.
pub(super) fn pending_renames(
    in_force: &CurrentNameByPrevious,
    config: &Config,
    snapshot: &SchedulerSnapshot,
) -> Vec<String> {
    let unfinished_jobs = |name: &ProviderName| {
        let reports = snapshot.providers.iter().map(|provider| &provider.report);
        reports.filter(|report| report.provider == *name).map(|report| report.active_jobs).sum()
    };
    let mut lines = Vec::new();
    for (from, to) in previous_names(config) {
        let jobs: u64 = unfinished_jobs(&from);
        // Jobs can get a name again that an earlier start renamed.
        if in_force.get(&from) == Some(&to) && jobs == 0 {
            continue;
        }
        lines.push(format!(
            "providers.{to}.previous_names ({from} becomes {to}; not polled until then: {} of {from})",
            counted(jobs, "unfinished job")
        ));
    }
    lines
}

fn previous_names(config: &Config) -> CurrentNameByPrevious {
    let claims = config.providers.iter().flat_map(|(name, provider)| {
        provider.previous_names.iter().map(|previous| (previous.clone(), name.clone()))
    });
    claims.collect()
}

fn requested_renames(config: &Config) -> Vec<ProviderRename> {
    let requests =
        config.providers.iter().filter(|(_, provider)| !provider.previous_names.is_empty());
    let renames = requests.map(|(name, provider)| ProviderRename {
        to: name.clone(),
        kind: provider.kind,
        from: provider.previous_names.clone(),
    });
    renames.collect()
}
