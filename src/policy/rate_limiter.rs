//! The rate limiter of one account: requests are spaced evenly and counted over a sliding minute.
//!
//! *Spacing* (GCRA with a burst of 1) prevents that the requests of a minute are all sent at its start.
//! *Counting*: a request counts from the decision to send it until 60 s after its end. The provider
//! receives the request somewhere in between. So no window of 60 s holds more requests than the limit,
//! whatever the latency, by the provider's clock and by the local one.
//!
//! The limit in force is the lowest of three: the configured limit; the limit that the provider
//! announced within the last hour; and a share that rejections reduce, because other programs may use
//! the same account.

use std::collections::VecDeque;
use std::time::Duration;

use crate::job::{MonotonicTime, RateLimitPolicy};

#[derive(Debug, Clone)]
pub struct RateLimiter {
    configured_per_minute: u32,
    /// The limit that the provider announced per minute, and when.
    announced_limit: Option<(u32, MonotonicTime)>,
    /// The limit after the last rejection, and when that was.
    reduced_share: Option<(u32, MonotonicTime)>,
    /// The time of the last call; [`Self::current_limit`] is the limit at this time.
    updated_at: MonotonicTime,
    next_slot_at: MonotonicTime,
    in_flight: u32,
    completed_at: VecDeque<MonotonicTime>,
}

impl RateLimiter {
    const WINDOW: Duration = Duration::from_mins(1);
    /// An announced limit applies for this long after its last announcement.
    const ANNOUNCED_LIMIT_TTL: Duration = Duration::from_hours(1);
    /// After a rejection the limit recovers from zero to the configured limit in this time.
    const RECOVERY_MINUTES: u32 = 10;

    /// A rate limiter whose first request is available one spacing after `now`, because an earlier
    /// process may have sent a request just before.
    #[must_use]
    pub fn new(per_minute: u32, now: MonotonicTime) -> Self {
        let mut limiter = Self {
            configured_per_minute: per_minute.max(1),
            announced_limit: None,
            reduced_share: None,
            updated_at: now,
            next_slot_at: now,
            in_flight: 0,
            completed_at: VecDeque::new(),
        };
        limiter.next_slot_at = now.plus(limiter.spacing());
        limiter
    }

    /// Changes the configured limit and forgets an announced one. Sent requests still count, and a limit
    /// that was reduced after a rejection stays reduced.
    pub fn set_configured_limit(&mut self, per_minute: u32) {
        self.configured_per_minute = per_minute.max(1);
        self.announced_limit = None;
    }

