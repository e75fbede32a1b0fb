//! The requests a minute of one account: spaced evenly, one by one, and counted over every minute.
//!
//! Two rules. *Spacing* (GCRA with a burst of 1): a minute's requests are not spent at once and the
//! rest of it blind. *Counting*: a request counts from our decision to send it until 60 s after its
//! end. The provider saw it somewhere in between, so however long connecting took, no window of
//! 60 s holds more than the limit, by the provider's clock or by ours.
//!
//! The limit is the configured one, or less: what the provider announced within the hour, and our
//! share of what it allows to all who use the account, of which we know by its refusals alone.

use std::collections::VecDeque;
use std::time::Duration;

use crate::job::{Mono, Quota};

/// The requests that a provider allows, and those that were spent.
#[derive(Debug, Clone)]
pub struct Budget {
    per_minute: u32,
    /// What the provider announced, and when it last did.
    announced: Option<(u32, Mono)>,
    /// What a refusal left of our share, and when.
    lowered: Option<(u32, Mono)>,
    /// The last time that we were told; the limit is that of then.
    seen: Mono,
    next_at: Mono,
    under_way: u32,
    ended: VecDeque<Mono>,
}

impl Budget {
    const WINDOW: Duration = Duration::from_mins(1);
    /// An announced limit is believed for so long after it was last told.
    const ANNOUNCED_FOR: Duration = Duration::from_hours(1);
    /// Each minute without a refusal gives back one part in so many of the configured limit.
    const MINUTES_TO_RECOVER: u32 = 10;

    /// A budget whose first request may go one space after `now`: what an earlier process sent just
    /// before is not known.
    #[must_use]
    pub fn new(per_minute: u32, now: Mono) -> Self {
        let mut budget = Self {
            per_minute: per_minute.max(1),
            announced: None,
            lowered: None,
            seen: now,
            next_at: now,
            under_way: 0,
            ended: VecDeque::new(),
        };
        budget.next_at = now.plus(budget.space());
        budget
    }

    /// Changes the limit, and forgets an announced one; what was spent stays spent, and what a
    /// refusal taught stays learned.
    pub fn set_limit(&mut self, per_minute: u32) {
        self.per_minute = per_minute.max(1);
        self.announced = None;
    }

    /// Minds a limit that the provider announces, if it is lower than ours.
    pub fn announce(&mut self, quota: Quota, now: Mono) {
        let per_minute =
            f64::from(quota.requests) * Self::WINDOW.as_secs_f64() / quota.window.as_secs_f64();
        // Whole requests of at least one: a cast saturates, and a quota below one a minute is one.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let per_minute = (per_minute as u32).max(1);
        self.announced = Some((per_minute, now));
        self.see(now);
    }

    /// A request of the time `sent` was refused for its number: our share falls to the limit that was
    /// `told`, or to the half if that is no news. One that was sent before the last refusal says
    /// nothing that we did not know when we lowered it.
    pub fn refuse(&mut self, sent: Mono, told: Option<Quota>, now: Mono) {
        self.see(now);
        let before = self.limit();
        if let Some(quota) = told {
            self.announce(quota, now);
        }
        if self.lowered.is_none_or(|(_, since)| sent >= since) {
            let limit = self.limit();
            let share = if limit < before { limit } else { (limit / 2).max(1) };
            self.lowered = Some((share, now));
        }
    }

    /// Time has come to `now`: a share that was lowered grows, an announced limit is forgotten.
    pub fn see(&mut self, now: Mono) {
        self.seen = self.seen.max(now);
    }

