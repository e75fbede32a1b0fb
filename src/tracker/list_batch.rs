//! The jobs of a lane in the order of the provider's list, and whether one page of that list should
//! be asked for instead of a single job.
//!
//! A page costs one request, as a single question does, and answers for up to [`Page::SIZE`] jobs: it
//! is worth the sum of what they are. The list has other tenants, too: rows of jobs that are not ours
//! take their places.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::Duration;

use crate::job::{JobId, ListWindow, MonotonicTime, UtcTime};

use super::breaker::escalating_pause;

/// A job that waits, and when it is due.
pub(super) type WaitingJob = (JobId, MonotonicTime);

/// A job with its place in the list.
pub(super) type ListedJob = (UtcTime, JobId, MonotonicTime);

/// How the next job is best asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum BatchDecision {
    /// By itself.
    Individual(IndividualReason),
    /// With these, by a page that spans their places and is worth so much.
    Batch {
        /// Which.
        range: Range<usize>,
        /// The sum of theirs.
        priority: f64,
    },
}

/// Why a page would not save a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IndividualReason {
    /// What others would gain by it is not worth it.
    NotWorthBatching,
    /// The list holds so many jobs of others that a page would show hardly one of ours.
    TooManyForeignJobs,
}

/// Which of the jobs a page should answer for, by what asking for each is worth, given in the order of
/// the list: it takes in the one at `picked`, `room` at most, and as much worth as it can. It must be
/// worth `needed`, or the one is asked singly.
pub(super) fn decide_batch(
    priorities: &[f64],
    selected: usize,
    capacity: usize,
    min_priority: f64,
) -> BatchDecision {
    if capacity < 2 {
        return BatchDecision::Individual(IndividualReason::TooManyForeignJobs);
    }
    let batch_size = capacity.min(priorities.len());
    let starts =
        (selected + 1).saturating_sub(batch_size)..=selected.min(priorities.len() - batch_size);
    let sum = |from: usize| priorities[from..from + batch_size].iter().sum::<f64>();
    // Of windows that are worth the same the last: its jobs go out of the way together.
    let best = starts.map(|from| (sum(from), from)).max_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        Some((priority, start)) if batch_size >= 2 && priority >= min_priority => {
            BatchDecision::Batch { range: start..start + batch_size, priority }
        }
        Some(_) | None => BatchDecision::Individual(IndividualReason::NotWorthBatching),
    }
}

/// A lane's waiting jobs whose place in the list is known, and what is known of the list.
#[derive(Debug, Default)]
pub(super) struct ListBatcher {
    waiting_by_position: BTreeMap<(UtcTime, JobId), MonotonicTime>,
    /// Further pages of windows that were begun, and whom they may show.
    continuation_pages: VecDeque<(ListWindow, Vec<WaitingJob>)>,
    /// Rows of a page for each of ours, when it was last seen.
    rows_per_own_job: Option<(u64, MonotonicTime)>,
    /// After a failure the list is left alone until then.
    disabled_until: Option<MonotonicTime>,
    consecutive_failures: u32,
}

impl ListBatcher {
    /// What others have in the list changes.
    const ROWS_PER_OWN_JOB_TTL: Duration = Duration::from_hours(1);

    pub(super) fn insert(&mut self, list_position: UtcTime, job: JobId, due: MonotonicTime) {
        self.waiting_by_position.insert((list_position, job), due);
    }

    pub(super) fn remove(&mut self, list_position: UtcTime, job: JobId) {
        self.waiting_by_position.remove(&(list_position, job));
    }

    /// The page to ask for instead of this job alone, what it is worth, and whom it answers for; they
    /// stay here. `worth` is that of a job that is due then; `needed` is what makes a page worth it.
    pub(super) fn best_window(
        &self,
        (list_position, job): (UtcTime, JobId),
        now: MonotonicTime,
        priority: impl Fn(JobId, MonotonicTime) -> f64,
        min_priority: f64,
    ) -> Option<(ListWindow, f64, Vec<ListedJob>)> {
        if self.is_disabled(now) {
            return None;
        }
        let capacity = self.page_capacity(now);
        let mut neighbors: Vec<_> =
            self.waiting_by_position.range(..(list_position, job)).rev().take(capacity).collect();
        neighbors.reverse();
        let selected = neighbors.len();
        neighbors.extend(self.waiting_by_position.range((list_position, job)..).take(capacity));
        let priorities: Vec<_> =
            neighbors.iter().map(|((_, job), due)| priority(*job, **due)).collect();
        let BatchDecision::Batch { range, priority: total_priority } =
            decide_batch(&priorities, selected, capacity, min_priority)
        else {
            return None;
        };
        let chosen = &neighbors[range];
        let ((first, _), ((last, _), _)) = (chosen.first()?.0, chosen.last()?);
        // Whether the ends belong to a window is not documented.
        let margin = Duration::from_millis(1);
        let window = ListWindow { from: first.minus(margin), to: last.plus(margin), page: 1 };
        let jobs = chosen
            .iter()
            .map(|((list_position, job), due)| (*list_position, *job, **due))
            .collect();
        Some((window, total_priority, jobs))
    }

    /// How many jobs a page would answer for, at most.
    pub(super) fn batch_capacity(&self, now: MonotonicTime) -> usize {
        if self.is_disabled(now) {
            1
        } else {
            self.page_capacity(now).min(self.waiting_by_position.len()).max(1)
        }
    }

    fn is_disabled(&self, now: MonotonicTime) -> bool {
        self.disabled_until.is_some_and(|until| until > now)
    }

