//! The jobs of a lane in the order of the provider's list, and whether one page of that list should
//! be asked for instead of a single job.
//!
//! A page costs one request, as a single question does, and answers for up to [`Page::SIZE`] jobs: it
//! is worth the sum of what they are. The list has other tenants, too: rows of jobs that are not ours
//! take their places.

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
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Choice {
    /// By itself.
    Singly(Why),
    /// With these, by a page that spans their places and is worth so much.
    Together {
        /// Which.
        jobs: Range<usize>,
        /// The sum of theirs.
        worth: f64,
    },
}

/// Why a page would not save a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// What others would gain by it is not worth it.
    Alone,
    /// The list holds so many jobs of others that a page would show hardly one of ours.
    Crowded,
}

/// Which of the jobs a page should answer for, by what asking for each is worth, given in the order of
/// the list: it takes in the one at `picked`, `room` at most, and as much worth as it can. It must be
/// worth `needed`, or the one is asked singly.
pub(super) fn choose(worth: &[f64], picked: usize, room: usize, needed: f64) -> Choice {
    if room < 2 {
        return Choice::Singly(Why::Crowded);
    }
    let size = room.min(worth.len());
    let first = (picked + 1).saturating_sub(size)..=picked.min(worth.len() - size);
    let sum = |from: usize| worth[from..from + size].iter().sum::<f64>();
    // Of windows that are worth the same the last: its jobs go out of the way together.
    let best = first.map(|from| (sum(from), from)).max_by(|one, other| one.0.total_cmp(&other.0));
    match best {
        Some((worth, from)) if size >= 2 && worth >= needed => {
            Choice::Together { jobs: from..from + size, worth }
        }
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

    /// The page to ask for instead of this job alone, what it is worth, and whom it answers for; they
    /// stay here. `worth` is that of a job that is due then; `needed` is what makes a page worth it.
    pub(super) fn page_for(
        &self,
        (place, job): (Utc, JobId),
        now: Mono,
        worth: impl Fn(JobId, Mono) -> f64,
        needed: f64,
    ) -> Option<(Page, f64, Vec<Placed>)> {
        if self.is_off(now) {
            return None;
        }
        let room = self.room(now);
        let mut around: Vec<_> = self.waiting.range(..(place, job)).rev().take(room).collect();
        around.reverse();
        let picked = around.len();
        around.extend(self.waiting.range((place, job)..).take(room));
        let each: Vec<_> = around.iter().map(|((_, job), due)| worth(*job, **due)).collect();
        let Choice::Together { jobs, worth } = choose(&each, picked, room, needed) else {
            return None;
        };
        let chosen = &around[jobs];
        let ((first, _), ((last, _), _)) = (chosen.first()?.0, chosen.last()?);
        // Whether the ends belong to a window is not documented.
        let margin = Duration::from_millis(1);
        let page = Page { from: first.minus(margin), to: last.plus(margin), number: 1 };
        let jobs = chosen.iter().map(|((place, job), due)| (*place, *job, **due)).collect();
        Some((page, worth, jobs))
    }

    /// How many jobs a page would answer for, at most.
    pub(super) fn sharers(&self, now: Mono) -> usize {
        if self.is_off(now) { 1 } else { self.room(now).min(self.waiting.len()).max(1) }
    }

    fn is_off(&self, now: Mono) -> bool {
        self.off_until.is_some_and(|until| until > now)
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
    fn a_page_is_chosen_where_it_is_worth_a_request() {
        let together = |jobs, worth| Choice::Together { jobs, worth };
        let (alone, crowded) = (Choice::Singly(Why::Alone), Choice::Singly(Why::Crowded));
        // (what each is worth, whose turn it is, room, what is needed, the choice)
        let cases: [(&[f64], usize, usize, f64, Choice); 10] = [
            (&[1.0], 0, 100, 0.5, alone.clone()),
            (&[1.0, 0.0], 0, 100, 2.0, alone.clone()),
            (&[1.0, 1.0], 0, 100, 2.0, together(0..2, 2.0)),
            (&[0.0, 1.0, 1.0, 0.0], 1, 100, 2.0, together(0..4, 2.0)),
            (&[1.0, 1.0], 0, 1, 2.0, crowded.clone()),
            (&[1.0, 1.0], 0, 0, 2.0, crowded),
            (&[0.0, 0.0, 1.0, 1.0, 1.0, 0.0], 2, 3, 2.0, together(2..5, 3.0)),
            (&[1.0, 1.0, 1.0, 0.0, 0.0], 2, 3, 2.0, together(0..3, 3.0)),
            (&[1.0, 0.0, 0.0, 0.0, 1.0], 2, 2, 2.0, alone),
            (&[0.25, 0.5, 0.125], 1, 2, 0.7, together(0..2, 0.75)),
        ];
        for (worth, picked, room, needed, expected) in cases {
            assert_eq!(choose(worth, picked, room, needed), expected, "{worth:?} {picked} {room}");
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
