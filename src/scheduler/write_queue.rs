//! What waits to be written, and who waits for that. While one batch is being committed the next
//! one gathers here; a batch that failed comes back and goes out again with it.

use std::collections::{HashMap, VecDeque};

use tokio::sync::oneshot;

use crate::job::{Anomaly, Change, JobId, NewJob, Outage, PollRecord};
use crate::store::{Batch, CommitReport, MaintenanceTask, Registered};

use super::committer::BatchOutcome;
use super::durations::PendingForgetDurations;
use super::handle::{AddResult, CommandError};

/// An `add` that waits for its commit.
#[derive(Debug)]
pub(super) struct PendingAdd {
    pub(super) jobs: Vec<NewJob>,
    /// In the order asked: the jobs above take the places that are not rejected.
    pub(super) rejections: Vec<Option<String>>,
    pub(super) reply: oneshot::Sender<AddResult>,
}

impl PendingAdd {
    /// Tells the caller what became of each job.
    pub(super) fn acknowledge(self, registered: &mut impl Iterator<Item = Registered>) {
        let results = self.rejections.into_iter().filter_map(|rejected| match rejected {
            Some(why) => Some(Err(why)),
            None => registered.next().map(Ok),
        });
        // A caller that went away asks again; adding twice is adding once.
        let _ = self.reply.send(Ok(results.collect()));
    }

    fn reject(self, reason: CommandError) {
        let _ = self.reply.send(Err(reason));
    }
}

/// A caller that waits until something of a job is written.
pub(super) type ReplySender = oneshot::Sender<Result<(), CommandError>>;

/// Who is to be told when a batch is in.
#[derive(Debug, Default)]
pub(super) struct PendingReplies {
    pub(super) adds: Vec<PendingAdd>,
    pub(super) forget_durations: Vec<PendingForgetDurations>,
    pub(super) waiters: Vec<ReplySender>,
}

#[derive(Debug, Default)]
pub(super) struct WriteQueue {
    adds: Vec<PendingAdd>,
    changes: Vec<Change>,
    poll_records: HashMap<JobId, PollRecord>,
    anomalies: Vec<Anomaly>,
    outages: Vec<Outage>,
    forget_durations: Vec<PendingForgetDurations>,
    maintenance: VecDeque<MaintenanceTask>,
    waiters: HashMap<JobId, Vec<ReplySender>>,
    urgent: bool,
    isolating: bool,
}

impl WriteQueue {
    /// More rows in one transaction make it no cheaper a row.
    const MAX_ROWS: usize = 2000;

    pub(super) fn push_add(&mut self, add: PendingAdd) {
        // Behind a commit that hangs, only those pile up whose callers still wait.
        self.adds.retain(|pending| !pending.reply.is_closed());
        self.adds.push(add);
    }

    /// The change takes along what was told and is not written yet.
    pub(super) fn push_change(&mut self, mut change: Change) {
        if let Some(older) = self.poll_records.remove(&change.job) {
            change.merge_older_record(older);
        }
        self.changes.push(change);
    }

    pub(super) fn push_poll_record(&mut self, record: PollRecord, urgent: bool) {
        self.urgent |= urgent;
        let older = self.poll_records.remove(&record.job);
        self.poll_records.insert(record.job, record.with_older_metadata(older));
    }

    pub(super) fn push_anomaly(&mut self, anomaly: Anomaly) {
        self.urgent = true;
        self.anomalies.push(anomaly);
    }

    pub(super) fn push_outage(&mut self, outage: Outage) {
        self.outages.push(outage);
    }

    pub(super) fn push_forget_durations(&mut self, forget: PendingForgetDurations) {
        self.forget_durations.push(forget);
    }

    /// Housekeeping waits for its turn, one piece a batch.
    pub(super) fn push_maintenance(&mut self, task: MaintenanceTask) {
        if !self.maintenance.contains(&task) {
            self.maintenance.push_back(task);
        }
    }

    /// `waiter` is told once something of `job` is written.
    pub(super) fn add_waiter(&mut self, job: JobId, waiter: ReplySender) {
        self.waiters.entry(job).or_default().push(waiter);
    }

    /// Whether something is here that somebody waits for, or that the history needs.
    pub(super) fn is_urgent(&self) -> bool {
        self.urgent
            || self.isolating
            || !self.adds.is_empty()
            || !self.changes.is_empty()
            || !self.outages.is_empty()
            || !self.forget_durations.is_empty()
            || !self.maintenance.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.is_urgent() && self.poll_records.is_empty()
    }

    pub(super) fn unwritten_changes(&self) -> usize {
        self.changes.len()
    }

