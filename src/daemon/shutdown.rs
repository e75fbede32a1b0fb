//! The end of the daemon: tasks are stopped in a fixed order, so that everything that is decided is
//! committed and every request on the control socket is answered.

use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::control::SocketFileGuard;
use crate::scheduler::{SchedulerError, SchedulerHandle};
use crate::store::Reader;
use crate::systemd;

use super::exit::ExitError;
use super::signals::ShutdownSignals;

/// What has to be stopped, in this order.
pub(super) struct ShutdownSequence {
    pub(super) server_shutdown: CancellationToken,
    pub(super) server_task: JoinHandle<()>,
    pub(super) socket_file: SocketFileGuard,
    pub(super) handle: SchedulerHandle,
    pub(super) scheduler_shutdown: CancellationToken,
    pub(super) scheduler_task: JoinHandle<Result<(), SchedulerError>>,
    pub(super) reader: Reader,
}

impl ShutdownSequence {
    /// Answers the requests in progress, then commits what is decided. A second signal skips the
    /// requests but not the commit.
    pub(super) async fn run(mut self, mut signals: ShutdownSignals) -> Result<(), ExitError> {
        systemd::notify_stopping();
        self.server_shutdown.cancel();
        tokio::select! {
            _ = &mut self.server_task => {}
            _ = signals.recv() => self.server_task.abort(),
        }
        drop(self.socket_file);
        drop(self.handle);
        self.scheduler_shutdown.cancel();
        let result = scheduler_result(self.scheduler_task.await);
        // A query that takes long, such as the check of a large database, is abandoned.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.reader.close()).await;
        result
    }
}

pub(super) fn scheduler_result(
    joined: Result<Result<(), SchedulerError>, JoinError>,
) -> Result<(), ExitError> {
    match joined {
        Ok(result) => result.map_err(ExitError::from),
        Err(error) => Err(ExitError::io(error.into())),
    }
}

/// The daemon does not run on without one of its tasks: it exits, and the service manager restarts
/// it.
pub(super) fn unexpected_task_end(task: &str, joined: Result<(), JoinError>) -> ExitError {
    let reason = joined.err().map_or_else(|| "it returned".to_owned(), |error| error.to_string());
    ExitError::io(anyhow::anyhow!("the task of the {task} ended unexpectedly: {reason}"))
}
