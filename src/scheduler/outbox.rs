//! What waits to be written, and who waits for that. While one batch is being committed the next
//! one gathers here; a batch that failed comes back and goes out again with it.

use std::collections::{HashMap, VecDeque};

use tokio::sync::oneshot;

use crate::job::{Anomaly, Change, JobId, NewJob, Note, Outage};
use crate::store::{Batch, Committed, Entered, Renaming, Upkeep};

use super::handle::{AddReply, Refusal};
use super::lessons::Forgetting;
use super::pen::Done;
use super::rename::{Configuring, renamings};

/// An `add` that waits for its commit.
#[derive(Debug)]
pub(super) struct Adding {
    pub(super) jobs: Vec<NewJob>,
    /// In the order asked: the jobs above take the places that are not rejected.
    pub(super) rejected: Vec<Option<String>>,
    pub(super) reply: oneshot::Sender<AddReply>,
}

impl Adding {
    /// Tells the caller what became of each job.
    pub(super) fn acknowledge(self, entered: &mut impl Iterator<Item = Entered>) {
        let answer = self.rejected.into_iter().filter_map(|rejected| match rejected {
            Some(why) => Some(Err(why)),
            None => entered.next().map(Ok),
        });
        // A caller that went away asks again; adding twice is adding once.
        let _ = self.reply.send(Ok(answer.collect()));
    }

    fn refuse(self, why: Refusal) {
        let _ = self.reply.send(Err(why));
    }
}

/// A caller that waits until something of a job is written.
pub(super) type Waiter = oneshot::Sender<Result<(), Refusal>>;

/// Who is to be told when a batch is in.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    pub(super) adding: Vec<Adding>,
    pub(super) forgetting: Vec<Forgetting>,
    pub(super) waiting: Vec<Waiter>,
    /// Such a batch only renames.
    pub(super) configuring: Option<Configuring>,
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    adding: Vec<Adding>,
    changes: Vec<Change>,
    notes: HashMap<JobId, Note>,
    anomalies: Vec<Anomaly>,
    outages: Vec<Outage>,
    forgetting: Vec<Forgetting>,
    upkeep: VecDeque<Upkeep>,
    waiting: HashMap<JobId, Vec<Waiter>>,
    configuring: Option<Configuring>,
    urgent: bool,
    one_by_one: bool,
}

impl Outbox {
    /// More rows in one transaction make it no cheaper a row.
    const MAX_ROWS: usize = 2000;

    pub(super) fn add(&mut self, adding: Adding) {
        // Behind a commit that hangs, only those pile up whose callers still wait.
        self.adding.retain(|waiting| !waiting.reply.is_closed());
        self.adding.push(adding);
    }

    /// The change takes along what was told and is not written yet.
    pub(super) fn change(&mut self, mut change: Change) {
        if let Some(older) = self.notes.remove(&change.job) {
            change.take_along(older);
        }
        self.changes.push(change);
    }

    pub(super) fn note(&mut self, note: Note, urgent: bool) {
        self.urgent |= urgent;
        let older = self.notes.remove(&note.job);
        self.notes.insert(note.job, note.after(older));
    }

    pub(super) fn anomaly(&mut self, anomaly: Anomaly) {
        self.urgent = true;
        self.anomalies.push(anomaly);
    }

    pub(super) fn outage(&mut self, outage: Outage) {
        self.outages.push(outage);
    }

    pub(super) fn forget(&mut self, forgetting: Forgetting) {
        self.forgetting.push(forgetting);
    }

    /// Housekeeping waits for its turn, one piece a batch.
    pub(super) fn upkeep(&mut self, upkeep: Upkeep) {
        if !self.upkeep.contains(&upkeep) {
            self.upkeep.push_back(upkeep);
        }
    }

    /// These providers are to be in force once the store has renamed; earlier ones that wait, not
    /// any more.
    pub(super) fn configure(&mut self, new: Configuring) {
        self.configuring = Some(new);
    }

    /// Whether providers wait to be in force.
    pub(super) fn is_configuring(&self) -> bool {
        self.configuring.is_some()
    }

    /// The store has renamed: what waits bears the names of now. An add of another kind does not:
    /// its job waits, visibly, as one of a provider that is not configured.
    pub(super) fn rename(&mut self, Renaming { to, kind, from }: &Renaming) {
        let adds = self.adding.iter_mut().flat_map(|adding| &mut adding.jobs);
        let adds = adds.filter(|job| job.kind == *kind).map(|job| &mut job.provider);
        let outages = self.outages.iter_mut().map(|outage| &mut outage.provider);
        let forgets = self.forgetting.iter_mut().map(|one| &mut one.what.provider);
        let all = adds.chain(outages).chain(forgets);
        for provider in all.filter(|provider| from.contains(provider)) {
            provider.clone_from(to);
        }
    }

    /// `waiter` is told once something of `job` is written.
    pub(super) fn wait(&mut self, job: JobId, waiter: Waiter) {
        self.waiting.entry(job).or_default().push(waiter);
    }

    /// Whether something is here that somebody waits for, or that the history needs.
    pub(super) fn is_urgent(&self) -> bool {
        self.urgent
            || self.one_by_one
            || self.configuring.is_some()
            || !self.adding.is_empty()
            || !self.changes.is_empty()
            || !self.outages.is_empty()
            || !self.forgetting.is_empty()
            || !self.upkeep.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.is_urgent() && self.notes.is_empty()
    }

    pub(super) fn unwritten_changes(&self) -> usize {
        self.changes.len()
    }

