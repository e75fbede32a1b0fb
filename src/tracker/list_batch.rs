//! The waiting jobs of a provider in the order of its list, and the decision whether one list page
//! should be requested instead of polling one job.
//!
//! A list page costs one request, as a poll does, and answers for up to [`ListPageQuery::PAGE_SIZE`] jobs:
//! the priority of a page is the sum of the priorities of its jobs. Rows of jobs that are not tracked
//! here reduce the number of jobs that fit on a page.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::time::Duration;

use crate::job::{JobId, ListPageQuery, MonotonicTime, UtcTime, escalating_pause};

use super::message::ExpectedJob;

/// A waiting job that a list page may answer for.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchableJob {
    pub(super) list_time: UtcTime,
    pub(super) job: JobId,
    pub(super) due: MonotonicTime,
}

/// A list page that may be requested instead of polling one job.
#[derive(Debug)]
pub(super) struct PageCandidate {
    pub(super) query: ListPageQuery,
    /// The sum of the priorities of `jobs`.
    pub(super) priority: f64,
    pub(super) jobs: Vec<BatchableJob>,
}

/// Chooses the jobs of a page and returns their range and the sum of their priorities. `priorities` are
/// those of the jobs in the order of the list. The page includes the job at index `selected`, holds as
/// many jobs as possible up to `capacity`, and has the highest possible sum of priorities. None if that
/// sum is below `min_priority` or if the page would hold fewer than two jobs.
fn choose_page(
    priorities: &[f64],
    selected: usize,
    capacity: usize,
    min_priority: f64,
) -> Option<(Range<usize>, f64)> {
    let page_size = capacity.min(priorities.len());
    if page_size < 2 {
        return None;
    }
    let starts =
        (selected + 1).saturating_sub(page_size)..=selected.min(priorities.len() - page_size);
    let sum = |from: usize| priorities[from..from + page_size].iter().sum::<f64>();
    // Among pages of equal priority `max_by` returns the last; the tests pin this choice.
    let (priority, start) =
        starts.map(|from| (sum(from), from)).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (priority >= min_priority).then(|| (start..start + page_size, priority))
}

/// The waiting jobs of a provider whose list time is known, and measurements of the list.
#[derive(Debug, Default)]
pub(super) struct ListBatcher {
    waiting_by_list_time: BTreeSet<(UtcTime, JobId)>,
    /// The next pages of windows whose first page was received, and the jobs still missing.
    continuation_pages: VecDeque<(ListPageQuery, Vec<ExpectedJob>)>,
    /// The number of list rows for each tracked job, and when it was measured.
    rows_per_own_job: Option<(u64, MonotonicTime)>,
    /// No list request is sent before this time, after a failed one.
    disabled_until: Option<MonotonicTime>,
    consecutive_failures: u32,
}

impl ListBatcher {
    const ROWS_PER_OWN_JOB_TTL: Duration = Duration::from_hours(1);

    pub(super) fn insert(&mut self, list_time: UtcTime, job: JobId) {
        self.waiting_by_list_time.insert((list_time, job));
    }

    pub(super) fn remove(&mut self, list_time: UtcTime, job: JobId) {
        self.waiting_by_list_time.remove(&(list_time, job));
    }

    /// The page with the highest priority that includes this job; none if no page reaches
    /// `min_priority`. `due_and_priority` returns the due time of a job and its priority. The jobs of the
    /// page are not removed.
    pub(super) fn best_page(
        &self,
        (list_time, job): (UtcTime, JobId),
        now: MonotonicTime,
        due_and_priority: impl Fn(JobId) -> (MonotonicTime, f64),
        min_priority: f64,
    ) -> Option<PageCandidate> {
        if self.is_disabled(now) {
            return None;
        }
        let capacity = self.page_capacity(now);
        let mut neighbors: Vec<_> =
            self.waiting_by_list_time.range(..(list_time, job)).rev().take(capacity).collect();
        neighbors.reverse();
        let selected = neighbors.len();
        neighbors.extend(self.waiting_by_list_time.range((list_time, job)..).take(capacity));
        let (neighbors, priorities): (Vec<_>, Vec<_>) = neighbors
            .into_iter()
            .map(|(list_time, job)| {
                let (due, priority) = due_and_priority(*job);
                (BatchableJob { list_time: *list_time, job: *job, due }, priority)
            })
            .unzip();
        let (range, page_priority) = choose_page(&priorities, selected, capacity, min_priority)?;
        let jobs = neighbors[range].to_vec();
        let (first, last) = (jobs.first()?, jobs.last()?);
        // The provider's documents do not say whether the bounds of a window are inclusive.
        let margin = Duration::from_millis(1);
        let (from, to) = (first.list_time.minus(margin), last.list_time.plus(margin));
        let query = ListPageQuery { from, to, page: 1 };
        Some(PageCandidate { query, priority: page_priority, jobs })
    }

