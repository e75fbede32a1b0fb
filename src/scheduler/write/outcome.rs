//! The result of a batch and the callers that wait for it.
//!
//! The committer returns a [`BatchOutcome`] to the scheduler's loop, which updates the tracker and
//! replies to the callers.

use crate::job::{AuditEntry, JobId, NewJob};
use crate::store::{Batch, CommitReport, RegisterResult, StoreCommand};
use crate::tracker::FailedRow;

use crate::scheduler::error::CommandError;
use crate::scheduler::handle::{AddResult, AddedJob, ReplySender};
use crate::scheduler::job_spec::CheckedJob;
use crate::scheduler::job_waiters::JobWaiters;

use tokio::sync::oneshot;

/// The end of a batch that is not written again.
#[derive(Debug)]
pub(in crate::scheduler) enum BatchOutcome {
    Committed(Box<CommittedBatch>),
    Rejected(RejectedRow),
}

#[derive(Debug)]
pub(in crate::scheduler) struct CommittedBatch {
    pub(in crate::scheduler) batch: Batch,
    pub(in crate::scheduler) report: CommitReport,
    pub(in crate::scheduler) replies: PendingReplies,
    /// Whether an earlier add may have been committed without being reported as such: then its jobs
    /// are in the database and not tracked.
    pub(in crate::scheduler) reload_jobs: bool,
}

/// The only row of a batch, a change or a poll record that violates a constraint of the database.
/// The row is dropped.
#[derive(Debug)]
pub(in crate::scheduler) struct RejectedRow {
    pub(in crate::scheduler) job: JobId,
    pub(in crate::scheduler) row: FailedRow,
    pub(in crate::scheduler) reason: String,
    pub(in crate::scheduler) waiters: JobWaiters,
}

/// The callers that wait for a batch.
#[derive(Debug, Default)]
pub(in crate::scheduler) struct PendingReplies {
    pub(in crate::scheduler) adds: Vec<PendingAdd>,
    pub(in crate::scheduler) commands: Vec<PendingCommand>,
    /// One for each entry of the batch's audit, in order.
    pub(in crate::scheduler) audit: Vec<Option<ReplySender<()>>>,
    /// Callers that wait for any row of a job in the batch.
    pub(in crate::scheduler) waiters: JobWaiters,
}

/// An add that waits for its commit.
#[derive(Debug)]
pub(in crate::scheduler) struct PendingAdd {
    /// In the order of the request; an error is the reason why a job cannot be registered.
    pub(in crate::scheduler) jobs: Vec<Result<CheckedJob, String>>,
    pub(in crate::scheduler) reply: oneshot::Sender<AddResult>,
}

/// A command that waits for its commit.
#[derive(Debug)]
pub(in crate::scheduler) struct PendingCommand {
    pub(in crate::scheduler) command: StoreCommand,
    /// Receives the number of rows that were changed or deleted.
    pub(in crate::scheduler) reply: ReplySender<u64>,
}

/// A command to record by itself.
#[derive(Debug)]
pub(in crate::scheduler) struct PendingAudit {
    pub(in crate::scheduler) entry: AuditEntry,
    /// `None` if nobody waits for the commit.
    pub(in crate::scheduler) reply: Option<ReplySender<()>>,
}

impl PendingAdd {
    /// The jobs to write.
    pub(super) fn new_jobs(&self) -> impl Iterator<Item = NewJob> {
        self.jobs.iter().filter_map(|job| job.as_ref().ok().map(|checked| checked.job.clone()))
    }

    /// Replies with one result for each job; takes one of `registered` for each job that was in the
    /// batch.
    pub(in crate::scheduler) fn acknowledge(
        self,
        registered: &mut impl Iterator<Item = Result<RegisterResult, String>>,
    ) {
        let results = self.jobs.into_iter().filter_map(|job| match job {
            Ok(checked) => registered.next().map(|result| {
                result.map(|registered| AddedJob { registered, id_warning: checked.id_warning })
            }),
            Err(reason) => Some(Err(reason)),
        });
        // A caller that stopped waiting can add the jobs again: they are registered once.
        let _ = self.reply.send(Ok(results.collect()));
    }

    pub(super) fn reject(self, reason: CommandError) {
        let _ = self.reply.send(Err(reason));
    }
}

impl PendingAudit {
    pub(super) fn reject(self, reason: CommandError) {
        if let Some(reply) = self.reply {
            let _ = reply.send(Err(reason));
        }
    }
}
