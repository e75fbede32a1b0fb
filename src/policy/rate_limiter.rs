//! The rate limiter of one account: an even pace with bursts, and a count over a sliding minute.
//!
//! *Pace* (GCRA): while requests wait, they are spread evenly over the minute. Time in which a request was
//! allowed and none was sent is credit for a burst, up to a quarter of the minute's requests. A crash, new
//! settings and a rejection take the credit away, and a new database starts with it. After a burst, what is
//! left of the limit is spread over the time until the burst leaves the sliding minute, so that no part of it
//! is without requests. A request that is sent late, because timers are not exact, does not delay those after it.
//! *Counting*: no window of 60 s holds more requests than the limit; `sliding_window.rs` has the requests that
//! count. A process that ends in order leaves the state of its limiters to the next one.
//!
//! `limit_in_force.rs` has the limit, which answers of the provider change.

mod earlier_process;

use std::collections::VecDeque;
use std::time::Duration;

use crate::job::{MonotonicTime, RateLimitPolicy};

use super::limit_in_force::{LimitInForce, WINDOW};
use super::sliding_window::SlidingWindow;

pub use earlier_process::{RateLimiterState, RateLimiterStates};

#[derive(Debug, Clone)]
pub struct RateLimiter {
    limit: LimitInForce,
    /// The time of the last call; [`Self::current_limit`] is the limit at this time.
    updated_at: MonotonicTime,
    /// When the next request may be sent; see [`slot_at`]. A time in the past is credit.
    next_slot: Duration,
    /// The same for requests of a burst: a time in the past is no credit, but may be a late timer.
    next_burst_slot: Duration,
    /// When a request was last sent.
    last_sent_at: MonotonicTime,
    /// No request is sent before, because of those of an earlier process.
    first_slot: Duration,
    /// The requests of earlier processes in the last minute are not all known before.
    all_known_from: MonotonicTime,
    window: SlidingWindow,
    /// When requests of [`Self::use_reserve`] were sent in the last minute.
    reserve_used_at: VecDeque<MonotonicTime>,
}

impl RateLimiter {
    /// The time between the requests of a burst. Services limit requests a second too: `DataArts` allows 30.
    const BURST_SPACING: Duration = Duration::from_millis(50);
    /// How late a request may be sent without a loss for those after it.
    const MAX_LATENESS: Duration = Duration::from_millis(50);

    /// A rate limiter whose first request is available one spacing after `now`.
    #[must_use]
    pub fn new(per_minute: u32, now: MonotonicTime) -> Self {
        let mut limiter = Self {
            limit: LimitInForce::new(per_minute),
            updated_at: now,
            next_slot: slot_at(now),
            next_burst_slot: slot_at(now),
            last_sent_at: now,
            first_slot: Duration::ZERO,
            all_known_from: MonotonicTime::default(),
            window: SlidingWindow::default(),
            reserve_used_at: VecDeque::new(),
        };
        limiter.next_slot += limiter.spacing();
        limiter
    }

    /// Changes the configured limit, and forgets an announced one and the credit. Sent requests still count,
    /// and a limit that was reduced after a rejection stays reduced.
    pub fn set_configured_limit(&mut self, per_minute: u32, now: MonotonicTime) {
        self.limit.set_configured(per_minute);
        self.advance(now);
        self.discard_credit(now);
        // A higher limit applies at once.
        let next_slot = slot_at(now) + self.spacing();
        self.next_slot = self.next_slot.min(next_slot.max(self.first_slot));
    }

    /// Records the quota that the provider announced.
    pub fn set_announced_quota(&mut self, quota: RateLimitPolicy, now: MonotonicTime) {
        self.limit.set_announced(quota, now);
        self.advance(now);
    }

