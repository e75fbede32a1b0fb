//! Errands: requests to a provider that somebody ordered and that are no polls. They count on its
//! budget, go at once, and change no job: what became of it is for the next poll to see.

use std::collections::HashMap;

use tokio::sync::oneshot;
use tokio::task::{self, JoinError, JoinSet};

use crate::clock::Clock;
use crate::job::{ConnectionCheck, ProviderName, RemoteId};
use crate::tracker::Input;

use super::write_queue::ReplySender;
use super::{CommandError, Scheduler};

/// Those under way, and on whose budget. Each tells its own waiter what came of it.
#[derive(Debug, Default)]
pub(super) struct OnDemandRequests {
    tasks: JoinSet<()>,
    provider_by_task: HashMap<task::Id, ProviderName>,
}

impl OnDemandRequests {
    fn start(&mut self, name: ProviderName, request: impl Future<Output = ()> + Send + 'static) {
        let task = self.tasks.spawn(request);
        self.provider_by_task.insert(task.id(), name);
    }

    /// Whose budget the next one that ends was on; none if none is under way.
    pub(super) async fn next_finished(&mut self) -> Option<ProviderName> {
        let id = match self.tasks.join_next_with_id().await? {
            Ok((id, ())) => id,
            Err(error) => JoinError::id(&error),
        };
        self.provider_by_task.remove(&id)
    }

    /// Ends those under way; who waits for one is told that we end.
    pub(super) async fn shutdown(&mut self) {
        self.tasks.shutdown().await;
    }
}

impl Scheduler {
    /// Asks the provider to stop a job.
    pub(super) fn start_cancel(&mut self, name: ProviderName, id: RemoteId, waiter: ReplySender) {
        let Some(configured) = self.providers.get(&name) else {
            let _ = waiter.send(Err(self.provider_not_configured(&name)));
            return;
        };
        let provider = configured.provider.clone();
        self.on_demand.start(name.clone(), async move {
            let result = provider.cancel(&id, Clock::utc_now()).await;
            let _ = waiter.send(result.map_err(CommandError::Upstream));
        });
        self.feed_tracker(Input::OnDemandRequestStarted(name));
    }

    /// Asks the provider whether all is well between us.
    pub(super) fn start_connection_check(
        &mut self,
        name: ProviderName,
        waiter: oneshot::Sender<Result<ConnectionCheck, CommandError>>,
    ) {
        let Some(configured) = self.providers.get(&name) else {
            let _ = waiter.send(Err(self.provider_not_configured(&name)));
            return;
        };
        let provider = configured.provider.clone();
        self.on_demand.start(name.clone(), async move {
            let _ = waiter.send(Ok(provider.check_connection(Clock::utc_now()).await));
        });
        self.feed_tracker(Input::OnDemandRequestStarted(name));
    }
}
