//! What becomes of a batch that was not written: it goes back into the queue, or the row that the database
//! rejects is sought and dropped.
//!
//! Called by the committer. Changes, anomalies and outages are put back in front, adds and commands
//! at the end; maintenance is dropped.

use std::collections::HashSet;

use crate::job::JobId;
use crate::scheduler::error::CommandError;
use crate::scheduler::write::outcome::{PendingAudit, PendingReplies, RejectedRow};
use crate::store::Batch;
use crate::tracker::FailedRow;

use super::WriteQueue;

impl WriteQueue {
    /// Handles a batch that the database rejected because of a value in it. The rows of the batch go
    /// out again one by one; a row that is rejected alone is dropped, so that it blocks no other. An
    /// add is answered here; a change or a poll record is returned with its callers.
    pub(in crate::scheduler::write) fn isolate_rejected(
        &mut self,
        batch: Batch,
        replies: PendingReplies,
        reason: &str,
    ) -> Option<RejectedRow> {
        let isolatable = replies.adds.len() + batch.changes.len() + batch.poll_records.len();
        let others = batch.anomalies.len()
            + batch.outages.len()
            + batch.next_polls.len()
            + batch.commands.len()
            + batch.audit.len()
            + usize::from(batch.maintenance.is_some());
        // Beside other rows it is not known which row was rejected.
        if isolatable > 1 || (isolatable == 1 && others > 0) {
            self.isolating = true;
            self.requeue(batch, replies, None);
            return None;
        }
        if isolatable == 0 {
            tracing::error!(
                "the database rejected a batch, which is dropped (anomalies: {}, outages: {}, commands: {}, \
                 audit entries: {}, maintenance: {}): {reason}",
                batch.anomalies.len(),
                batch.outages.len(),
                batch.commands.len(),
                batch.audit.len(),
                usize::from(batch.maintenance.is_some()),
            );
        }
        for add in replies.adds {
            add.reject(CommandError::Storage(reason.to_owned()));
        }
        let storage = CommandError::Storage(reason.to_owned());
        self.reject_commands(replies.commands, &storage);
        for (entry, reply) in batch.audit.into_iter().zip(replies.audit) {
            PendingAudit { entry, reply }.reject(CommandError::Storage(reason.to_owned()));
        }
        let change = batch.changes.first().map(|change| (change.job, FailedRow::Change));
        let record = batch.poll_records.first().map(|record| (record.job, FailedRow::PollRecord));
        let (job, row) = change.or(record)?;
        Some(RejectedRow { job, row, reason: reason.to_owned(), waiters: replies.waiters })
    }

    /// Puts back a batch that was not written. With `rejection` all callers receive it at once, and
    /// the adds and the commands are not tried again; without it the callers
    /// wait for the next attempt. The rows of jobs and the audit are always tried again.
    pub(in crate::scheduler::write) fn requeue(
        &mut self,
        batch: Batch,
        mut replies: PendingReplies,
        rejection: Option<&CommandError>,
    ) {
        if let Some(reason) = rejection {
            for add in replies.adds {
                add.reject(reason.clone());
            }
            self.reject_commands(replies.commands, reason);
            for reply in replies.audit.iter_mut().filter_map(Option::take) {
                let _ = reply.send(Err(reason.clone()));
            }
            replies.waiters.reply_to_all(&Err(reason.clone()));
        } else {
            self.adds.extend(replies.adds);
            self.commands.extend(replies.commands);
            self.waiters.append(replies.waiters);
        }
        for (entry, reply) in batch.audit.into_iter().zip(replies.audit) {
            self.push_audit(PendingAudit { entry, reply });
        }
        let changed_since: HashSet<JobId> = self.changes.iter().map(|change| change.job).collect();
        for (job, at) in batch.next_polls {
            if !changed_since.contains(&job) && !self.poll_records.contains_key(&job) {
                self.next_polls.entry(job).or_insert(at);
            }
        }
        self.changes.splice(0..0, batch.changes);
        for older in batch.poll_records {
            let job = older.job;
            if let Some(change) = self.changes.iter_mut().find(|change| change.job == job) {
                change.merge_older_record(older);
            } else if let Some(newer) = self.poll_records.remove(&job) {
                self.poll_records.insert(job, newer.with_older_metadata(Some(older)));
            } else {
                self.poll_records.insert(job, older);
            }
        }
        self.anomalies.splice(0..0, batch.anomalies);
        self.outages.splice(0..0, batch.outages);
        // Maintenance that failed is not put back: it is ordered again when it is next due.
    }
}