    /// The limit in force, in requests a minute.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit_at(self.seen)
    }

    /// The limit that is in force at `now`, if nothing is told until then.
    #[must_use]
    pub fn limit_at(&self, now: Mono) -> u32 {
        let announced = self.announced.filter(|(_, at)| now < at.plus(Self::ANNOUNCED_FOR));
        let announced = announced.map_or(self.per_minute, |(limit, _)| limit);
        let share = self.lowered.map_or(self.per_minute, |(share, since)| {
            let minutes = now.since(since).as_secs() / Self::WINDOW.as_secs();
            let minutes = u32::try_from(minutes).unwrap_or(u32::MAX);
            let step = (self.per_minute / Self::MINUTES_TO_RECOVER).max(1);
            share.saturating_add(step.saturating_mul(minutes))
        });
        self.per_minute.min(announced).min(share)
    }

    /// What was spent on another account counts here too, as do `under_way` requests that are: a
    /// provider has moved to this one, and its share of what was spent there is not known.
    pub fn take_over(&mut self, other: &Self, under_way: u32, now: Mono) {
        self.see(now);
        self.forget(now);
        self.under_way += under_way;
        self.ended.extend(&other.ended);
        self.ended.make_contiguous().sort_unstable();
        self.forget(now);
        self.next_at = self.next_at.max(other.next_at.min(now.plus(self.space())));
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
        self.see(now);
        self.forget(now);
        self.under_way += 1;
        self.next_at = self.next_at.max(now).plus(self.space());
    }

    /// One request that was spent has ended, in whatever way.
    pub fn end(&mut self, now: Mono) {
        self.see(now);
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
        budget.announce(quota(10), at(0));
        assert_eq!(budget.limit(), 20);
        budget.announce(quota(1000), at(0));
        assert_eq!(budget.limit(), 60);
        budget.announce(quota(0), at(0));
        assert_eq!(budget.limit(), 1);
    }

    #[test]
    fn an_announced_limit_is_minded_for_an_hour_after_it_was_last_told() {
        const MINUTE: u64 = 60_000;
        let mut budget = Budget::new(60, at(0));
        let quota = Quota { requests: 10, window: Duration::from_mins(1) };
        budget.announce(quota, at(0));
        budget.announce(quota, at(30 * MINUTE));
        // (at, the limit)
        for (now, limit) in [(30, 10), (89, 10), (90, 60)] {
            budget.see(at(now * MINUTE));
            assert_eq!(budget.limit(), limit, "at {now} minutes");
        }
    }

    #[test]
    fn a_refusal_halves_the_share_and_silence_gives_it_back() {
        const MINUTE: u64 = 60_000;
        let mut budget = Budget::new(60, at(0));
        // (at, when the request was sent that is refused then, the limit)
        let cases = [
            (0, Some(0), 30),
            (59_999, None, 30),
            (MINUTE, None, 36),
            (2 * MINUTE, Some(2 * MINUTE - 1), 21),
            (2 * MINUTE + 1, Some(2 * MINUTE - 1), 21),
            (2 * MINUTE + 2, Some(2 * MINUTE), 10),
            (2 * MINUTE + 3, Some(2 * MINUTE + 3), 5),
            (2 * MINUTE + 4, Some(2 * MINUTE + 4), 2),
            (2 * MINUTE + 5, Some(2 * MINUTE + 5), 1),
            (2 * MINUTE + 6, Some(2 * MINUTE + 6), 1),
            (3 * MINUTE + 6, None, 7),
            (11 * MINUTE + 6, None, 55),
            (12 * MINUTE + 6, None, 60),
            (u64::MAX, None, 60),
        ];
        for (now, refused, limit) in cases {
            budget.see(at(now));
            if let Some(sent) = refused {
                budget.refuse(at(sent), None, at(now));
            }
            assert_eq!(budget.limit(), limit, "at {now} ms");
        }
    }

    #[test]
    fn what_was_spent_on_another_account_counts_where_its_provider_goes() {
        let mut old = Budget::new(60, at(0));
        for ms in [1000, 2000, 3000] {
            old.spend(at(ms));
        }
        old.end(at(4000));
        old.end(at(5000));
        let mut new = Budget::new(2, at(0));
        new.take_over(&old, 1, at(10_000));
        assert_eq!(new.spent_last_minute(at(10_000)), 3);
        assert_eq!(new.opens_at(), Some(at(65_000)), "both that ended must leave the minute");
        new.end(at(20_000));
        assert_eq!(new.opens_at(), Some(at(65_000)));
    }

    #[test]
    fn a_refusal_that_tells_the_limit_is_believed_and_one_that_tells_no_news_halves() {
        let quota = |requests| Some(Quota { requests, window: Duration::from_mins(1) });
        // (the limit told with each refusal, the limit in force afterwards)
        let cases = [
            (vec![None], 300),
            (vec![quota(60)], 60),
            (vec![quota(60), quota(60)], 30),
            (vec![quota(6000)], 300),
        ];
        for (told, expected) in cases {
            let mut budget = Budget::new(600, at(0));
            for (second, quota) in (1..).zip(told.clone()) {
                budget.refuse(at(second * 1000), quota, at(second * 1000));
            }
            // Sent before the last one: no news.
            budget.refuse(at(500), None, at(9000));
            assert_eq!(budget.limit(), expected, "{told:?}");
        }
    }

    proptest! {
        /// The provider sees each request at any moment between our decision and its end.
        #[test]
        fn no_minute_holds_more_than_the_limit(
            limit in 1u32..40,
            calls in prop::collection::vec((0u64..5_000, 0u64..20_000, 0.0..1.0f64), 1..200),
            refused in prop::collection::vec(prop::option::weighted(0.05, 1u32..50), 200),
        ) {
            let mut budget = Budget::new(limit, at(0));
            let mut now = 0u64;
            let mut open: Vec<u64> = Vec::new();
            let mut seen: Vec<u64> = Vec::new();
            for ((idle, latency, when), refused) in calls.into_iter().zip(refused) {
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
                if let Some(requests) = refused {
                    // It opens later, if it does at all: the next round waits for that.
                    budget.refuse(at(now), None, at(now));
                    budget.announce(Quota { requests, window: Duration::from_mins(1) }, at(now));
                    prop_assert!(budget.limit() <= requests.min(limit));
                    continue;
                }
                let spent = budget.spent_last_minute(at(now));
                prop_assert!(spent < budget.limit_at(at(now)), "{spent} were spent");
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