    /// The provider rejected a request because of the rate limit. The limit falls to the announced quota
    /// if that is lower, and to half otherwise; the credit is lost. The rejection of a request that was sent
    /// before the last reduction changes no limit.
    pub fn record_rejection(
        &mut self,
        sent_at: MonotonicTime,
        announced_quota: Option<RateLimitPolicy>,
        now: MonotonicTime,
    ) {
        self.advance(now);
        self.discard_credit(now);
        let previous_limit = self.current_limit();
        if let Some(quota) = announced_quota {
            self.set_announced_quota(quota, now);
        }
        self.limit.record_rejection(sent_at, previous_limit, now, self.updated_at);
    }

    /// Moves the time to `now`: a reduced limit recovers, an announced limit expires, and requests leave the
    /// sliding minute.
    pub fn advance(&mut self, now: MonotonicTime) {
        // No request was allowed while the limit was used up.
        let until = self.window.below_limit_at(self.current_limit()).unwrap_or(now);
        self.discard_credit(until.min(now));
        self.updated_at = self.updated_at.max(now);
        self.window.advance(now);
        while self.reserve_used_at.front().is_some_and(|sent| sent.plus(WINDOW) <= now) {
            self.reserve_used_at.pop_front();
        }
    }

    /// The time before `until` earns no credit: no request was allowed in it. The start of the clock stands
    /// for no time.
    pub fn discard_credit(&mut self, until: MonotonicTime) {
        if until > MonotonicTime::default() {
            self.next_slot = self.next_slot.max(slot_at(until));
        }
    }

    /// The limit in force, in requests per minute.
    #[must_use]
    pub fn current_limit(&self) -> u32 {
        self.limit_at(self.updated_at)
    }

    /// The limit that will be in force at `now` if no answer changes it before.
    #[must_use]
    pub fn limit_at(&self, now: MonotonicTime) -> u32 {
        self.limit.at(now)
    }

    /// Counts the requests of another rate limiter, `in_flight` of which are unanswered, because a
    /// provider moves to this account. All completed requests of the other account count, because its
    /// limiter does not record which provider sent them.
    pub fn absorb(&mut self, other: &Self, in_flight: u32, now: MonotonicTime) {
        self.advance(now);
        self.window.absorb(&other.window, in_flight);
        self.all_known_from = self.all_known_from.max(other.all_known_from);
        self.advance(now);
        let earliest = other.next_slot.min(slot_at(now) + self.spacing());
        self.first_slot = self.first_slot.max(other.first_slot);
        self.next_slot = self.next_slot.max(earliest).max(self.first_slot);
        self.next_burst_slot = self.next_burst_slot.max(other.next_burst_slot.min(earliest));
    }

    /// When the next request may be sent; none while as many requests as the limit are in flight.
    #[must_use]
    pub fn next_available_at(&self) -> Option<MonotonicTime> {
        let slot = time_of(self.next_slot.max(self.next_burst_slot));
        self.window.below_limit_at(self.current_limit()).map(|at| at.max(slot))
    }

    /// When a request may be sent that nothing requires; none as above. Such requests leave a fifth of the
    /// limit to those of [`Self::use_reserve`], and are spaced evenly. After a minute with few requests they
    /// may use half of the credit.
    #[must_use]
    pub fn next_spare_at(&self) -> Option<MonotonicTime> {
        let limit = self.spare_limit();
        let left = self.sustained_spacing(self.in_flight(), self.updated_at);
        let spacing = WINDOW.checked_div(limit)?.max(left);
        let at = self.next_available_at()?;
        let at = at.max(self.window.below_limit_at(self.max_used_for_spare())?);
        let even_slot = self.last_sent_at.plus(spacing);
        // Sent evenly, they leave some credit, which must not be spent in bursts.
        let slot = if self.window.count() < limit as usize / 2 {
            let kept_requests = self.max_burst().div_ceil(2) + 1;
            let credit_slot = self.next_slot + self.spacing() * kept_requests;
            even_slot.min(time_of(credit_slot))
        } else {
            even_slot
        };
        Some(at.max(slot))
    }

    /// Whether the requests of the last minute leave room for one that nothing requires.
    #[must_use]
    pub fn has_spare_requests(&self) -> bool {
        self.spare_limit() > 0
            && self
                .window
                .below_limit_at(self.max_used_for_spare())
                .is_some_and(|at| at <= self.updated_at)
    }

