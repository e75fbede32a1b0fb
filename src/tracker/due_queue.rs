//! The jobs of a provider that wait for a poll: ordered by due time until they are due, then by
//! priority.
//!
//! The priority of a due job grows while the job waits. The queue evaluates a job when the job becomes
//! due, and again at the time that the evaluation names. So a selection among 100,000 jobs costs a few
//! look-ups instead of a scan. Invariant: a job is in the queue at most once.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use crate::job::{JobId, MonotonicTime};

/// The value of polling a job now, in units of the price of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Priority(pub(super) f64);

impl Priority {
    /// The priority of a job that has just become due.
    pub(super) const JUST_DUE: Self = Self(1.0);
    /// Lower than the priority of any job that is due by its age.
    pub(super) const MIN: Self = Self(-1.0);
    /// Of a job whose last request was rejected: lower than of all others.
    pub(super) const REJECTED: Self = Self(-2.0);
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

/// The result of evaluating a job.
#[derive(Debug, Clone, Copy)]
pub(super) enum Evaluation {
    /// The priority is below [`Priority::JUST_DUE`] until this time.
    NotBefore(MonotonicTime),
    /// The priority now, and when to evaluate the job again; none if the priority is constant.
    Due(Priority, Option<MonotonicTime>),
}

/// A candidate for the next poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DueJob {
    pub(super) job: JobId,
    pub(super) priority: Priority,
    pub(super) due_since: MonotonicTime,
}

/// The candidates of a queue for the next poll.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueueHeads {
    /// The due job with the highest priority; among equals the one that became due first.
    pub(super) highest_priority: DueJob,
    /// The due job that became due first.
    pub(super) longest_due: DueJob,
}

#[derive(Debug, Clone, Copy)]
enum DueState {
    /// Not due before this time.
    Waiting(MonotonicTime),
    Due {
        due_since: MonotonicTime,
        priority: Priority,
        reevaluate_at: Option<MonotonicTime>,
    },
}

#[derive(Debug, Default)]
pub(super) struct DueQueue {
    entries: HashMap<JobId, DueState>,
    waiting_by_due: BTreeSet<(MonotonicTime, JobId)>,
    due_by_priority: BTreeSet<(Reverse<Priority>, MonotonicTime, JobId)>,
    due_by_time: BTreeSet<(MonotonicTime, JobId)>,
    reevaluations: BTreeSet<(MonotonicTime, JobId)>,
}

impl DueQueue {
    /// At most this many jobs are evaluated in one pass, so that a pass is short. The others follow in
    /// the next passes.
    const MAX_EVALUATIONS_PER_PASS: usize = 500;

    /// Adds the job, or moves it to a new due time.
    pub(super) fn insert(&mut self, job: JobId, due: MonotonicTime) {
        self.remove(job);
        self.entries.insert(job, DueState::Waiting(due));
        self.waiting_by_due.insert((due, job));
    }

