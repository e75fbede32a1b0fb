//! A provider's requests a minute: spaced evenly, one by one, and counted over every minute.
//!
//! Two rules. *Spacing* (GCRA with a burst of 1): a minute's requests are not spent at once and the
//! rest of it blind. *Counting*: a request counts from our decision to send it until 60 s after its
//! end. The provider saw it somewhere in between, so however long connecting took, no window of
//! 60 s holds more than the limit, by the provider's clock or by ours.

use std::collections::VecDeque;
use std::time::Duration;

use crate::job::{Mono, Quota};

/// The requests that a provider allows, and those that were spent.
#[derive(Debug)]
pub struct Budget {
    per_minute: u32,
    announced: Option<u32>,
    next_at: Mono,
    under_way: u32,
    ended: VecDeque<Mono>,
}

impl Budget {
    const WINDOW: Duration = Duration::from_mins(1);

    /// A budget whose first request may go one space after `now`: what an earlier process sent just
    /// before is not known.
    #[must_use]
    pub fn new(per_minute: u32, now: Mono) -> Self {
        let mut budget = Self {
            per_minute: per_minute.max(1),
            announced: None,
            next_at: now,
            under_way: 0,
            ended: VecDeque::new(),
        };
        budget.next_at = now.plus(budget.space());
        budget
    }

    /// Changes the limit, and forgets an announced one; what was spent stays spent.
    pub fn set_limit(&mut self, per_minute: u32) {
        self.per_minute = per_minute.max(1);
        self.announced = None;
    }

    /// Minds a limit that the provider announces, if it is lower than ours.
    pub fn announce(&mut self, quota: Quota) {
        let per_minute =
            f64::from(quota.requests) * Self::WINDOW.as_secs_f64() / quota.window.as_secs_f64();
        // Whole requests of at least one: a cast saturates, and a quota below one a minute is one.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let per_minute = (per_minute as u32).max(1);
        self.announced = Some(per_minute);
    }

    /// The limit in force, in requests a minute.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.announced.map_or(self.per_minute, |announced| announced.min(self.per_minute))
    }

    /// When the next request may be sent; none while every one of the limit is under way.
    #[must_use]
    pub fn opens_at(&self) -> Option<Mono> {
        let limit = self.limit() as usize;
        let spent = self.under_way as usize + self.ended.len();
        if spent < limit {
            return Some(self.next_at);
        }
        // So many of those that ended must leave the window first.
        let leaving = spent - limit;
        self.ended.get(leaving).map(|ended| self.next_at.max(ended.plus(Self::WINDOW)))
    }

    /// Spends one request, now.
    pub fn spend(&mut self, now: Mono) {
        self.forget(now);
        self.under_way += 1;
        self.next_at = self.next_at.max(now).plus(self.space());
    }

    /// One request that was spent has ended, in whatever way.
    pub fn end(&mut self, now: Mono) {
        self.forget(now);
        self.under_way = self.under_way.saturating_sub(1);
        self.ended.push_back(now);
    }

    /// Requests under way.
    #[must_use]
    pub fn under_way(&self) -> u32 {
        self.under_way
    }

    /// Requests of the last minute, those under way included.
    #[must_use]
    pub fn spent_last_minute(&self, now: Mono) -> u32 {
        let ended = self.ended.iter().filter(|ended| ended.plus(Self::WINDOW) > now).count();
        self.under_way.saturating_add(u32::try_from(ended).unwrap_or(u32::MAX))
    }

    fn space(&self) -> Duration {
        Self::WINDOW / self.limit()
    }

    fn forget(&mut self, now: Mono) {
        while self.ended.front().is_some_and(|ended| ended.plus(Self::WINDOW) <= now) {
            self.ended.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Mono {
        Mono::from_millis(ms)
    }

    #[test]
    fn requests_are_spaced_and_none_is_saved_up() {
        let mut budget = Budget::new(60, at(0));
        assert_eq!(budget.opens_at(), Some(at(1000)), "one space after the start");
        budget.spend(at(5000));
        assert_eq!(budget.opens_at(), Some(at(6000)));
        budget.spend(at(6500));
        assert_eq!(budget.opens_at(), Some(at(7500)), "a late one is not made up for");
    }

    #[test]
    fn a_slow_request_counts_until_a_minute_after_its_end() {
        let mut budget = Budget::new(1, at(0));
        budget.spend(at(60_000));
        assert_eq!(budget.opens_at(), None, "it may be seen at any time");
        budget.end(at(90_000));
        assert_eq!(budget.opens_at(), Some(at(150_000)));
    }

    #[test]
    fn a_lower_announced_limit_is_minded_and_a_higher_one_is_not() {
        let mut budget = Budget::new(60, at(0));
        let quota = |requests| Quota { requests, window: Duration::from_secs(30) };
        budget.announce(quota(10));
        assert_eq!(budget.limit(), 20);
        budget.announce(quota(1000));
        assert_eq!(budget.limit(), 60);
        budget.announce(quota(0));
        assert_eq!(budget.limit(), 1);
    }

    proptest! {
        /// The provider sees each request at any moment between our decision and its end.
        #[test]
        fn no_minute_holds_more_than_the_limit(
            limit in 1u32..40,
            calls in prop::collection::vec((0u64..5_000, 0u64..20_000, 0.0..1.0f64), 1..200),
        ) {
            let mut budget = Budget::new(limit, at(0));
            let mut now = 0u64;
            let mut open: Vec<u64> = Vec::new();
            let mut seen: Vec<u64> = Vec::new();
            for (idle, latency, when) in calls {
                now += idle;
                loop {
                    open.sort_unstable();
                    let due = budget.opens_at().map(Mono::as_millis);
                    let may = due.map(|due| due.max(now));
                    match (may, open.first().copied()) {
                        (Some(may), Some(end)) if end <= may => { budget.end(at(end)); now = now.max(end); open.remove(0); }
                        (Some(may), _) => { now = may; break; }
                        (None, Some(end)) => { budget.end(at(end)); now = now.max(end); open.remove(0); }
                        (None, None) => prop_assert!(false, "stuck for ever"),
                    }
                }
                budget.spend(at(now));
                open.push(now + latency);
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
                seen.push(now + (latency as f64 * when) as u64);
            }
            seen.sort_unstable();
            for (index, first) in seen.iter().enumerate() {
                let held = seen[index..].iter().take_while(|&&ms| ms < first + 60_000).count();
                prop_assert!(held <= limit as usize, "{held} of {limit} from {first}");
            }
        }
    }
}