    /// Records the quota that the provider announced.
    pub fn set_announced_quota(&mut self, quota: RateLimitPolicy, now: MonotonicTime) {
        let per_minute =
            f64::from(quota.requests) * Self::WINDOW.as_secs_f64() / quota.window.as_secs_f64();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the cast saturates, and the quota is not negative"
        )]
        let per_minute = (per_minute as u32).max(1);
        self.announced_limit = Some((per_minute, now));
        self.advance(now);
    }

    /// The provider rejected a request because of the rate limit. The limit falls to the announced quota
    /// if that is lower, and to half otherwise. The rejection of a request that was sent before the last
    /// reduction changes nothing.
    pub fn record_rejection(
        &mut self,
        sent_at: MonotonicTime,
        announced_quota: Option<RateLimitPolicy>,
        now: MonotonicTime,
    ) {
        self.advance(now);
        let previous_limit = self.current_limit();
        if let Some(quota) = announced_quota {
            self.set_announced_quota(quota, now);
        }
        if self.reduced_share.is_none_or(|(_, reduced_at)| sent_at >= reduced_at) {
            let limit = self.current_limit();
            let share = if limit < previous_limit { limit } else { (limit / 2).max(1) };
            self.reduced_share = Some((share, now));
        }
    }

    /// Moves the time to `now`: a reduced limit recovers, and an announced limit expires.
    pub fn advance(&mut self, now: MonotonicTime) {
        self.updated_at = self.updated_at.max(now);
    }

    /// The limit in force, in requests per minute.
    #[must_use]
    pub fn current_limit(&self) -> u32 {
        self.limit_at(self.updated_at)
    }

    /// The limit that will be in force at `now` if no answer changes it before.
    #[must_use]
    pub fn limit_at(&self, now: MonotonicTime) -> u32 {
        let announced =
            self.announced_limit.filter(|(_, at)| now < at.plus(Self::ANNOUNCED_LIMIT_TTL));
        let announced = announced.map_or(self.configured_per_minute, |(limit, _)| limit);
        let share = self.reduced_share.map_or(self.configured_per_minute, |(share, reduced_at)| {
            let minutes = now.duration_since(reduced_at).as_secs() / Self::WINDOW.as_secs();
            let minutes = u32::try_from(minutes).unwrap_or(u32::MAX);
            let step = (self.configured_per_minute / Self::RECOVERY_MINUTES).max(1);
            share.saturating_add(step.saturating_mul(minutes))
        });
        self.configured_per_minute.min(announced).min(share)
    }

    /// Counts the requests of another rate limiter, `in_flight` of which are unanswered, because a
    /// provider moves to this account. All completed requests of the other account count, because its
    /// limiter does not record which provider sent them.
    pub fn absorb(&mut self, other: &Self, in_flight: u32, now: MonotonicTime) {
        self.advance(now);
        self.drop_expired(now);
        self.in_flight += in_flight;
        self.completed_at.extend(&other.completed_at);
        self.completed_at.make_contiguous().sort_unstable();
        self.drop_expired(now);
        self.next_slot_at = self.next_slot_at.max(other.next_slot_at.min(now.plus(self.spacing())));
    }

    /// When the next request may be sent; none while as many requests as the limit are in flight.
    #[must_use]
    pub fn next_available_at(&self) -> Option<MonotonicTime> {
        let limit = self.current_limit() as usize;
        let used = self.in_flight as usize + self.completed_at.len();
        if used < limit {
            return Some(self.next_slot_at);
        }
        // This many completed requests, and one more, must leave the window first.
        let last_to_expire = used - limit;
        self.completed_at
            .get(last_to_expire)
            .map(|ended| self.next_slot_at.max(ended.plus(Self::WINDOW)))
    }

    /// Counts a request that is sent now.
    pub fn acquire(&mut self, now: MonotonicTime) {
        self.advance(now);
        self.drop_expired(now);
        self.in_flight += 1;
        self.next_slot_at = self.next_slot_at.max(now).plus(self.spacing());
    }

    /// Counts the end of a request, successful or not.
    pub fn complete(&mut self, now: MonotonicTime) {
        self.advance(now);
        self.drop_expired(now);
        self.in_flight = self.in_flight.saturating_sub(1);
        self.completed_at.push_back(now);
    }

    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// The number of requests in the last minute, including those in flight.
    #[must_use]
    pub fn requests_last_minute(&self, now: MonotonicTime) -> u32 {
        let ended = self.completed_at.iter().filter(|ended| ended.plus(Self::WINDOW) > now).count();
        self.in_flight.saturating_add(u32::try_from(ended).unwrap_or(u32::MAX))
    }

    fn spacing(&self) -> Duration {
        Self::WINDOW / self.current_limit()
    }

    fn drop_expired(&mut self, now: MonotonicTime) {
        while self.completed_at.front().is_some_and(|ended| ended.plus(Self::WINDOW) <= now) {
            self.completed_at.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> MonotonicTime {
        MonotonicTime::from_millis(ms)
    }

    #[test]
    fn requests_are_spaced_and_unused_slots_do_not_accumulate() {
        let mut limiter = RateLimiter::new(60, at(0));
        assert_eq!(limiter.next_available_at(), Some(at(1000)), "one spacing after the start");
        limiter.acquire(at(5000));
        assert_eq!(limiter.next_available_at(), Some(at(6000)));
        limiter.acquire(at(6500));
        assert_eq!(limiter.next_available_at(), Some(at(7500)), "unused time is not made up for");
    }

    #[test]
    fn a_slow_request_counts_until_a_minute_after_its_end() {
        let mut limiter = RateLimiter::new(1, at(0));
        limiter.acquire(at(60_000));
        assert_eq!(
            limiter.next_available_at(),
            None,
            "the provider may receive the request at any time"
        );
        limiter.complete(at(90_000));
        assert_eq!(limiter.next_available_at(), Some(at(150_000)));
    }

    #[test]
    fn a_lower_announced_limit_applies_and_a_higher_one_does_not() {
        let mut limiter = RateLimiter::new(60, at(0));
        let quota = |requests| RateLimitPolicy { requests, window: Duration::from_secs(30) };
        limiter.set_announced_quota(quota(10), at(0));
        assert_eq!(limiter.current_limit(), 20);
        limiter.set_announced_quota(quota(1000), at(0));
        assert_eq!(limiter.current_limit(), 60);
        limiter.set_announced_quota(quota(0), at(0));
        assert_eq!(limiter.current_limit(), 1);
    }

    #[test]
    fn an_announced_limit_expires_an_hour_after_its_last_announcement() {
        const MINUTE: u64 = 60_000;
        let mut limiter = RateLimiter::new(60, at(0));
        let quota = RateLimitPolicy { requests: 10, window: Duration::from_mins(1) };
        limiter.set_announced_quota(quota, at(0));
        limiter.set_announced_quota(quota, at(30 * MINUTE));
        // (minute, expected limit)
        for (now, limit) in [(30, 10), (89, 10), (90, 60)] {
            limiter.advance(at(now * MINUTE));
            assert_eq!(limiter.current_limit(), limit, "at {now} minutes");
        }
    }

    #[test]
    fn a_rejection_halves_the_share_and_it_recovers_over_time() {
        const MINUTE: u64 = 60_000;
        let mut limiter = RateLimiter::new(60, at(0));
        // (time, when the request rejected at that time was sent, expected limit)
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
        for (now, rejected_sent_at, limit) in cases {
            limiter.advance(at(now));
            if let Some(sent) = rejected_sent_at {
                limiter.record_rejection(at(sent), None, at(now));
            }
            assert_eq!(limiter.current_limit(), limit, "at {now} ms");
        }
    }

    #[test]
    fn absorb_counts_the_requests_of_the_other_limiter() {
        let mut old = RateLimiter::new(60, at(0));
        for ms in [1000, 2000, 3000] {
            old.acquire(at(ms));
        }
        old.complete(at(4000));
        old.complete(at(5000));
        let mut new = RateLimiter::new(2, at(0));
        new.absorb(&old, 1, at(10_000));
        assert_eq!(new.requests_last_minute(at(10_000)), 3);
        assert_eq!(
            new.next_available_at(),
            Some(at(65_000)),
            "both completed requests must leave the window"
        );
        new.complete(at(20_000));
        assert_eq!(new.next_available_at(), Some(at(65_000)));
    }

    #[test]
    fn a_rejection_applies_a_lower_announced_quota_and_otherwise_halves_the_limit() {
        let quota = |requests| Some(RateLimitPolicy { requests, window: Duration::from_mins(1) });
        // (quota announced with each rejection, limit in force afterwards)
        let cases = [
            (vec![None], 300),
            (vec![quota(60)], 60),
            (vec![quota(60), quota(60)], 30),
            (vec![quota(6000)], 300),
        ];
        for (quotas, expected) in cases {
            let mut limiter = RateLimiter::new(600, at(0));
            for (second, quota) in (1..).zip(quotas.clone()) {
                limiter.record_rejection(at(second * 1000), quota, at(second * 1000));
            }
            // Sent before the last rejection: ignored.
            limiter.record_rejection(at(500), None, at(9000));
            assert_eq!(limiter.current_limit(), expected, "{quotas:?}");
        }
    }

    proptest! {
        /// The provider may receive a request at any time between the decision to send it and its end.
        #[test]
        fn no_minute_holds_more_than_the_limit(
            limit in 1u32..40,
            calls in prop::collection::vec((0u64..5_000, 0u64..20_000, 0.0..1.0f64), 1..200),
            rejected in prop::collection::vec(prop::option::weighted(0.05, 1u32..50), 200),
        ) {
            let mut limiter = RateLimiter::new(limit, at(0));
            let mut now = 0u64;
            let mut in_flight: Vec<u64> = Vec::new();
            let mut provider_seen_at: Vec<u64> = Vec::new();
            for ((idle, latency, when), rejected_quota) in calls.into_iter().zip(rejected) {
                now += idle;
                loop {
                    in_flight.sort_unstable();
                    let available_at = limiter.next_available_at().map(MonotonicTime::as_millis);
                    let earliest = available_at.map(|due| due.max(now));
                    match (earliest, in_flight.first().copied()) {
                        (Some(may), Some(end)) if end <= may => { limiter.complete(at(end)); now = now.max(end); in_flight.remove(0); }
                        (Some(may), _) => { now = may; break; }
                        (None, Some(end)) => { limiter.complete(at(end)); now = now.max(end); in_flight.remove(0); }
                        (None, None) => prop_assert!(false, "no request is available and none is in flight"),
                    }
                }
                if let Some(quota_requests) = rejected_quota {
                    // The next request may be available later now: the next round waits for it.
                    limiter.record_rejection(at(now), None, at(now));
                    limiter.set_announced_quota(RateLimitPolicy { requests: quota_requests, window: Duration::from_mins(1) }, at(now));
                    prop_assert!(limiter.current_limit() <= quota_requests.min(limit));
                    continue;
                }
                let used = limiter.requests_last_minute(at(now));
                prop_assert!(used < limiter.limit_at(at(now)), "{used} requests were sent");
                limiter.acquire(at(now));
                in_flight.push(now + latency);
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "small positive numbers")]
                provider_seen_at.push(now + (latency as f64 * when) as u64);
            }
            provider_seen_at.sort_unstable();
            for (index, first) in provider_seen_at.iter().enumerate() {
                let held = provider_seen_at[index..].iter().take_while(|&&ms| ms < first + 60_000).count();
                prop_assert!(held <= limit as usize, "{held} requests with a limit of {limit} in the minute from {first} ms");
            }
        }
    }
}
