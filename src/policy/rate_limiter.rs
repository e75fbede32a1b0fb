//! The rate limiter of one account: requests are spaced evenly and counted over a sliding minute.
//!
//! *Spacing* (GCRA with a burst of 1) spreads the requests over the minute. A request that is sent late, because
//! timers are not exact, does not delay those after it.
//! *Counting*: a request counts from the decision to send it until 60 s after its end. The provider
//! receives the request somewhere in between. So no window of 60 s holds more requests than the limit,
//! whatever the latency, by the provider's clock and by the local one.
//!
//! The limit in force is the lowest of three: the configured limit; the limit that the provider
//! announced within the last hour; and a limit that rejections reduce, because other programs may use
//! the same account. The reduced limit recovers within `RECOVERY_MINUTES`.

use std::collections::VecDeque;
use std::time::Duration;

use crate::job::{MonotonicTime, RateLimitPolicy};

#[derive(Debug, Clone)]
pub struct RateLimiter {
    configured_per_minute: u32,
    /// The limit that the provider announced per minute, and when.
    announced_limit: Option<(u32, MonotonicTime)>,
    /// The limit right after the last rejection that reduced it, and the time of that rejection.
    reduced_limit: Option<(u32, MonotonicTime)>,
    /// The time of the last call; [`Self::current_limit`] is the limit at this time.
    updated_at: MonotonicTime,
    next_slot_at: MonotonicTime,
    /// When a request was last sent.
    last_sent_at: MonotonicTime,
    in_flight: u32,
    completed_at: VecDeque<MonotonicTime>,
}

impl RateLimiter {
    const WINDOW: Duration = Duration::from_mins(1);
    /// How late a request may be sent without a loss for those after it.
    const MAX_LATENESS: Duration = Duration::from_millis(50);
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
            reduced_limit: None,
            updated_at: now,
            next_slot_at: now,
            last_sent_at: now,
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
        if self.reduced_limit.is_none_or(|(_, reduced_at)| sent_at >= reduced_at) {
            let limit = self.current_limit();
            let reduced = if limit < previous_limit { limit } else { (limit / 2).max(1) };
            self.reduced_limit = Some((reduced, now));
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
        let reduced =
            self.reduced_limit.map_or(self.configured_per_minute, |(reduced, reduced_at)| {
                let minutes = now.duration_since(reduced_at).as_secs() / Self::WINDOW.as_secs();
                let minutes = u32::try_from(minutes).unwrap_or(u32::MAX);
                let step = (self.configured_per_minute / Self::RECOVERY_MINUTES).max(1);
                reduced.saturating_add(step.saturating_mul(minutes))
            });
        self.configured_per_minute.min(announced).min(reduced)
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
        self.below_limit_at(self.current_limit()).map(|at| at.max(self.next_slot_at))
    }

    /// When a request may be sent that nothing requires; none as above. Such requests leave a fifth of the
    /// limit unused, counting all requests of the last minute, and are spaced evenly.
    #[must_use]
    pub fn next_spare_at(&self) -> Option<MonotonicTime> {
        let limit = self.spare_limit();
        let spacing = Self::WINDOW.checked_div(limit)?;
        let at = self.next_available_at()?.max(self.below_limit_at(limit)?);
        Some(at.max(self.last_sent_at.plus(spacing)))
    }

    /// Whether the requests of the last minute leave room for one that nothing requires.
    #[must_use]
    pub fn has_spare_requests(&self) -> bool {
        self.below_limit_at(self.spare_limit()).is_some_and(|at| at <= self.updated_at)
    }

    fn spare_limit(&self) -> u32 {
        u32::try_from(u64::from(self.current_limit()) * 4 / 5).unwrap_or(u32::MAX)
    }

    /// When fewer than `limit` requests count, if none is sent before; none while `limit` requests are in
    /// flight.
    fn below_limit_at(&self, limit: u32) -> Option<MonotonicTime> {
        let limit = limit as usize;
        let used = self.in_flight as usize + self.completed_at.len();
        if used < limit {
            return Some(MonotonicTime::default());
        }
        // This many completed requests, and one more, must leave the window first.
        let last_to_expire = used - limit;
        self.completed_at.get(last_to_expire).map(|ended| ended.plus(Self::WINDOW))
    }

    /// Counts a request that is sent now.
    pub fn acquire(&mut self, now: MonotonicTime) {
        self.advance(now);
        self.drop_expired(now);
        self.last_sent_at = now;
        self.in_flight += 1;
        let is_late = now.duration_since(self.next_slot_at) <= Self::MAX_LATENESS;
        let slot = if is_late { self.next_slot_at } else { now };
        self.next_slot_at = slot.plus(self.spacing());
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