    /// A request is sent now that uses the fifth which spare requests leave: it does not count towards their
    /// four fifths.
    pub fn use_reserve(&mut self, now: MonotonicTime) {
        self.reserve_used_at.push_back(now);
    }

    /// While fewer requests count, a spare one may be sent.
    fn max_used_for_spare(&self) -> u32 {
        let reserve_used = u32::try_from(self.reserve_used_at.len()).unwrap_or(u32::MAX);
        self.spare_limit().saturating_add(reserve_used).min(self.current_limit())
    }

    fn spare_limit(&self) -> u32 {
        u32::try_from(u64::from(self.current_limit()) * 4 / 5).unwrap_or(u32::MAX)
    }

    /// Whether a request that is sent now leaves those after it at their even pace.
    #[must_use]
    pub fn has_credit(&self, now: MonotonicTime) -> bool {
        self.next_slot + self.spacing() <= slot_at(now)
    }

    /// Counts a request that is sent now.
    pub fn acquire(&mut self, now: MonotonicTime) {
        self.advance(now);
        let (spacing, max_burst) = (self.spacing(), self.max_burst());
        let time = slot_at(now);
        let max_credit = (spacing * max_burst).max(Self::MAX_LATENESS);
        let slot = self.next_slot.max(time.saturating_sub(max_credit));
        let at_slot_if_late =
            |slot: Duration| if slot + Self::MAX_LATENESS < time { time } else { slot };
        self.last_sent_at = now;
        self.window.begin_request();
        self.next_burst_slot = at_slot_if_late(self.next_burst_slot) + self.burst_spacing();
        let sustained_spacing = self.sustained_spacing(self.in_flight(), now);
        let has_credit = slot + spacing <= time;
        let is_scarce = if has_credit {
            // Another request ahead of time would leave less than what a whole burst leaves.
            let after_burst = WINDOW / (self.current_limit() - max_burst);
            self.sustained_spacing(self.in_flight() + 1, now) > after_burst
        } else {
            sustained_spacing > spacing
        };
        self.next_slot =
            if is_scarce { at_slot_if_late(slot) + sustained_spacing } else { slot + spacing };
    }

    /// Counts the end of a request, successful or not.
    pub fn complete(&mut self, now: MonotonicTime) {
        self.advance(now);
        self.window.end_request(now);
    }

    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.window.in_flight()
    }

    /// The number of requests in the last minute, including those in flight.
    #[must_use]
    pub fn requests_last_minute(&self, now: MonotonicTime) -> u32 {
        self.window.count_at(now)
    }

    /// The time between two requests at an even pace.
    fn spacing(&self) -> Duration {
        WINDOW / self.current_limit()
    }

    /// So many requests may be sent ahead of time: a quarter of the limit.
    fn max_burst(&self) -> u32 {
        self.current_limit() / 4
    }

    /// The time between two requests of a burst. A quota for a shorter window than a minute is kept as well.
    fn burst_spacing(&self) -> Duration {
        let announced = self.limit.announced_at(self.updated_at);
        let short = announced.filter(|quota| quota.window < WINDOW);
        let announced = short.map_or(Duration::ZERO, |quota| quota.window / quota.requests.max(1));
        announced.max(Self::BURST_SPACING).min(self.spacing())
    }

    fn sustained_spacing(&self, in_flight: u32, now: MonotonicTime) -> Duration {
        self.window.sustained_spacing(self.current_limit(), in_flight, now)
    }
}

/// Slots are finer than milliseconds, because the time between two requests may be no whole number of them, and are
/// counted from a minute before the start of the clock, because credit may begin before it.
fn slot_at(time: MonotonicTime) -> Duration {
    time.duration_since(MonotonicTime::default()) + WINDOW
}

/// Rounded up, so that no request is sent before its slot.
fn time_of(slot: Duration) -> MonotonicTime {
    MonotonicTime::default().plus(slot.saturating_sub(WINDOW))
}
