//! Other providers in the place of those that were. Where one bears another name, the store renames
//! first, between two batches; then all that is under way follows.

use tokio::sync::oneshot;

use crate::store::{Committed, Renamed, Renaming};
use crate::tracker::Input;

use super::{Providers, Refusal, Scheduler};

/// The former names that were found, or why the providers are not in force.
pub(super) type ConfigureReply = Result<Vec<Renamed>, Refusal>;

/// Providers that are in force once the store has renamed.
#[derive(Debug)]
pub(super) struct Configuring {
    pub(super) providers: Providers,
    pub(super) reply: oneshot::Sender<ConfigureReply>,
}

impl Configuring {
    /// A caller that went away is not missed.
    pub(super) fn refuse(self, why: Refusal) {
        let _ = self.reply.send(Err(why));
    }
}

/// What the former names of these providers ask of the store.
#[must_use]
pub fn renamings(providers: &Providers) -> Vec<Renaming> {
    let renamed = providers.iter().filter(|(_, known)| !known.formerly.is_empty());
    let renamings = renamed.map(|(name, known)| Renaming {
        to: name.clone(),
        kind: known.kind,
        from: known.formerly.clone(),
    });
    renamings.collect()
}

impl Scheduler {
    /// Puts the providers in force, at once if no name is to be changed before.
    pub(super) fn reconfigure(&mut self, new: Configuring) {
        // None overtakes one that waits: the last word counts.
        if renamings(&new.providers).is_empty() && !self.pen.is_configuring() {
            self.configure(new.providers);
            let _ = new.reply.send(Ok(Vec::new()));
        } else {
            self.pen.outbox.configure(new);
        }
    }

    /// The store has renamed, or must not.
    pub(super) fn renamed(&mut self, new: Configuring, committed: &mut Committed) {
        if let Some(conflict) = committed.conflict.take() {
            return new.refuse(Refusal::Storage(conflict.to_string()));
        }
        let renamings = renamings(&new.providers);
        self.configure(new.providers);
        for renaming in &renamings {
            self.pen.outbox.rename(renaming);
            self.errands.rename(renaming);
            for from in &renaming.from {
                let (from, to) = (from.clone(), renaming.to.clone());
                self.step(Input::Renamed { from, to });
            }
        }
        let _ = new.reply.send(Ok(std::mem::take(&mut committed.renamed)));
    }
}