    fn page_capacity(&self, now: MonotonicTime) -> usize {
        let current = self.rows_per_own_job.filter(|(_, measured_at)| {
            now.duration_since(*measured_at) < Self::ROWS_PER_OWN_JOB_TTL
        });
        let rows_per_job = current.map_or(1, |(rows, _)| rows.max(1));
        usize::try_from(u64::from(ListWindow::PAGE_SIZE) / rows_per_job).unwrap_or(0)
    }

    /// A further page that is to be asked for.
    pub(super) fn pop_continuation(&mut self) -> Option<(ListWindow, Vec<WaitingJob>)> {
        self.continuation_pages.pop_front()
    }

    pub(super) fn has_continuation(&self) -> bool {
        !self.continuation_pages.is_empty()
    }

    /// The further pages of a shelf whose jobs come here.
    pub(super) fn absorb(&mut self, other: &mut Self) {
        self.continuation_pages.append(&mut other.continuation_pages);
    }

    /// Takes in how many rows the window of this page has. Returns those of `missing` who are better
    /// asked singly than on the pages that are left; for the others the next page is to come.
    pub(super) fn record_page(
        &mut self,
        window: ListWindow,
        total_rows: u64,
        expected_count: usize,
        missing: Vec<WaitingJob>,
        now: MonotonicTime,
    ) -> Vec<WaitingJob> {
        (self.consecutive_failures, self.disabled_until) = (0, None);
        if window.page == 1 {
            let expected = u64::try_from(expected_count).unwrap_or(u64::MAX).max(1);
            self.rows_per_own_job = Some((total_rows.div_ceil(expected), now));
        }
        let rows_shown = u64::from(window.page) * u64::from(ListWindow::PAGE_SIZE);
        let pages_left =
            total_rows.saturating_sub(rows_shown).div_ceil(u64::from(ListWindow::PAGE_SIZE));
        let saves_requests = pages_left > 0
            && pages_left < missing.len() as u64
            && window.page < ListWindow::MAX_PAGE;
        if !saves_requests {
            return missing;
        }
        self.continuation_pages
            .push_back((ListWindow { page: window.page + 1, ..window }, missing));
        Vec::new()
    }

    /// The list is not to be had: those who were to be on it are asked singly for a while.
    pub(super) fn record_failure(&mut self, now: MonotonicTime) {
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        self.disabled_until = Some(now.plus(escalating_pause(self.consecutive_failures)));
    }

    /// What is known of the list may be true no more.
    pub(super) fn reset(&mut self) {
        (self.consecutive_failures, self.disabled_until, self.rows_per_own_job) = (0, None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> MonotonicTime {
        MonotonicTime::from_millis(s * 1000)
    }

    #[test]
    fn a_page_is_chosen_if_its_priority_is_high_enough() {
        let batch = |jobs, worth| BatchDecision::Batch { range: jobs, priority: worth };
        let (not_worth_batching, too_many_foreign_jobs) = (
            BatchDecision::Individual(IndividualReason::NotWorthBatching),
            BatchDecision::Individual(IndividualReason::TooManyForeignJobs),
        );
        // (what each is worth, whose turn it is, room, what is needed, the choice)
        let cases: [(&[f64], usize, usize, f64, BatchDecision); 10] = [
            (&[1.0], 0, 100, 0.5, not_worth_batching.clone()),
            (&[1.0, 0.0], 0, 100, 2.0, not_worth_batching.clone()),
            (&[1.0, 1.0], 0, 100, 2.0, batch(0..2, 2.0)),
            (&[0.0, 1.0, 1.0, 0.0], 1, 100, 2.0, batch(0..4, 2.0)),
            (&[1.0, 1.0], 0, 1, 2.0, too_many_foreign_jobs.clone()),
            (&[1.0, 1.0], 0, 0, 2.0, too_many_foreign_jobs),
            (&[0.0, 0.0, 1.0, 1.0, 1.0, 0.0], 2, 3, 2.0, batch(2..5, 3.0)),
            (&[1.0, 1.0, 1.0, 0.0, 0.0], 2, 3, 2.0, batch(0..3, 3.0)),
            (&[1.0, 0.0, 0.0, 0.0, 1.0], 2, 2, 2.0, not_worth_batching),
            (&[0.25, 0.5, 0.125], 1, 2, 0.7, batch(0..2, 0.75)),
        ];
        for (priorities, selected, capacity, min_priority, expected) in cases {
            assert_eq!(
                decide_batch(priorities, selected, capacity, min_priority),
                expected,
                "{priorities:?} {selected} {capacity}"
            );
        }
    }

    #[test]
    fn a_continuation_page_must_cost_less_than_individual_polls() {
        let window =
            ListWindow { from: UtcTime::from_millis(0), to: UtcTime::from_millis(9), page: 1 };
        let missing = |count: i64| (0..count).map(|id| (JobId(id), at(0))).collect::<Vec<_>>();
        // (rows in the window, jobs that are missing, whether the next page is asked for)
        let cases =
            [(100, 3, false), (101, 2, true), (101, 1, false), (500, 4, false), (500, 5, true)];
        for (total, count, continues) in cases {
            let mut batcher = ListBatcher::default();
            let individual = batcher.record_page(window, total, 100, missing(count), at(0));
            assert_eq!(individual.is_empty(), continues, "{total} rows, {count} missing");
            let next = batcher.pop_continuation().map(|(window, jobs)| (window.page, jobs.len()));
            assert_eq!(next, continues.then(|| (2, missing(count).len())));
        }
    }
}
