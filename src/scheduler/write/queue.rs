//! Rows that wait to be written, and the callers that wait for them.
//!
//! The queue fills while a batch is being committed. Nothing here does I/O.

mod failed_batch;

use std::collections::{BTreeMap, HashSet, VecDeque};

use crate::job::{Anomaly, AuditOutcome, Change, JobId, OutageEvent, PollRecord, UtcTime};
use crate::store::{Batch, MaintenanceTask};

use super::outcome::{PendingAdd, PendingAudit, PendingCommand, PendingReplies};
use super::schedule::Urgency;
use crate::scheduler::error::CommandError;
use crate::scheduler::handle::ReplySender;
use crate::scheduler::job_waiters::JobWaiters;

/// One thing to write.
#[derive(Debug)]
pub(in crate::scheduler) enum WriteRequest {
    Add(PendingAdd),
    Change(Change),
    /// Bookkeeping of a poll, which waits for more of its kind unless it is urgent.
    PollRecord {
        record: PollRecord,
        urgent: bool,
    },
    /// Other times of the next polls, which no answers led to.
    NextPolls(Vec<(JobId, UtcTime)>),
    Anomaly(Anomaly),
    Outage(OutageEvent),
    Command(PendingCommand),
    Audit(PendingAudit),
    Maintenance(MaintenanceTask),
}

#[derive(Debug, Default)]
pub(super) struct WriteQueue {
    adds: Vec<PendingAdd>,
    changes: Vec<Change>,
    poll_records: BTreeMap<JobId, PollRecord>,
    /// Of jobs without a poll record or a change in the queue that is newer.
    next_polls: BTreeMap<JobId, UtcTime>,
    anomalies: Vec<Anomaly>,
    outages: Vec<OutageEvent>,
    commands: Vec<PendingCommand>,
    audit: Vec<PendingAudit>,
    maintenance: VecDeque<MaintenanceTask>,
    waiters: JobWaiters,
    urgent: bool,
    /// Whether rows go out one by one, to find the row that the database rejects.
    isolating: bool,
}

impl WriteQueue {
    /// Rows of one table in a batch. Larger batches do not lower the cost of a row.
    const MAX_ROWS: usize = 2000;

    pub(super) fn push(&mut self, request: WriteRequest) {
        match request {
            WriteRequest::Add(add) => {
                // Behind a commit that takes long, only adds whose callers still wait accumulate.
                self.adds.retain(|pending| !pending.reply.is_closed());
                self.adds.push(add);
            }
            WriteRequest::Change(mut change) => {
                self.next_polls.remove(&change.job);
                if let Some(older) = self.poll_records.remove(&change.job) {
                    change.merge_older_record(older);
                }
                self.urgent |= !change.audit.is_empty() || self.waiters.contains(change.job);
                self.changes.push(change);
            }
            WriteRequest::PollRecord { record, urgent } => {
                self.urgent |= urgent;
                self.next_polls.remove(&record.job);
                let older = self.poll_records.remove(&record.job);
                self.poll_records.insert(record.job, record.with_older_metadata(older));
            }
            WriteRequest::NextPolls(times) => {
                for (job, at) in times {
                    if let Some(record) = self.poll_records.get_mut(&job) {
                        record.next_poll_at = Some(at);
                    } else {
                        self.next_polls.insert(job, at);
                    }
                }
            }
            WriteRequest::Anomaly(anomaly) => self.anomalies.push(anomaly),
            WriteRequest::Outage(outage) => self.outages.push(outage),
            WriteRequest::Command(command) => {
                self.withdraw_commands();
                self.commands.push(command);
            }
            WriteRequest::Audit(audit) => self.push_audit(audit),
            WriteRequest::Maintenance(task) => {
                if !self.maintenance.contains(&task) {
                    self.maintenance.push_back(task);
                }
            }
        }
    }

    /// The most audit entries that wait in memory while nothing can be written.
    const MAX_AUDIT_ENTRIES: usize = 10_000;

    fn push_audit(&mut self, audit: PendingAudit) {
        if self.audit.len() < Self::MAX_AUDIT_ENTRIES {
            self.audit.push(audit);
        } else {
            tracing::error!("too many audit entries wait to be written; one is dropped: {audit:?}");
            audit.reject(CommandError::Storage(
                "the entry is dropped, because too many wait to be written".to_owned(),
            ));
        }
    }

    /// Removes the commands whose callers have stopped waiting.
    fn withdraw_commands(&mut self) {
        let pending = std::mem::take(&mut self.commands);
        let (withdrawn, waiting) = pending.into_iter().partition(|one| one.reply.is_closed());
        self.commands = waiting;
        self.reject_commands(withdrawn, &CommandError::TimedOut);
    }

    /// Answers commands that are not carried out, and records them as failed.
    fn reject_commands(&mut self, rejected: Vec<PendingCommand>, reason: &CommandError) {
        for PendingCommand { command, reply } in rejected {
            if let Some(entry) = command.audit() {
                let entry = entry.clone().with_result(AuditOutcome::Failed, &reason.to_string());
                self.push_audit(PendingAudit { entry, reply: None });
            }
            let _ = reply.send(Err(reason.clone()));
        }
    }

    /// Adds a caller that waits for the next row of `job`.
    pub(super) fn add_waiter(&mut self, job: JobId, reply: ReplySender<()>) {
        self.hasten(job);
        self.waiters.add(job, reply);
    }

