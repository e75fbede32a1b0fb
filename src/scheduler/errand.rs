//! Errands: requests to a provider that somebody ordered and that are no polls. They count on its
//! budget, go at once, and change no job: what became of it is for the next poll to see.

use std::collections::HashMap;

use tokio::sync::oneshot;
use tokio::task::{self, JoinError, JoinSet};

use crate::clock::Clock;
use crate::job::{Checkup, ProviderName, RemoteId};
use crate::store::Renaming;
use crate::tracker::Input;

use super::outbox::Waiter;
use super::{Refusal, Scheduler};

/// Those under way, and on whose budget. Each tells its own waiter what came of it.
#[derive(Debug, Default)]
pub(super) struct Errands {
    tasks: JoinSet<()>,
    providers: HashMap<task::Id, ProviderName>,
}

impl Errands {
    fn start(&mut self, name: ProviderName, errand: impl Future<Output = ()> + Send + 'static) {
        let task = self.tasks.spawn(errand);
        self.providers.insert(task.id(), name);
    }

    /// Whose budget the next one that ends was on; none if none is under way.
    pub(super) async fn ended(&mut self) -> Option<ProviderName> {
        let id = match self.tasks.join_next_with_id().await? {
            Ok((id, ())) => id,
            Err(error) => JoinError::id(&error),
        };
        self.providers.remove(&id)
    }

    /// Those of a former name are on the budget of the name now.
    pub(super) fn rename(&mut self, Renaming { to, from, .. }: &Renaming) {
        for name in self.providers.values_mut().filter(|name| from.contains(name)) {
            name.clone_from(to);
        }
    }

    /// Ends those under way; who waits for one is told that we end.
    pub(super) async fn shutdown(&mut self) {
        self.tasks.shutdown().await;
    }
}

impl Scheduler {
    /// Asks the provider to stop a job.
    pub(super) fn cancel(&mut self, name: ProviderName, id: RemoteId, waiter: Waiter) {
        let Some(known) = self.providers.get(&name) else {
            let _ = waiter.send(Err(self.no_provider(&name)));
            return;
        };
        let provider = known.provider.clone();
        self.errands.start(name.clone(), async move {
            let asked = provider.cancel(&id, Clock::wall()).await;
            let _ = waiter.send(asked.map_err(Refusal::Upstream));
        });
        self.step(Input::ErrandBegun(name));
    }

    /// Asks the provider whether all is well between us.
    pub(super) fn check(
        &mut self,
        name: ProviderName,
        waiter: oneshot::Sender<Result<Checkup, Refusal>>,
    ) {
        let Some(known) = self.providers.get(&name) else {
            let _ = waiter.send(Err(self.no_provider(&name)));
            return;
        };
        let provider = known.provider.clone();
        self.errands.start(name.clone(), async move {
            let _ = waiter.send(Ok(provider.check(Clock::wall()).await));
        });
        self.step(Input::ErrandBegun(name));
    }
}
