//! Handles the end of a batch: updates the tracker and replies to the callers that wait for the batch.
//!
//! Called by the scheduler's loop. Invariant: a caller receives `Ok` only for rows that are
//! committed.

use std::collections::HashMap;

use crate::job::{AuditOutcome, Change, State, counted};
use crate::store::StoreCommand;
use crate::tracker::Input;

use super::error::CommandError;
use super::event_loop::Scheduler;
use super::log::log_change;
use super::write::{BatchOutcome, CommittedBatch, PendingAudit, RejectedRow, WriteRequest};

impl Scheduler {
    pub(super) fn handle_batch_outcome(&mut self, outcome: BatchOutcome) {
        match outcome {
            BatchOutcome::Committed(committed) => self.handle_committed_batch(*committed),
            BatchOutcome::Rejected(rejected) => self.handle_rejected_row(rejected),
        }
        self.notify_untracked();
    }

    /// The change with the audit of the commands that caused it.
    pub(super) fn with_untrack_audit(&mut self, mut change: Change) -> Change {
        if change.new_state.state() == State::Untracked {
            change.audit.extend(self.untrack_audit.remove(&change.job).unwrap_or_default());
        }
        change
    }

    /// Replies to the callers whose job is no longer tracked.
    pub(super) fn notify_untracked(&mut self) {
        // A command without a change: the job has ended by itself meanwhile.
        let ended = self.untrack_audit.extract_if(|job, _| !self.tracker.contains(*job));
        for entry in ended.flat_map(|(_, entries)| entries) {
            let entry = entry.with_result(AuditOutcome::Unchanged, "the job had ended");
            self.committer.enqueue(WriteRequest::Audit(PendingAudit { entry, reply: None }));
        }
        self.untrack_waiters.reply_where(|job| !self.tracker.contains(job), &Ok(()));
    }

    fn handle_committed_batch(&mut self, committed: CommittedBatch) {
        let CommittedBatch { batch, mut report, mut replies, reload_jobs } = committed;
        let registered = &report.registered;
        let added = registered.iter().filter(|job| job.is_new).count();
        if added > 0 {
            tracing::info!("{} registered", counted(added, "job"));
        }
        for entry in registered {
            self.loader.exclude(entry.job.id);
        }
        self.feed_tracker(Input::Track(registered.iter().map(|one| one.job.clone()).collect()));
        // Before the changes, whose duration samples are written after the deletion.
        let results = std::mem::take(&mut report.command_results);
        for (pending, rows) in replies.commands.into_iter().zip(results) {
            match pending.command {
                StoreCommand::ForgetDurations(forget) => self
                    .feed_tracker(Input::ForgetDurations(forget.provider, forget.similarity_key)),
                // How long a finished job is kept does not concern the tracker.
                StoreCommand::SetPinned(_) => {}
            }
            let _ = pending.reply.send(Ok(rows));
        }
        let mut registered = report.take_registrations();
        for add in replies.adds {
            add.acknowledge(&mut registered);
        }
        let ended = report.ended;
        let mut conflicts: HashMap<_, _> = report.conflicting_changes.into_iter().collect();
        for change in batch.changes {
            let job = change.job;
            self.loader.exclude(job);
            if let Some(stored) = conflicts.remove(&job) {
                self.untrack_audit.entry(job).or_default().extend(change.audit);
                self.feed_tracker(Input::ChangeRejected(job, stored.map(Box::new)));
            } else {
                log_change(&change, ended.get(&job));
                self.feed_tracker(Input::ChangeCommitted(job));
            }
        }
        for reply in replies.audit.into_iter().flatten() {
            let _ = reply.send(Ok(()));
        }
        for (job, stored) in report.conflicting_poll_records {
            self.feed_tracker(Input::PollRecordRejected(job, stored.map(Box::new)));
        }
        replies.waiters.reply_to_all(&Ok(()));
        if reload_jobs && !self.shutting_down {
            self.loader.start(self.reader.clone());
        }
    }

    fn handle_rejected_row(&mut self, rejected: RejectedRow) {
        let RejectedRow { job, row, reason, mut waiters } = rejected;
        self.feed_tracker(Input::WriteFailed(job, row));
        let is_tracked = self.tracker.contains(job);
        if is_tracked {
            tracing::error!(%job, "an update of job {job} is dropped: {reason}");
        } else {
            tracing::error!(
                %job,
                "the update of job {job} is dropped, and the job is not polled until `jobtrack poll \
                 {job}` or a restart: {reason}"
            );
        }
        let error = Err(CommandError::Storage(reason));
        waiters.reply_to_all(&error);
        if is_tracked {
            // A change of the job is still to be written.
            return;
        }
        self.untrack_waiters.reply_where(|waiting| waiting == job, &error);
    }
}
