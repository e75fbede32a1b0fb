//! Other providers in the place of those that were. Where one bears another name, the store renames
//! first, between two batches; then all that is under way follows.

use tokio::sync::oneshot;

use crate::store::{AppliedRename, CommitReport, ProviderRename};

use super::{CommandError, Providers, Scheduler};

/// The former names that were found, or why the providers are not in force.
pub(super) type ConfigureResult = Result<Vec<AppliedRename>, CommandError>;

/// Providers that are in force once the store has renamed.
#[derive(Debug)]
pub(super) struct PendingConfigure {
    pub(super) providers: Providers,
    pub(super) reply: oneshot::Sender<ConfigureResult>,
}

impl PendingConfigure {
    /// A caller that went away is not missed.
    pub(super) fn reject(self, reason: CommandError) {
        let _ = self.reply.send(Err(reason));
    }
}

/// What the former names of these providers ask of the store.
#[must_use]
pub fn provider_renames(providers: &Providers) -> Vec<ProviderRename> {
    let with_previous_names =
        providers.iter().filter(|(_, configured)| !configured.previous_names.is_empty());
    let renames = with_previous_names.map(|(name, configured)| ProviderRename {
        to: name.clone(),
        kind: configured.kind,
        from: configured.previous_names.clone(),
    });
    renames.collect()
}

impl Scheduler {
    /// Puts the providers in force, at once if no name is to be changed before.
    pub(super) fn handle_configure(&mut self, pending: PendingConfigure) {
        // None overtakes one that waits: the last word counts.
        if provider_renames(&pending.providers).is_empty()
            && !self.committer.has_pending_configure()
        {
            self.apply_providers(pending.providers);
            let _ = pending.reply.send(Ok(Vec::new()));
        } else {
            self.committer.queue.set_pending_configure(pending);
        }
    }

    /// The store has renamed, or must not.
    pub(super) fn finish_configure(
        &mut self,
        pending: PendingConfigure,
        report: &mut CommitReport,
    ) {
        if let Some(conflict) = report.rename_conflict.take() {
            return pending.reject(CommandError::Storage(conflict.to_string()));
        }
        let renames = provider_renames(&pending.providers);
        self.apply_providers(pending.providers);
        for rename in &renames {
            self.committer.queue.rename_providers(rename);
            self.on_demand.rename_providers(rename);
        }
        let _ = pending.reply.send(Ok(std::mem::take(&mut report.applied_renames)));
    }
}
