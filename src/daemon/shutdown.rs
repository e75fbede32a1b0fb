//! The end of the daemon: first the server is stopped, then the scheduler, so that every request on the
//! control socket is answered and everything that is decided is committed.
//!
//! Called by `serve` on every exit path after the start of the scheduler.

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::control::{ReloadReplySender, SocketFileGuard};
use crate::scheduler::{SchedulerError, SchedulerHandle};
use crate::store::Reader;

use super::exit::ExitError;
use super::signals::ShutdownSignals;

pub(super) struct RunningServer {
    pub(super) shutdown: CancellationToken,
    pub(super) task: JoinHandle<()>,
    pub(super) socket_file: SocketFileGuard,
    pub(super) reload_requests: mpsc::Receiver<ReloadReplySender>,
}

impl RunningServer {
    /// Answers the requests in progress, then removes the socket file. A signal skips the requests.
    pub(super) async fn stop(self, signals: &mut ShutdownSignals) {
        // A client that waits for a reload receives an error instead of no answer.
        drop(self.reload_requests);
        self.shutdown.cancel();
        let mut task = self.task;
        // A task that `serve` has seen to end must not be awaited again.
        if !task.is_finished() {
            tokio::select! {
                _ = &mut task => {}
                _ = signals.recv() => task.abort(),
            }
        }
        drop(self.socket_file);
    }
}

pub(super) struct RunningScheduler {
    pub(super) handle: SchedulerHandle,
    pub(super) reader: Reader,
    pub(super) shutdown: CancellationToken,
    pub(super) task: JoinHandle<Result<(), SchedulerError>>,
    /// Notifies systemd while the scheduler makes progress, until the scheduler is stopped.
    pub(super) watchdog: AbortOnDropHandle<()>,
}

impl RunningScheduler {
    /// Commits what is decided and closes the database; a signal does not interrupt this.
    ///
    /// # Errors
    /// Why the scheduler failed, now or earlier.
    pub(super) async fn stop(self) -> Result<(), ExitError> {
        self.shutdown.cancel();
        match self.task.await {
            Ok(result) => result.map_err(ExitError::from),
            Err(error) => Err(ExitError::io(error.into())),
        }
    }
}

/// The daemon does not run on without one of its tasks: it exits, and the service manager restarts
/// it.
pub(super) fn unexpected_task_end(task: &str, joined: Result<(), JoinError>) -> ExitError {
    let reason = joined.err().map_or_else(|| "it returned".to_owned(), |error| error.to_string());
    ExitError::io(anyhow::anyhow!("the task of the {task} ended unexpectedly: {reason}"))
}