    /// Removes the job and returns when it was due; none if it was not in the queue.
    pub(super) fn remove(&mut self, job: JobId) -> Option<MonotonicTime> {
        match self.entries.remove(&job)? {
            DueState::Waiting(due) => {
                self.waiting_by_due.remove(&(due, job));
                Some(due)
            }
            DueState::Due { due_since, priority, reevaluate_at } => {
                self.remove_due(job, due_since, priority, reevaluate_at);
                Some(due_since)
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Removes all jobs and returns them with their due times.
    pub(super) fn drain(&mut self) -> Vec<(JobId, MonotonicTime)> {
        let due = |(job, state)| match state {
            DueState::Waiting(due) => (job, due),
            DueState::Due { due_since, .. } => (job, due_since),
        };
        std::mem::take(self).entries.into_iter().map(due).collect()
    }

    /// The job with the earliest due time, due or not.
    pub(super) fn first_due_job(&self) -> Option<(JobId, MonotonicTime)> {
        let first = |jobs: &BTreeSet<(MonotonicTime, JobId)>| jobs.first().copied();
        let (due, job) =
            first(&self.due_by_time).into_iter().chain(first(&self.waiting_by_due)).min()?;
        Some((job, due))
    }

    /// A job of this queue. Jobs that are removed one after the other as this returns them have distant
    /// numbers. Takes time in proportion to the number of jobs.
    pub(super) fn spread_job(&self) -> Option<(JobId, MonotonicTime)> {
        // Multiples of the golden ratio are spread evenly.
        const GOLDEN_RATIO: u64 = 0x9e37_79b9_7f4a_7c15;
        let rank = |job: &JobId| job.0.unsigned_abs().wrapping_mul(GOLDEN_RATIO);
        let (job, state) = self.entries.iter().max_by_key(|(job, _)| rank(job))?;
        let (DueState::Waiting(due) | DueState::Due { due_since: due, .. }) = state;
        Some((*job, *due))
    }

    /// Whether [`Self::promote_due`] evaluates any job.
    pub(super) fn needs_promotion(&self, now: MonotonicTime) -> bool {
        let next = |jobs: &BTreeSet<(MonotonicTime, JobId)>| {
            jobs.first().is_some_and(|(at, _)| *at <= now)
        };
        next(&self.waiting_by_due) || next(&self.reevaluations)
    }

    /// Evaluates the jobs that have become due, and those whose evaluation is outdated.
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
            if let Some(DueState::Due { due_since, priority, reevaluate_at }) =
                self.entries.get(&job).copied()
            {
                self.remove_due(job, due_since, priority, reevaluate_at);
                self.insert_evaluated(job, due_since, evaluate(job));
            }
        }
    }

    /// Discards all evaluations: the next pass evaluates every due job anew.
    pub(super) fn reset_priorities(&mut self) {
        for (due_since, job) in std::mem::take(&mut self.due_by_time) {
            self.entries.insert(job, DueState::Waiting(due_since));
            self.waiting_by_due.insert((due_since, job));
        }
        self.due_by_priority.clear();
        self.reevaluations.clear();
    }

    /// The two candidates for the next poll; none if no evaluated job is due.
    pub(super) fn heads(&self) -> Option<QueueHeads> {
        let (highest_priority, longest_due) = (self.highest_priority()?, self.longest_due()?);
        Some(QueueHeads { highest_priority, longest_due })
    }

    fn highest_priority(&self) -> Option<DueJob> {
        let (Reverse(priority), due_since, job) = *self.due_by_priority.first()?;
        Some(DueJob { job, priority, due_since })
    }

    fn longest_due(&self) -> Option<DueJob> {
        let (due_since, job) = *self.due_by_time.first()?;
        let DueState::Due { priority, .. } = *self.entries.get(&job)? else { return None };
        Some(DueJob { job, priority, due_since })
    }

    /// The earliest due time, which may have passed.
    pub(super) fn earliest_due(&self) -> Option<MonotonicTime> {
        self.first_due_job().map(|(_, due)| due)
    }

    /// The number of jobs that are due at `now`.
    pub(super) fn count_due(&self, now: MonotonicTime) -> u64 {
        let newly_due = self.waiting_by_due.range(..=(now, JobId(i64::MAX))).count();
        (self.due_by_time.len() + newly_due) as u64
    }

    fn insert_evaluated(&mut self, job: JobId, due_since: MonotonicTime, evaluation: Evaluation) {
        let (priority, reevaluate_at) = match evaluation {
            Evaluation::NotBefore(at) => {
                self.entries.insert(job, DueState::Waiting(at));
                self.waiting_by_due.insert((at, job));
                return;
            }
            Evaluation::Due(priority, reevaluate_at) => (priority, reevaluate_at),
        };
        self.entries.insert(job, DueState::Due { due_since, priority, reevaluate_at });
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