    /// What is queued of `job`, if anything, waits no longer.
    pub(super) fn hasten(&mut self, job: JobId) {
        self.urgent |= self.poll_records.contains_key(&job)
            || self.changes.iter().any(|change| change.job == job);
    }

    /// How long what is queued may wait; `None` if nothing is.
    pub(super) fn urgency(&self) -> Option<Urgency> {
        let has_caller = self.urgent
            || self.isolating
            || !self.adds.is_empty()
            || !self.commands.is_empty()
            || !self.audit.is_empty()
            || !self.maintenance.is_empty();
        let has_history =
            !self.changes.is_empty() || !self.outages.is_empty() || !self.anomalies.is_empty();
        if has_caller {
            Some(Urgency::Immediate)
        } else if has_history {
            Some(Urgency::History)
        } else {
            self.has_bookkeeping().then_some(Urgency::Bookkeeping)
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.urgency().is_none()
    }

    pub(super) fn has_bookkeeping(&self) -> bool {
        !self.poll_records.is_empty() || !self.next_polls.is_empty()
    }

    pub(super) fn unwritten_changes(&self) -> usize {
        self.changes.len()
    }

    /// Takes the next batch out of the queue, with the callers that wait for it. Bookkeeping stays behind
    /// unless it is asked for or a caller may wait for some of it.
    pub(super) fn next_batch(&mut self, with_bookkeeping: bool) -> (Batch, PendingReplies) {
        if self.isolating {
            return self.next_single_item();
        }
        let (mut batch, mut replies) = (Batch::default(), PendingReplies::default());
        let mut deferred = Vec::new();
        for add in std::mem::take(&mut self.adds) {
            if add.reply.is_closed() {
                continue;
            }
            if batch.new_jobs.len() >= Self::MAX_ROWS {
                deferred.push(add);
                continue;
            }
            batch.new_jobs.extend(add.new_jobs());
            replies.adds.push(add);
        }
        self.adds = deferred;
        let change_count = self.changes.len().min(Self::MAX_ROWS);
        batch.changes = self.changes.drain(..change_count).collect();
        if with_bookkeeping || self.urgent {
            batch.poll_records = self.take_poll_records(&batch.changes);
            batch.next_polls = self.take_next_polls();
        }
        batch.anomalies = std::mem::take(&mut self.anomalies);
        batch.outages = std::mem::take(&mut self.outages);
        self.withdraw_commands();
        replies.commands = std::mem::take(&mut self.commands);
        batch.commands = replies.commands.iter().map(|pending| pending.command.clone()).collect();
        for audit in std::mem::take(&mut self.audit) {
            batch.audit.push(audit.entry);
            replies.audit.push(audit.reply);
        }
        // One task a batch, so that no batch takes long.
        batch.maintenance = self.maintenance.pop_front();
        self.urgent &= !(self.poll_records.is_empty() && self.changes.is_empty());
        replies.waiters = self.take_waiters(&batch);
        (batch, replies)
    }

    /// The next poll records. Those of jobs that change in the same batch wait for the next.
    fn take_poll_records(&mut self, changes: &[Change]) -> Vec<PollRecord> {
        let changing: HashSet<JobId> = changes.iter().map(|change| change.job).collect();
        let jobs = self.poll_records.keys().copied().filter(|job| !changing.contains(job));
        let jobs: Vec<JobId> = jobs.take(Self::MAX_ROWS).collect();
        jobs.into_iter().filter_map(|job| self.poll_records.remove(&job)).collect()
    }

    /// The next times of polls. They are written after the rows of the same jobs in the batch, which are older. The
    /// time of a job whose change waits for a later batch waits with it.
    fn take_next_polls(&mut self) -> Vec<(JobId, UtcTime)> {
        let waiting: HashSet<_> = self.changes.iter().map(|change| change.job).collect();
        let jobs = self.next_polls.keys().filter(|job| !waiting.contains(job)).take(Self::MAX_ROWS);
        let jobs = jobs.copied().collect::<Vec<_>>();
        jobs.into_iter().filter_map(|job| self.next_polls.remove_entry(&job)).collect()
    }

    /// A batch with one add, one change or one poll record.
    fn next_single_item(&mut self) -> (Batch, PendingReplies) {
        let (mut batch, mut replies) = (Batch::default(), PendingReplies::default());
        let record_job = self.poll_records.keys().next().copied();
        if let Some(add) = self.adds.pop() {
            batch.new_jobs.extend(add.new_jobs());
            replies.adds.push(add);
        } else if let Some(change) = self.changes.pop() {
            batch.changes.push(change);
        } else if let Some(record) = record_job.and_then(|job| self.poll_records.remove(&job)) {
            batch.poll_records.push(record);
        }
        self.isolating =
            !(self.adds.is_empty() && self.changes.is_empty() && self.poll_records.is_empty());
        replies.waiters = self.take_waiters(&batch);
        (batch, replies)
    }

    /// The callers that wait for a change or a poll record of the batch.
    fn take_waiters(&mut self, batch: &Batch) -> JobWaiters {
        let mut taken = JobWaiters::default();
        let changes = batch.changes.iter().map(|change| change.job);
        for job in changes.chain(batch.poll_records.iter().map(|record| record.job)) {
            self.waiters.move_to(&mut taken, job);
        }
        taken
    }
}

#[cfg(test)]
mod tests;
