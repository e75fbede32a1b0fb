//! Owns the write path: decides when a batch goes to the writer and what a failed write means.
//!
//! A commit runs as a task that is awaited and never cancelled, because a commit that is cut short
//! may or may not have happened. Meanwhile the next batch gathers in the queue.

use std::collections::HashSet;

use tokio::task::{JoinError, JoinHandle};

use crate::job::{JobId, MonotonicTime, counted};
use crate::policy::RateLimiterStates;
use crate::store::{Batch, BatchTimes, BatchWriter, CommitReport, StoreHealth, WriteError};

use super::failures::WriteFailures;
use super::outcome::{BatchOutcome, CommittedBatch, PendingReplies};
use super::queue::{WriteQueue, WriteRequest};
use super::schedule::WriteSchedule;
use crate::scheduler::error::CommandError;
use crate::scheduler::handle::ReplySender;

#[derive(Debug)]
pub(in crate::scheduler) struct Committer {
    queue: WriteQueue,
    /// `None` while a commit is in progress, which then holds the writer.
    idle_writer: Option<Box<dyn BatchWriter>>,
    commit: Option<Commit>,
    schedule: WriteSchedule,
    store_health: StoreHealth,
    failures: WriteFailures,
    reload_jobs: bool,
    times: Option<BatchTimes>,
}

/// A commit in progress.
#[derive(Debug)]
struct Commit {
    task: JoinHandle<WriteResult>,
    replies: PendingReplies,
    /// The jobs with a change in the batch.
    changed_jobs: HashSet<JobId>,
}

/// What the task of a commit returns: the writer, the batch and the result.
pub(in crate::scheduler) type WriteResult =
    (Box<dyn BatchWriter>, Batch, Result<CommitReport, WriteError>);

impl Committer {
    pub(in crate::scheduler) fn new(writer: Box<dyn BatchWriter>, now: MonotonicTime) -> Self {
        Self {
            queue: WriteQueue::default(),
            idle_writer: Some(writer),
            commit: None,
            schedule: WriteSchedule::new(now),
            store_health: StoreHealth::default(),
            failures: WriteFailures::default(),
            reload_jobs: false,
            times: None,
        }
    }

    pub(in crate::scheduler) fn enqueue(&mut self, request: WriteRequest) {
        self.queue.push(request);
    }

    /// Adds a caller that waits for the result of a poll of `job`: for the job's change if one is
    /// being committed, else for the next row of the job.
    pub(in crate::scheduler) fn add_waiter(&mut self, job: JobId, reply: ReplySender<()>) {
        match &mut self.commit {
            // The job is not polled until its change is committed, so no newer row may follow.
            Some(commit) if commit.changed_jobs.contains(&job) => {
                commit.replies.waiters.add(job, reply);
            }
            Some(_) | None => self.queue.add_waiter(job, reply),
        }
    }

    /// Writes what is queued of `job` without waiting for more rows: a caller waits for what follows it.
    pub(in crate::scheduler) fn hasten(&mut self, job: JobId) {
        self.queue.hasten(job);
    }

    /// Starts the next commit if one is due.
    pub(in crate::scheduler) fn start_if_due(&mut self, now: MonotonicTime) {
        if self.next_wakeup().is_some_and(|at| at <= now) {
            self.start(now);
        }
    }

    /// Starts the next commit without waiting for more rows, but not before the retry of a failed write is
    /// due; returns whether a commit is in progress.
    pub(in crate::scheduler) fn flush(&mut self, now: MonotonicTime) -> bool {
        if self.commit.is_none() && !self.queue.is_empty() {
            self.schedule.flush(now);
            self.start_if_due(now);
        }
        self.commit.is_some()
    }

    /// Sets the present for the next batch.
    pub(in crate::scheduler) fn set_times(&mut self, times: BatchTimes) {
        self.times = Some(times);
    }

    fn start(&mut self, now: MonotonicTime) {
        let Some(mut writer) = self.idle_writer.take() else { return };
        let with_bookkeeping = self.schedule.begin(now);
        let (mut batch, replies) = self.queue.next_batch(with_bookkeeping);
        if with_bookkeeping && self.queue.has_bookkeeping() {
            self.schedule.continue_bookkeeping(now);
        }
        batch.times = self.times;
        let changed_jobs = batch.changes.iter().map(|change| change.job).collect();
        let task = tokio::spawn(async move {
            let result = writer.write(&batch).await;
            (writer, batch, result)
        });
        self.commit = Some(Commit { task, replies, changed_jobs });
    }

    /// When the next commit is due; `None` while one is in progress.
    pub(in crate::scheduler) fn next_wakeup(&self) -> Option<MonotonicTime> {
        if self.commit.is_some() {
            return None;
        }
        let due_at = self.schedule.due_at(self.queue.urgency());
        Some(due_at.max(self.failures.retry_at))
    }

    /// Waits for the end of the commit in progress; pending forever if there is none. Cancel-safe.
    pub(in crate::scheduler) async fn wait_for_write(&mut self) -> Result<WriteResult, JoinError> {
        match &mut self.commit {
            Some(commit) => (&mut commit.task).await,
            None => std::future::pending().await,
        }
    }

