//! The jobs of a lane in the order of the provider's list, and whether one page of that list should
//! be asked for instead of a single job.
//!
//! A page costs one request, as a single question does, and answers for up to [`Page::SIZE`] jobs.
//! So it is worth asking for as soon as it answers for two that would cost one each. What it must be
//! told apart from is the list's other tenants: rows of jobs that are not ours take their places.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::Duration;

use crate::job::{JobId, Mono, Page, Utc};

use super::health::longer_each_time;

/// A job that waits, and when it is due.
pub(super) type Waiting = (JobId, Mono);

/// A job with its place in the list.
pub(super) type Placed = (Utc, JobId, Mono);

/// How the next job is best asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    /// By itself.
    Singly(Why),
    /// With these, by a page that spans their places.
    Together(Range<usize>),
}

/// Why a page would not save a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// No other job is due soon.
    Alone,
    /// The list holds so many jobs of others that a page would show hardly one of ours.
    Crowded,
}

/// Which of the jobs in `due`, given in the order of the list, a page should answer for: it takes in
/// the one at `picked`, `room` at most, and as many as it can that are due by `soon`.
pub(super) fn choose(due: &[Mono], picked: usize, soon: Mono, room: usize) -> Choice {
    if room < 2 {
        return Choice::Singly(Why::Crowded);
    }
    let size = room.min(due.len());
    let first = (picked + 1).saturating_sub(size)..=picked.min(due.len() - size);
    let count = |from: usize| due[from..from + size].iter().filter(|due| **due <= soon).count();
    // Of windows that hold equally many the last: its jobs go out of the way together.
    let best = first.map(|from| (count(from), from)).max();
    match best {
        Some((in_time, from)) if in_time >= 2 => Choice::Together(from..from + size),
        Some(_) | None => Choice::Singly(Why::Alone),
    }
}

/// A lane's waiting jobs whose place in the list is known, and what is known of the list.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    waiting: BTreeMap<(Utc, JobId), Mono>,
    /// Further pages of windows that were begun, and whom they may show.
    further: VecDeque<(Page, Vec<Waiting>)>,
    /// Rows of a page for each of ours, when it was last seen.
    crowd: Option<(u64, Mono)>,
    /// After a failure the list is left alone until then.
    off_until: Option<Mono>,
    failures: u32,
}

impl Shelf {
    /// What others have in the list changes.
    const CROWD_HOLDS: Duration = Duration::from_hours(1);

    pub(super) fn put(&mut self, place: Utc, job: JobId, due: Mono) {
        self.waiting.insert((place, job), due);
    }

    pub(super) fn take(&mut self, place: Utc, job: JobId) {
        self.waiting.remove(&(place, job));
    }

    /// The page to ask for instead of this job alone, and whom it answers for; they stay here.
    pub(super) fn page_for(
        &self,
        (place, job): (Utc, JobId),
        now: Mono,
        soon: Mono,
    ) -> Option<(Page, Vec<Placed>)> {
        if self.off_until.is_some_and(|until| until > now) {
            return None;
        }
        let room = self.room(now);
        let mut around: Vec<_> = self.waiting.range(..(place, job)).rev().take(room).collect();
        around.reverse();
        let picked = around.len();
        around.extend(self.waiting.range((place, job)..).take(room));
        let due: Vec<_> = around.iter().map(|(_, due)| **due).collect();
        let Choice::Together(range) = choose(&due, picked, soon, room) else { return None };
        let chosen = &around[range];
        let ((first, _), ((last, _), _)) = (chosen.first()?.0, chosen.last()?);
        // Whether the ends belong to a window is not documented.
        let margin = Duration::from_millis(1);
        let page = Page { from: first.minus(margin), to: last.plus(margin), number: 1 };
        Some((page, chosen.iter().map(|((place, job), due)| (*place, *job, **due)).collect()))
    }

    fn room(&self, now: Mono) -> usize {
        let held = self.crowd.filter(|(_, seen)| now.since(*seen) < Self::CROWD_HOLDS);
        let rows = held.map_or(1, |(rows, _)| rows.max(1));
        usize::try_from(u64::from(Page::SIZE) / rows).unwrap_or(0)
    }

