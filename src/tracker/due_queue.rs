//! The jobs of a lane that wait for a poll: until they are due, then in the order of what asking them
//! is worth.
//!
//! What a due job is worth grows while it waits. It is weighed when it comes due and again whenever
//! its silence has grown by a part, so that a turn among a hundred thousand costs a few look-ups and
//! no scan, and the order is never older than that part.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use crate::job::{JobId, MonotonicTime};

/// What a request for a job is worth, in units of its price.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Priority(pub(super) f64);

impl Priority {
    /// What one is worth that has just come due.
    pub(super) const JUST_DUE: Self = Self(1.0);
    /// Less than any that is due.
    pub(super) const MIN: Self = Self(-1.0);
}

impl Eq for Priority {}

impl PartialOrd for Priority {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Priority {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// What asking a job is worth.
#[derive(Debug, Clone, Copy)]
pub(super) enum Evaluation {
    /// Not enough before then.
    NotBefore(MonotonicTime),
    /// So much now; to be looked at again, if ever.
    Due(Priority, Option<MonotonicTime>),
}

/// The next of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueueHead {
    pub(super) job: JobId,
    pub(super) priority: Priority,
    /// Since when it is due.
    pub(super) due_since: MonotonicTime,
}

/// Where a job stands in the queue.
#[derive(Debug, Clone, Copy)]
enum QueueEntry {
    /// It is not due before then.
    Waiting(MonotonicTime),
    /// It is.
    Due { due_since: MonotonicTime, priority: Priority, reevaluate_at: Option<MonotonicTime> },
}

/// Jobs that wait, each once.
#[derive(Debug, Default)]
pub(super) struct DueQueue {
    entries: HashMap<JobId, QueueEntry>,
    waiting_by_due: BTreeSet<(MonotonicTime, JobId)>,
    due_by_priority: BTreeSet<(Reverse<Priority>, MonotonicTime, JobId)>,
    due_by_time: BTreeSet<(MonotonicTime, JobId)>,
    reevaluations: BTreeSet<(MonotonicTime, JobId)>,
}

impl DueQueue {
    /// So many are weighed in one turn, at most.
    const MAX_EVALUATIONS_PER_PASS: usize = 500;

    /// A job that is due then; it leaves the place that it had.
    pub(super) fn insert(&mut self, job: JobId, due: MonotonicTime) {
        self.remove(job);
        self.entries.insert(job, QueueEntry::Waiting(due));
        self.waiting_by_due.insert((due, job));
    }

    /// Takes the job out; says when it was due, if it was here.
    pub(super) fn remove(&mut self, job: JobId) -> Option<MonotonicTime> {
        match self.entries.remove(&job)? {
            QueueEntry::Waiting(due) => {
                self.waiting_by_due.remove(&(due, job));
                Some(due)
            }
            QueueEntry::Due { due_since, priority, reevaluate_at } => {
                self.remove_due(job, due_since, priority, reevaluate_at);
                Some(due_since)
            }
        }
    }

    /// Time has come to `now`: who is due is weighed, and who was weighed long ago. Of many the rest
    /// is weighed at the next turns: none takes long.
    pub(super) fn promote_due(
        &mut self,
        now: MonotonicTime,
        evaluate: impl Fn(JobId) -> Evaluation,
    ) {
        let mut remaining = Self::MAX_EVALUATIONS_PER_PASS;
        while remaining > 0
            && let Some((due, job)) =
                self.waiting_by_due.first().copied().filter(|(due, _)| *due <= now)
        {
            self.waiting_by_due.remove(&(due, job));
            remaining -= 1;
            self.insert_evaluated(job, due, evaluate(job));
        }
        let outdated = self.reevaluations.range(..=(now, JobId(i64::MAX))).take(remaining);
        for (at, job) in outdated.copied().collect::<Vec<_>>() {
            self.reevaluations.remove(&(at, job));
            if let Some(QueueEntry::Due { due_since, priority, reevaluate_at }) =
                self.entries.get(&job).copied()
            {
                self.remove_due(job, due_since, priority, reevaluate_at);
                self.insert_evaluated(job, due_since, evaluate(job));
            }
        }
    }

    /// By what they are worth is to be found out anew.
    pub(super) fn reset_priorities(&mut self) {
        for (due_since, job) in std::mem::take(&mut self.due_by_time) {
            self.entries.insert(job, QueueEntry::Waiting(due_since));
            self.waiting_by_due.insert((due_since, job));
        }
        self.due_by_priority.clear();
        self.reevaluations.clear();
    }

    /// The due job that is worth most; of equals who is due for longest.
    pub(super) fn highest_priority(&self) -> Option<QueueHead> {
        let (Reverse(priority), due_since, job) = *self.due_by_priority.first()?;
        Some(QueueHead { job, priority, due_since })
    }

    /// The job that is due for longest.
    pub(super) fn longest_due(&self) -> Option<QueueHead> {
        let (due_since, job) = *self.due_by_time.first()?;
        let QueueEntry::Due { priority, .. } = *self.entries.get(&job)? else { return None };
        Some(QueueHead { job, priority, due_since })
    }

    /// When somebody is due next, or since when somebody is.
    pub(super) fn earliest_due(&self) -> Option<MonotonicTime> {
        let first_due = |jobs: &BTreeSet<(MonotonicTime, JobId)>| jobs.first().map(|(at, _)| *at);
        first_due(&self.due_by_time).into_iter().chain(first_due(&self.waiting_by_due)).min()
    }

    /// How many are due at `now`.
    pub(super) fn count_due(&self, now: MonotonicTime) -> u64 {
        let newly_due = self.waiting_by_due.range(..=(now, JobId(i64::MAX))).count();
        (self.due_by_time.len() + newly_due) as u64
    }

    fn insert_evaluated(&mut self, job: JobId, due_since: MonotonicTime, evaluation: Evaluation) {
        let (priority, reevaluate_at) = match evaluation {
            Evaluation::NotBefore(at) => {
                self.entries.insert(job, QueueEntry::Waiting(at));
                self.waiting_by_due.insert((at, job));
                return;
            }
            Evaluation::Due(priority, reevaluate_at) => (priority, reevaluate_at),
        };
        self.entries.insert(job, QueueEntry::Due { due_since, priority, reevaluate_at });
        self.due_by_priority.insert((Reverse(priority), due_since, job));
        self.due_by_time.insert((due_since, job));
        self.reevaluations.extend(reevaluate_at.map(|at| (at, job)));
    }

    fn remove_due(
        &mut self,
        job: JobId,
        due_since: MonotonicTime,
        priority: Priority,
        reevaluate_at: Option<MonotonicTime>,
    ) {
        self.due_by_priority.remove(&(Reverse(priority), due_since, job));
        self.due_by_time.remove(&(due_since, job));
        if let Some(at) = reevaluate_at {
            self.reevaluations.remove(&(at, job));
        }
    }
}
