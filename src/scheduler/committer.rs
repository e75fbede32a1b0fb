//! The writing hand of the scheduler: when a batch goes to the writer, and what a failure means.
//!
//! A commit runs as a task and is never cancelled, only awaited; meanwhile the next batch gathers in
//! the outbox. What failed goes out again, later and later, until the failure is one that waiting
//! does not mend.

use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};

use crate::clock::Clock;
use crate::job::{JobId, MonotonicTime};
use crate::store::{Batch, CommitReport, StoreHealth, WriteError, Writer};

use super::handle::CommandError;
use super::write_queue::{PendingReplies, WriteQueue};

#[derive(Debug)]
pub(super) struct Committer {
    pub(super) queue: WriteQueue,
    state: CommitState,
    flush_at: MonotonicTime,
    heartbeat_at: MonotonicTime,
    store_health: StoreHealth,
    failures: WriteFailures,
}

#[derive(Debug)]
enum CommitState {
    Idle(Box<Writer>),
    Writing {
        task: JoinHandle<WriteResult>,
        replies: PendingReplies,
        change_count: usize,
    },
    /// Between the two.
    Transitioning,
}

/// The writer comes back with its batch.
type WriteResult = (Box<Writer>, Batch, Result<CommitReport, WriteError>);

/// How writing has failed lately.
#[derive(Debug, Default)]
struct WriteFailures {
    last_error: Option<String>,
    consecutive_failures: u32,
    consecutive_io_errors: u32,
    retry_at: MonotonicTime,
    /// An add whose commit failed may be in the database all the same, and be held by nobody.
    resync_jobs: bool,
}

/// A batch that is committed.
#[derive(Debug)]
pub(super) struct BatchOutcome {
    pub(super) batch: Batch,
    pub(super) report: CommitReport,
    pub(super) replies: PendingReplies,
    /// The jobs of the database must be loaded again: some may not be held.
    pub(super) resync_jobs: bool,
    /// Jobs of which the database would not take what is to be written.
    pub(super) unwritable_jobs: Vec<JobId>,
}

impl Committer {
    /// Bookkeeping is written this often, not at each poll.
    const FLUSH_INTERVAL: Duration = Duration::from_secs(2);
    /// With nothing to write, a sign of life is.
    const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(30);
    const MAX_CONSECUTIVE_IO_ERRORS: u32 = 3;

    pub(super) fn new(writer: Writer, now: MonotonicTime) -> Self {
        Self {
            queue: WriteQueue::default(),
            state: CommitState::Idle(Box::new(writer)),
            flush_at: now,
            heartbeat_at: now.plus(Self::HEARTBEAT_INTERVAL),
            store_health: StoreHealth::default(),
            failures: WriteFailures::default(),
        }
    }

    /// Begins to write what waits, if the writer rests and the time has come.
    pub(super) fn start_if_due(&mut self, now: MonotonicTime) {
        if self.next_wakeup().is_none_or(|at| at > now) {
            return;
        }
        match std::mem::replace(&mut self.state, CommitState::Transitioning) {
            CommitState::Idle(mut writer) => {
                let (mut batch, replies) = self.queue.next_batch();
                batch.written_at = Some(Clock::utc_now());
                self.flush_at = now.plus(Self::FLUSH_INTERVAL);
                self.heartbeat_at = now.plus(Self::HEARTBEAT_INTERVAL);
                let change_count = batch.changes.len();
                let task = tokio::spawn(async move {
                    let result = writer.write(&batch).await;
                    (writer, batch, result)
                });
                self.state = CommitState::Writing { task, replies, change_count };
            }
            busy @ (CommitState::Writing { .. } | CommitState::Transitioning) => self.state = busy,
        }
    }

    /// When there is something to begin; none while a batch is being written.
    pub(super) fn next_wakeup(&self) -> Option<MonotonicTime> {
        if !matches!(self.state, CommitState::Idle(_)) {
            return None;
        }
        let due_at = if self.queue.is_urgent() {
            MonotonicTime::default()
        } else if self.queue.is_empty() {
            self.heartbeat_at
        } else {
            self.flush_at
        };
        Some(due_at.max(self.failures.retry_at))
    }

    /// The end of the batch that is being written; for ever if there is none.
    pub(super) async fn wait_for_write(&mut self) -> Result<WriteResult, JoinError> {
        match &mut self.state {
            CommitState::Writing { task, .. } => task.await,
            CommitState::Idle(_) | CommitState::Transitioning => std::future::pending().await,
        }
    }

