//! On-demand requests to providers that are not polls: cancels and connection checks.
//!
//! Each runs as a task and replies to its own caller. The scheduler reports its start and its end to
//! the tracker, which counts it on the account's rate limit. It changes no job: a cancelled job's
//! state is found by the next poll.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::{self, JoinError, JoinSet};

use crate::job::{ConnectionCheck, ProviderName, RemoteId, UtcTime};
use crate::provider::Provider;

use super::error::CommandError;
use super::handle::ReplySender;

#[derive(Debug, Default)]
pub(super) struct CancelAndCheckTasks {
    tasks: JoinSet<()>,
    provider_by_task: HashMap<task::Id, ProviderName>,
}

impl CancelAndCheckTasks {
    pub(super) fn start_cancel(
        &mut self,
        name: ProviderName,
        provider: Arc<dyn Provider>,
        id: RemoteId,
        now: UtcTime,
        reply: ReplySender<()>,
    ) {
        self.start(name, async move {
            let result = provider.cancel(&id, now).await;
            let _ = reply.send(result.map_err(CommandError::Upstream));
        });
    }

    pub(super) fn start_connection_check(
        &mut self,
        name: ProviderName,
        provider: Arc<dyn Provider>,
        now: UtcTime,
        reply: ReplySender<ConnectionCheck>,
    ) {
        self.start(name, async move {
            let _ = reply.send(Ok(provider.check_connection(now).await));
        });
    }

    fn start(&mut self, name: ProviderName, request: impl Future<Output = ()> + Send + 'static) {
        let task = self.tasks.spawn(request);
        self.provider_by_task.insert(task.id(), name);
    }

    /// The provider of the next request that ends, even by a panic; `None` if none is running.
    pub(super) async fn next_finished(&mut self) -> Option<ProviderName> {
        let id = match self.tasks.join_next_with_id().await? {
            Ok((id, ())) => id,
            Err(error) => JoinError::id(&error),
        };
        self.provider_by_task.remove(&id)
    }

    /// Aborts all requests; their callers receive [`CommandError::ShuttingDown`].
    pub(super) async fn shutdown(&mut self) {
        self.tasks.shutdown().await;
    }
}