    /// The number of waiting jobs that a page could answer for, at least 1.
    pub(super) fn batch_capacity(&self, now: MonotonicTime) -> usize {
        if self.is_disabled(now) {
            1
        } else {
            self.page_capacity(now).min(self.waiting_by_list_time.len()).max(1)
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
        usize::try_from(u64::from(ListPageQuery::PAGE_SIZE) / rows_per_job).unwrap_or(0)
    }

    pub(super) fn pop_continuation(&mut self) -> Option<(ListPageQuery, Vec<ExpectedJob>)> {
        self.continuation_pages.pop_front()
    }

    pub(super) fn has_continuation(&self) -> bool {
        !self.continuation_pages.is_empty()
    }

    /// Records the page of `query`, whose window has `total_rows` rows on all pages. Returns the `missing`
    /// jobs if individual polls cost fewer requests than the remaining pages. Otherwise it queues the
    /// next page and returns no job.
    pub(super) fn record_page(
        &mut self,
        query: ListPageQuery,
        total_rows: u64,
        expected_count: usize,
        missing: Vec<ExpectedJob>,
        now: MonotonicTime,
    ) -> Vec<ExpectedJob> {
        (self.consecutive_failures, self.disabled_until) = (0, None);
        if query.page == 1 {
            let expected = u64::try_from(expected_count).unwrap_or(u64::MAX).max(1);
            self.rows_per_own_job = Some((total_rows.div_ceil(expected), now));
        }
        let rows_shown = u64::from(query.page) * u64::from(ListPageQuery::PAGE_SIZE);
        let pages_left =
            total_rows.saturating_sub(rows_shown).div_ceil(u64::from(ListPageQuery::PAGE_SIZE));
        let saves_requests = pages_left > 0
            && pages_left < missing.len() as u64
            && query.page < ListPageQuery::MAX_PAGE;
        if !saves_requests {
            return missing;
        }
        self.continuation_pages
            .push_back((ListPageQuery { page: query.page + 1, ..query }, missing));
        Vec::new()
    }

    /// Disables list requests for a time that grows with consecutive failures.
    pub(super) fn record_failure(&mut self, now: MonotonicTime) {
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        self.disabled_until = Some(now.plus(escalating_pause(self.consecutive_failures)));
    }

    /// Forgets failures and measurements after new settings.
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
        // (priorities, selected index, capacity, minimum priority, expected page)
        type Case<'a> = (&'a [f64], usize, usize, f64, Option<(Range<usize>, f64)>);
        let cases: [Case<'_>; 10] = [
            (&[1.0], 0, 100, 0.5, None),
            (&[1.0, 0.0], 0, 100, 2.0, None),
            (&[1.0, 1.0], 0, 100, 2.0, Some((0..2, 2.0))),
            (&[0.0, 1.0, 1.0, 0.0], 1, 100, 2.0, Some((0..4, 2.0))),
            (&[1.0, 1.0], 0, 1, 2.0, None),
            (&[1.0, 1.0], 0, 0, 2.0, None),
            (&[0.0, 0.0, 1.0, 1.0, 1.0, 0.0], 2, 3, 2.0, Some((2..5, 3.0))),
            (&[1.0, 1.0, 1.0, 0.0, 0.0], 2, 3, 2.0, Some((0..3, 3.0))),
            (&[1.0, 0.0, 0.0, 0.0, 1.0], 2, 2, 2.0, None),
            (&[0.25, 0.5, 0.125], 1, 2, 0.7, Some((0..2, 0.75))),
        ];
        for (priorities, selected, capacity, min_priority, expected) in cases {
            assert_eq!(
                choose_page(priorities, selected, capacity, min_priority),
                expected,
                "{priorities:?} {selected} {capacity}"
            );
        }
    }

    #[test]
    fn a_continuation_page_must_cost_less_than_individual_polls() {
        let query =
            ListPageQuery { from: UtcTime::from_millis(0), to: UtcTime::from_millis(9), page: 1 };
        let missing = |count: i64| {
            (0..count).map(|id| ExpectedJob { job: JobId(id), due: at(0) }).collect::<Vec<_>>()
        };
        // (rows in the window, missing jobs, whether the next page is requested)
        let cases =
            [(100, 3, false), (101, 2, true), (101, 1, false), (500, 4, false), (500, 5, true)];
        for (total, count, continues) in cases {
            let mut batcher = ListBatcher::default();
            let individual = batcher.record_page(query, total, 100, missing(count), at(0));
            assert_eq!(individual.is_empty(), continues, "{total} rows, {count} missing");
            let next = batcher.pop_continuation().map(|(query, jobs)| (query.page, jobs.len()));
            assert_eq!(next, continues.then(|| (2, missing(count).len())));
        }
    }
}