    /// Takes in what became of the batch: none if it goes out again, an error if that is hopeless.
    pub(super) fn handle_write_result(
        &mut self,
        (writer, batch, result): WriteResult,
        now: MonotonicTime,
    ) -> Result<Option<BatchOutcome>, WriteError> {
        let replies = match std::mem::replace(&mut self.state, CommitState::Idle(writer)) {
            CommitState::Writing { replies, .. } => replies,
            CommitState::Idle(_) | CommitState::Transitioning => PendingReplies::default(),
        };
        match result {
            Ok(report) => {
                if let Some(task) =
                    batch.maintenance.clone().filter(|_| report.maintenance_unfinished)
                {
                    self.queue.push_maintenance(task);
                }
                self.record_store_health(report.health.clone());
                let failures = std::mem::take(&mut self.failures);
                if failures.last_error.is_some() {
                    tracing::info!("the database can be written again");
                }
                Ok(Some(BatchOutcome {
                    batch,
                    report,
                    replies,
                    resync_jobs: failures.resync_jobs,
                    unwritable_jobs: Vec::new(),
                }))
            }
            Err(error @ WriteError::Rejected(_)) => {
                Ok(self.queue.isolate_rejected(batch, replies, &error.to_string()))
            }
            Err(error) => {
                let rejection = match &error {
                    WriteError::Busy => None,
                    WriteError::NoSpace(_)
                    | WriteError::Io(_)
                    | WriteError::Rejected(_)
                    | WriteError::FileReplaced(_)
                    | WriteError::Corrupt(_) => Some(CommandError::Storage(error.to_string())),
                };
                self.failures.resync_jobs |= rejection.is_some() && !replies.adds.is_empty();
                self.queue.requeue(batch, replies, rejection.as_ref());
                self.failures.record(error, now).map(|()| None)
            }
        }
    }

    /// The jobs of the database could not be loaded: the next commit asks for it again.
    pub(super) fn request_resync(&mut self) {
        self.failures.resync_jobs = true;
    }

    fn record_store_health(&mut self, health: StoreHealth) {
        let before = std::mem::replace(&mut self.store_health, health);
        if let (None, Some(warning)) = (before.warning, &self.store_health.warning) {
            tracing::warn!("{warning}");
        }
    }

    /// The condition of the store after the last commit.
    pub(super) fn store_health(&self) -> &StoreHealth {
        &self.store_health
    }

    /// Changes that are decided and not committed.
    pub(super) fn unwritten_changes(&self) -> usize {
        let in_progress = match &self.state {
            CommitState::Writing { change_count, .. } => *change_count,
            CommitState::Idle(_) | CommitState::Transitioning => 0,
        };
        self.queue.unwritten_changes() + in_progress
    }

    /// Why nothing can be written.
    pub(super) fn write_error(&self) -> Option<&str> {
        self.failures.last_error.as_deref()
    }

    /// Whether a batch is being written.
    pub(super) fn is_writing(&self) -> bool {
        matches!(self.state, CommitState::Writing { .. })
    }

    /// Whether providers wait for the store to rename.
    pub(super) fn has_pending_configure(&self) -> bool {
        let in_progress = match &self.state {
            CommitState::Writing { replies, .. } => replies.configure.is_some(),
            CommitState::Idle(_) | CommitState::Transitioning => false,
        };
        in_progress || self.queue.has_pending_configure()
    }

    /// Begins the next batch whatever the time; false if there is none.
    pub(super) fn flush(&mut self, now: MonotonicTime) -> bool {
        if self.queue.is_empty() {
            return false;
        }
        self.flush_at = now;
        self.start_if_due(now);
        self.is_writing()
    }

    /// Closes the database.
    pub(super) async fn close(self) {
        if let Some(error) = &self.failures.last_error {
            let changes = self.queue.unwritten_changes();
            tracing::error!(
                "{changes} changes are not written, the next start asks again: {error}"
            );
        }
        match self.state {
            CommitState::Idle(writer) => writer.close().await,
            CommitState::Writing { .. } | CommitState::Transitioning => {}
        }
    }
}

impl WriteFailures {
    /// Takes note of a failed write; gives it back if it is the end.
    fn record(&mut self, error: WriteError, now: MonotonicTime) -> Result<(), WriteError> {
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        match error {
            WriteError::Busy | WriteError::NoSpace(_) | WriteError::Rejected(_) => {
                self.consecutive_io_errors = 0;
            }
            WriteError::Io(_) => self.consecutive_io_errors += 1,
            WriteError::FileReplaced(_) | WriteError::Corrupt(_) => return Err(error),
        }
        if self.consecutive_io_errors >= Committer::MAX_CONSECUTIVE_IO_ERRORS {
            return Err(error);
        }
        if self.last_error.is_none() {
            tracing::error!("nothing can be written; polling goes on, changes wait: {error}");
        }
        self.last_error = Some(error.to_string());
        let backoff = Duration::from_millis(100) * 2u32.pow(self.consecutive_failures.min(5));
        self.retry_at = now.plus(backoff.min(Duration::from_secs(2)));
        Ok(())
    }
}