    /// The database would not take a batch: its parts go out one by one, and the one that it does not
    /// take alone is given up, so that it stands in nobody else's way.
    pub(super) fn isolate_rejected(
        &mut self,
        mut batch: Batch,
        replies: PendingReplies,
        reason: &str,
    ) -> Option<BatchOutcome> {
        let isolatable = replies.adds.len() + batch.changes.len() + batch.poll_records.len();
        let others = batch.anomalies.len()
            + batch.outages.len()
            + batch.forget_durations.len()
            + usize::from(batch.maintenance.is_some());
        // A part is blamed only for what it does alone.
        if isolatable > 1 || (isolatable == 1 && others > 0) {
            self.isolating = true;
            self.requeue(batch, replies, None);
            return None;
        }
        if isolatable == 0 {
            tracing::error!(
                "what was to be recorded beside the jobs is refused, and given up: {reason}"
            );
        }
        for add in replies.adds {
            add.reject(CommandError::Storage(reason.to_owned()));
        }
        for forget in replies.forget_durations {
            forget.reject(CommandError::Storage(reason.to_owned()));
        }
        let jobs = batch.changes.drain(..).map(|change| change.job);
        let unwritable_jobs =
            jobs.chain(batch.poll_records.drain(..).map(|note| note.job)).collect();
        let receipts = PendingReplies { waiters: replies.waiters, ..PendingReplies::default() };
        let committed = CommitReport::default();
        Some(BatchOutcome {
            batch: Batch::default(),
            report: committed,
            replies: receipts,
            resync_jobs: false,
            unwritable_jobs,
        })
    }

    /// One part alone: what is first in turn.
    fn next_single_item(&mut self) -> (Batch, PendingReplies) {
        let (mut batch, mut replies) = (Batch::default(), PendingReplies::default());
        let record_job = self.poll_records.keys().next().copied();
        if let Some(add) = self.adds.pop() {
            batch.new_jobs.extend(add.jobs.iter().cloned());
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

    /// Those who wait until something of the jobs in this batch is written.
    fn take_waiters(&mut self, batch: &Batch) -> Vec<ReplySender> {
        let changes = batch.changes.iter().map(|change| change.job);
        let jobs = changes.chain(batch.poll_records.iter().map(|note| note.job));
        jobs.filter_map(|job| self.waiters.remove(&job)).flatten().collect()
    }

    /// The next batch.
    pub(super) fn next_batch(&mut self) -> (Batch, PendingReplies) {
        let mut batch = Batch::default();
        let mut replies = PendingReplies::default();
        if self.isolating {
            return self.next_single_item();
        }
        let mut deferred = Vec::new();
        for add in std::mem::take(&mut self.adds) {
            if add.reply.is_closed() {
                continue;
            }
            if batch.new_jobs.len() >= Self::MAX_ROWS {
                deferred.push(add);
                continue;
            }
            batch.new_jobs.extend(add.jobs.iter().cloned());
            replies.adds.push(add);
        }
        self.adds = deferred;
        let change_count = self.changes.len().min(Self::MAX_ROWS);
        batch.changes = self.changes.drain(..change_count).collect();
        let jobs: Vec<_> = self.poll_records.keys().take(Self::MAX_ROWS).copied().collect();
        batch.poll_records =
            jobs.into_iter().filter_map(|job| self.poll_records.remove(&job)).collect();
        batch.anomalies = std::mem::take(&mut self.anomalies);
        batch.outages = std::mem::take(&mut self.outages);
        replies.forget_durations = std::mem::take(&mut self.forget_durations);
        replies.forget_durations.retain(|forgetting| !forgetting.reply.is_closed());
        batch.forget_durations =
            replies.forget_durations.iter().map(|one| one.forget.clone()).collect();
        batch.maintenance = self.maintenance.pop_front();
        self.urgent = self.urgent && !self.poll_records.is_empty();
        replies.waiters = self.take_waiters(&batch);
        (batch, replies)
    }

    /// A batch that was not written goes out again. The adds in it do so only while their callers'
    /// patience lasts, or are refused at once for `refusal`.
    pub(super) fn requeue(
        &mut self,
        batch: Batch,
        replies: PendingReplies,
        rejection: Option<&CommandError>,
    ) {
        for add in replies.adds {
            match rejection {
                Some(why) => add.reject(why.clone()),
                None => self.adds.push(add),
            }
        }
        match rejection {
            Some(why) => {
                replies.forget_durations.into_iter().for_each(|one| one.reject(why.clone()));
            }
            None => self.forget_durations.extend(replies.forget_durations),
        }
        for waiter in replies.waiters {
            let _ = waiter.send(Err(rejection.cloned().unwrap_or(CommandError::Busy)));
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
        // Housekeeping that failed is ordered again when it is next due.
    }
}