    /// Handles the end of a commit. Returns `None` if all rows of jobs in its batch will be tried
    /// again.
    ///
    /// # Errors
    /// A failure after which no further attempt should be made.
    pub(in crate::scheduler) fn handle_write_result(
        &mut self,
        (writer, batch, result): WriteResult,
        now: MonotonicTime,
    ) -> Result<Option<BatchOutcome>, WriteError> {
        self.idle_writer = Some(writer);
        let replies = self.commit.take().map(|commit| commit.replies).unwrap_or_default();
        match result {
            Ok(report) => {
                let committed = self.handle_success(batch, report, replies);
                Ok(Some(BatchOutcome::Committed(Box::new(committed))))
            }
            Err(error @ WriteError::Rejected(_)) => {
                let rejected = self.queue.isolate_rejected(batch, replies, &error.to_string());
                Ok(rejected.map(BatchOutcome::Rejected))
            }
            Err(error @ WriteError::Busy) => {
                self.queue.requeue(batch, replies, None);
                self.failures.record(error, now).map(|()| None)
            }
            Err(
                error @ (WriteError::NoSpace(_)
                | WriteError::Io(_)
                | WriteError::FileReplaced { .. }
                | WriteError::Corrupt(_)),
            ) => {
                // The error may have come after the commit, for example if the fsync failed.
                self.reload_jobs |= !replies.adds.is_empty();
                let rejection = CommandError::Storage(error.to_string());
                self.queue.requeue(batch, replies, Some(&rejection));
                self.failures.record(error, now).map(|()| None)
            }
        }
    }

    fn handle_success(
        &mut self,
        batch: Batch,
        report: CommitReport,
        replies: PendingReplies,
    ) -> CommittedBatch {
        if let Some(task) = batch.maintenance.clone().filter(|_| report.maintenance_unfinished) {
            self.queue.push(WriteRequest::Maintenance(task));
        }
        self.record_store_health(report.health.clone());
        if std::mem::take(&mut self.failures).last_error.is_some() {
            tracing::info!("the database can be written again");
        }
        CommittedBatch {
            batch,
            report,
            replies,
            reload_jobs: std::mem::take(&mut self.reload_jobs),
        }
    }

    /// Sets `reload_jobs` in the outcome of the next commit.
    pub(in crate::scheduler) fn request_job_reload(&mut self) {
        self.reload_jobs = true;
    }

    fn record_store_health(&mut self, health: StoreHealth) {
        let before = std::mem::replace(&mut self.store_health, health);
        if let (None, Some(warning)) = (before.warning, &self.store_health.warning) {
            tracing::warn!("{warning}");
        }
    }

    /// The condition of the store after the last commit.
    pub(in crate::scheduler) fn store_health(&self) -> &StoreHealth {
        &self.store_health
    }

    /// Changes that are decided and not committed.
    pub(in crate::scheduler) fn unwritten_changes(&self) -> usize {
        let in_progress = self.commit.as_ref().map_or(0, |commit| commit.changed_jobs.len());
        self.queue.unwritten_changes() + in_progress
    }

    /// The error of the last write, until a write succeeds.
    pub(in crate::scheduler) fn write_error(&self) -> Option<&str> {
        self.failures.last_error.as_deref()
    }

    /// `rate_limiters` are left to the next process.
    pub(in crate::scheduler) async fn close(self, rate_limiters: RateLimiterStates) {
        if let Some(error) = &self.failures.last_error {
            let changes = self.queue.unwritten_changes();
            tracing::error!(
                "{} could not be written; after the next start the jobs are polled again: {error}",
                counted(changes, "change")
            );
        }
        if let Some(writer) = self.idle_writer {
            writer.close(rate_limiters).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::BoxFuture;

    use super::*;
    use crate::job::{PollRecord, State, UtcTime};

    #[derive(Debug)]
    struct AcceptingWriter;

    impl BatchWriter for AcceptingWriter {
        fn write<'a>(
            &'a mut self,
            _: &'a Batch,
        ) -> BoxFuture<'a, Result<CommitReport, WriteError>> {
            Box::pin(async { Ok(CommitReport::default()) })
        }

        fn close(self: Box<Self>, _: RateLimiterStates) -> BoxFuture<'static, ()> {
            Box::pin(async {})
        }
    }

    fn poll_record(job: i64) -> PollRecord {
        PollRecord {
            job: JobId(job),
            expected_state: State::Registered,
            last_polled_at: UtcTime::from_millis(0),
            next_poll_at: None,
            last_success_sent_at: None,
            polls: 1,
            failed_polls: 0,
            last_poll_error: None,
            metadata: None,
        }
    }

    #[tokio::test]
    async fn bookkeeping_beyond_one_batch_is_in_the_next_and_does_not_wait_again() {
        let now = MonotonicTime::default();
        let mut committer = Committer::new(Box::new(AcceptingWriter), now);
        for record in (0..3000).map(poll_record) {
            committer.enqueue(WriteRequest::PollRecord { record, urgent: false });
        }
        let mut batches = Vec::new();
        while committer.next_wakeup().is_some_and(|at| at <= now) {
            committer.start_if_due(now);
            let (writer, batch, result) = committer.wait_for_write().await.expect("no panic");
            batches.push(batch.poll_records.len());
            let outcome = committer.handle_write_result((writer, batch, result), now);
            outcome.expect("it was written");
        }
        assert_eq!(batches, [2000, 1000]);
    }
}