    /// The database would not take a batch: its parts go out one by one, and the one that it does not
    /// take alone is given up, so that it stands in nobody else's way.
    pub(super) fn sort_out(
        &mut self,
        mut batch: Batch,
        receipts: Receipts,
        why: &str,
    ) -> Option<Done> {
        if let Some(new) = receipts.configuring {
            new.refuse(Refusal::Storage(why.to_owned()));
            return None;
        }
        let parts = receipts.adding.len() + batch.changes.len() + batch.notes.len();
        let beside = batch.anomalies.len()
            + batch.outages.len()
            + batch.forgets.len()
            + usize::from(batch.upkeep.is_some());
        // A part is blamed only for what it does alone.
        if parts > 1 || (parts == 1 && beside > 0) {
            self.one_by_one = true;
            self.put_back(batch, receipts, None);
            return None;
        }
        if parts == 0 {
            tracing::error!(
                "what was to be recorded beside the jobs is refused, and given up: {why}"
            );
        }
        for adding in receipts.adding {
            adding.refuse(Refusal::Storage(why.to_owned()));
        }
        for forgetting in receipts.forgetting {
            forgetting.refuse(Refusal::Storage(why.to_owned()));
        }
        let jobs = batch.changes.drain(..).map(|change| change.job);
        let unwritable = jobs.chain(batch.notes.drain(..).map(|note| note.job)).collect();
        let receipts = Receipts { waiting: receipts.waiting, ..Receipts::default() };
        let committed = Committed::default();
        Some(Done { batch: Batch::default(), committed, receipts, resync: false, unwritable })
    }

    /// One part alone: what is first in turn.
    fn take_one(&mut self) -> (Batch, Receipts) {
        let (mut batch, mut receipts) = (Batch::default(), Receipts::default());
        let note = self.notes.keys().next().copied();
        if let Some(adding) = self.adding.pop() {
            batch.adds.extend(adding.jobs.iter().cloned());
            receipts.adding.push(adding);
        } else if let Some(change) = self.changes.pop() {
            batch.changes.push(change);
        } else if let Some(note) = note.and_then(|job| self.notes.remove(&job)) {
            batch.notes.push(note);
        }
        self.one_by_one =
            !(self.adding.is_empty() && self.changes.is_empty() && self.notes.is_empty());
        receipts.waiting = self.waiting_for(&batch);
        (batch, receipts)
    }

    /// Those who wait until something of the jobs in this batch is written.
    fn waiting_for(&mut self, batch: &Batch) -> Vec<Waiter> {
        let changes = batch.changes.iter().map(|change| change.job);
        let jobs = changes.chain(batch.notes.iter().map(|note| note.job));
        jobs.filter_map(|job| self.waiting.remove(&job)).flatten().collect()
    }

    /// The next batch.
    pub(super) fn take(&mut self) -> (Batch, Receipts) {
        let mut batch = Batch::default();
        let mut receipts = Receipts::default();
        if let Some(new) = self.configuring.take().filter(|new| !new.reply.is_closed()) {
            batch.renamings = renamings(&new.providers);
            receipts.configuring = Some(new);
            return (batch, receipts);
        }
        if self.one_by_one {
            return self.take_one();
        }
        let mut waiting = Vec::new();
        for adding in std::mem::take(&mut self.adding) {
            if adding.reply.is_closed() {
                continue;
            }
            if batch.adds.len() >= Self::MAX_ROWS {
                waiting.push(adding);
                continue;
            }
            batch.adds.extend(adding.jobs.iter().cloned());
            receipts.adding.push(adding);
        }
        self.adding = waiting;
        let changes = self.changes.len().min(Self::MAX_ROWS);
        batch.changes = self.changes.drain(..changes).collect();
        let notes: Vec<_> = self.notes.keys().take(Self::MAX_ROWS).copied().collect();
        batch.notes = notes.into_iter().filter_map(|job| self.notes.remove(&job)).collect();
        batch.anomalies = std::mem::take(&mut self.anomalies);
        batch.outages = std::mem::take(&mut self.outages);
        receipts.forgetting = std::mem::take(&mut self.forgetting);
        receipts.forgetting.retain(|forgetting| !forgetting.reply.is_closed());
        batch.forgets = receipts.forgetting.iter().map(|one| one.what.clone()).collect();
        batch.upkeep = self.upkeep.pop_front();
        self.urgent = self.urgent && !self.notes.is_empty();
        receipts.waiting = self.waiting_for(&batch);
        (batch, receipts)
    }

    /// A batch that was not written goes out again. The adds in it do so only while their callers'
    /// patience lasts, or are refused at once for `refusal`.
    pub(super) fn put_back(&mut self, batch: Batch, receipts: Receipts, refusal: Option<&Refusal>) {
        for adding in receipts.adding {
            match refusal {
                Some(why) => adding.refuse(why.clone()),
                None => self.adding.push(adding),
            }
        }
        if let Some(new) = receipts.configuring {
            match refusal {
                Some(why) => new.refuse(why.clone()),
                None => self.configuring = self.configuring.take().or(Some(new)),
            }
        }
        match refusal {
            Some(why) => {
                receipts.forgetting.into_iter().for_each(|one| one.refuse(why.clone()));
            }
            None => self.forgetting.extend(receipts.forgetting),
        }
        for waiter in receipts.waiting {
            let _ = waiter.send(Err(refusal.cloned().unwrap_or(Refusal::Busy)));
        }
        self.changes.splice(0..0, batch.changes);
        for older in batch.notes {
            let job = older.job;
            if let Some(change) = self.changes.iter_mut().find(|change| change.job == job) {
                change.take_along(older);
            } else if let Some(newer) = self.notes.remove(&job) {
                self.notes.insert(job, newer.after(Some(older)));
            } else {
                self.notes.insert(job, older);
            }
        }
        self.anomalies.splice(0..0, batch.anomalies);
        self.outages.splice(0..0, batch.outages);
        // Housekeeping that failed is ordered again when it is next due.
    }
}