    /// A further page that is to be asked for.
    pub(super) fn further(&mut self) -> Option<(Page, Vec<Waiting>)> {
        self.further.pop_front()
    }

    pub(super) fn has_further(&self) -> bool {
        !self.further.is_empty()
    }

    /// The further pages of a shelf whose jobs come here.
    pub(super) fn inherit(&mut self, other: &mut Self) {
        self.further.append(&mut other.further);
    }

    /// Takes in how many rows the window of this page has. Returns those of `missing` who are better
    /// asked singly than on the pages that are left; for the others the next page is to come.
    pub(super) fn seen(
        &mut self,
        page: Page,
        total: u64,
        expected: usize,
        missing: Vec<Waiting>,
        now: Mono,
    ) -> Vec<Waiting> {
        (self.failures, self.off_until) = (0, None);
        if page.number == 1 {
            let ours = u64::try_from(expected).unwrap_or(u64::MAX).max(1);
            self.crowd = Some((total.div_ceil(ours), now));
        }
        let shown = u64::from(page.number) * u64::from(Page::SIZE);
        let left = total.saturating_sub(shown).div_ceil(u64::from(Page::SIZE));
        let worth = left > 0 && left < missing.len() as u64 && page.number < Page::LAST;
        if !worth {
            return missing;
        }
        self.further.push_back((Page { number: page.number + 1, ..page }, missing));
        Vec::new()
    }

    /// The list is not to be had: those who were to be on it are asked singly for a while.
    pub(super) fn failed(&mut self, now: Mono) {
        self.failures = self.failures.saturating_add(1);
        self.off_until = Some(now.plus(longer_each_time(self.failures)));
    }

    /// What is known of the list may be true no more.
    pub(super) fn forget(&mut self) {
        (self.failures, self.off_until, self.crowd) = (0, None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Mono {
        Mono::from_millis(s * 1000)
    }

    #[test]
    fn a_page_is_chosen_where_it_saves_a_request() {
        use Choice::{Singly, Together};
        // (seconds until each is due, whose turn it is, due soon by, room, the choice)
        let cases: [(&[u64], usize, u64, usize, Choice); 9] = [
            (&[0], 0, 30, 100, Singly(Why::Alone)),
            (&[0, 200], 0, 30, 100, Singly(Why::Alone)),
            (&[0, 20], 0, 30, 100, Together(0..2)),
            (&[200, 0, 20, 300], 1, 30, 100, Together(0..4)),
            (&[0, 0], 0, 30, 1, Singly(Why::Crowded)),
            (&[0, 0], 0, 30, 0, Singly(Why::Crowded)),
            (&[9, 9, 0, 0, 0, 9], 2, 5, 3, Together(2..5)),
            (&[0, 0, 0, 9, 9], 2, 5, 3, Together(0..3)),
            (&[0, 9, 9, 9, 0], 2, 5, 2, Singly(Why::Alone)),
        ];
        for (due, picked, soon, room, expected) in cases {
            let due: Vec<_> = due.iter().copied().map(at).collect();
            assert_eq!(choose(&due, picked, at(soon), room), expected, "{due:?} {picked} {room}");
        }
    }

    #[test]
    fn a_further_page_must_cost_less_than_asking_singly() {
        let page = Page { from: Utc::from_millis(0), to: Utc::from_millis(9), number: 1 };
        let missing = |count: i64| (0..count).map(|id| (JobId(id), at(0))).collect::<Vec<_>>();
        // (rows in the window, jobs that are missing, whether the next page is asked for)
        let cases =
            [(100, 3, false), (101, 2, true), (101, 1, false), (500, 4, false), (500, 5, true)];
        for (total, count, further) in cases {
            let mut shelf = Shelf::default();
            let singly = shelf.seen(page, total, 100, missing(count), at(0));
            assert_eq!(singly.is_empty(), further, "{total} rows, {count} missing");
            let next = shelf.further().map(|(page, jobs)| (page.number, jobs.len()));
            assert_eq!(next, further.then(|| (2, missing(count).len())));
        }
    }
}
