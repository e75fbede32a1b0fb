//! The jobs of a provider that wait for a poll: ordered by due time until they are due, then by
//! priority.
//!
//! The priority of a due job grows while the job waits. The queue evaluates a job when the job becomes
//! due, and again at the time that the evaluation names. So a selection among 100,000 jobs costs a few
//! look-ups instead of a scan. Invariant: a job is in the queue at most once.

use std::cmp::Reverse;

use crate::job::{JobId, MonotonicTime};

use super::job_heap::JobHeap;

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

#[derive(Debug, Default)]
pub(super) struct DueQueue {
    waiting: JobHeap<MonotonicTime>,
    /// The due jobs. With the time since when they are due, because that decides between equal priorities.
    due_by_priority: JobHeap<(Reverse<Priority>, MonotonicTime)>,
    due_by_time: JobHeap<MonotonicTime>,
    /// The due jobs that are to be evaluated again, by the time for that.
    reevaluations: JobHeap<MonotonicTime>,
}

impl DueQueue {
    /// At most this many jobs are evaluated in one pass, so that a pass is short. The others follow in
    /// the next passes.
    const MAX_EVALUATIONS_PER_PASS: usize = 500;

    /// Adds the job, or moves it to a new due time.
    pub(super) fn insert(&mut self, job: JobId, due: MonotonicTime) {
        self.remove(job);
        self.waiting.insert(job, due);
    }

    pub(super) fn contains(&self, job: JobId) -> bool {
        self.waiting.key(job).is_some() || self.due_by_time.key(job).is_some()
    }

    /// Removes the job and returns when it was due; none if it was not in the queue.
    pub(super) fn remove(&mut self, job: JobId) -> Option<MonotonicTime> {
        self.waiting.remove(job).or_else(|| self.remove_due(job))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.len() + self.due_by_time.len() == 0
    }

    /// Removes all jobs and returns them with their due times.
    pub(super) fn drain(&mut self) -> Vec<(MonotonicTime, JobId)> {
        let jobs = self.iter().collect();
        *self = Self::default();
        jobs
    }

    /// The job with the earliest due time, due or not.
    pub(super) fn first_due_job(&self) -> Option<(MonotonicTime, JobId)> {
        self.due_by_time.first().into_iter().chain(self.waiting.first()).min()
    }

    /// A job of this queue. Jobs that are removed one after the other as this returns them have distant
    /// numbers. Takes time in proportion to the number of jobs.
    pub(super) fn spread_job(&self) -> Option<JobId> {
        // Multiples of the golden ratio are spread evenly.
        const GOLDEN_RATIO: u64 = 0x9e37_79b9_7f4a_7c15;
        let rank = |job: &JobId| job.0.unsigned_abs().wrapping_mul(GOLDEN_RATIO);
        self.iter().map(|(_, job)| job).max_by_key(rank)
    }

    /// All jobs with their due times, in no particular order.
    fn iter(&self) -> impl Iterator<Item = (MonotonicTime, JobId)> {
        self.due_by_time.iter().chain(self.waiting.iter())
    }

    /// Whether [`Self::promote_due`] evaluates any job.
    pub(super) fn needs_promotion(&self, now: MonotonicTime) -> bool {
        let first = self.waiting.first().into_iter().chain(self.reevaluations.first()).min();
        first.is_some_and(|(at, _)| at <= now)
    }

    /// Evaluates the jobs that have become due, and those whose evaluation is outdated.
    pub(super) fn promote_due(
        &mut self,
        now: MonotonicTime,
        evaluate: impl Fn(JobId) -> Evaluation,
    ) {
        for _ in 0..Self::MAX_EVALUATIONS_PER_PASS {
            if let Some((due, job)) = self.waiting.pop_up_to(now) {
                self.insert_evaluated(job, due, evaluate(job));
            } else if let Some((_, job)) = self.reevaluations.pop_up_to(now) {
                if let Some(due_since) = self.remove_due(job) {
                    self.insert_evaluated(job, due_since, evaluate(job));
                }
            } else {
                return;
            }
        }
    }

    /// Discards all evaluations: the next pass evaluates every due job anew.
    pub(super) fn reset_priorities(&mut self) {
        for (due_since, job) in std::mem::take(&mut self.due_by_time).iter() {
            self.waiting.insert(job, due_since);
        }
        self.due_by_priority = JobHeap::default();
        self.reevaluations = JobHeap::default();
    }

    /// The two candidates for the next poll; none if no evaluated job is due.
    pub(super) fn heads(&self) -> Option<QueueHeads> {
        let highest_priority = self.due_by_priority.first()?.1;
        let longest_due = self.due_by_time.first()?.1;
        Some(QueueHeads {
            highest_priority: self.due_job(highest_priority)?,
            longest_due: self.due_job(longest_due)?,
        })
    }

    fn due_job(&self, job: JobId) -> Option<DueJob> {
        let (Reverse(priority), due_since) = self.due_by_priority.key(job)?;
        Some(DueJob { job, priority, due_since })
    }

    /// The earliest due time, which may have passed.
    pub(super) fn earliest_due(&self) -> Option<MonotonicTime> {
        self.first_due_job().map(|(due, _)| due)
    }

    /// The number of jobs that are due at `now`. Takes time in proportion to those that are not evaluated.
    pub(super) fn count_due(&self, now: MonotonicTime) -> u64 {
        (self.due_by_time.len() + self.waiting.count_up_to(now)) as u64
    }

    fn insert_evaluated(&mut self, job: JobId, due_since: MonotonicTime, evaluation: Evaluation) {
        let (priority, reevaluate_at) = match evaluation {
            Evaluation::NotBefore(at) => return self.waiting.insert(job, at),
            Evaluation::Due(priority, reevaluate_at) => (priority, reevaluate_at),
        };
        self.due_by_priority.insert(job, (Reverse(priority), due_since));
        self.due_by_time.insert(job, due_since);
        if let Some(at) = reevaluate_at {
            self.reevaluations.insert(job, at);
        }
    }

    /// Removes a due job and returns since when it was due; none if it is not due.
    fn remove_due(&mut self, job: JobId) -> Option<MonotonicTime> {
        let due_since = self.due_by_time.remove(job)?;
        self.due_by_priority.remove(job);
        self.reevaluations.remove(job);
        Some(due_since)
    }
}
