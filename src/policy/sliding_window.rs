//! The requests of an account that count towards its limit. Owned by the account's rate limiter.
//!
//! A request counts from the decision to send it until a minute after its end. The provider receives the
//! request somewhere in between. So no window of a minute holds more requests than are counted at its
//! end, whatever the latency, by the provider's clock and by the local one.

use std::collections::VecDeque;
use std::time::Duration;

use crate::job::MonotonicTime;

use super::limit_in_force::WINDOW;

#[derive(Debug, Clone, Default)]
pub(super) struct SlidingWindow {
    in_flight: u32,
    /// When the completed requests leave the window, in order: a minute after their ends.
    leaving_at: VecDeque<MonotonicTime>,
}

impl SlidingWindow {
    pub(super) fn begin_request(&mut self) {
        self.in_flight += 1;
    }

    pub(super) fn end_request(&mut self, now: MonotonicTime) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.leaving_at.push_back(now.plus(WINDOW));
    }

    /// Requests that ended a minute ago leave the window.
    pub(super) fn advance(&mut self, now: MonotonicTime) {
        while self.leaving_at.front().is_some_and(|leaving| *leaving <= now) {
            self.leaving_at.pop_front();
        }
    }

    /// Adds the requests of another window, `in_flight` of which are unanswered.
    pub(super) fn absorb(&mut self, other: &Self, in_flight: u32) {
        self.in_flight += in_flight;
        self.leaving_at.extend(&other.leaving_at);
        self.leaving_at.make_contiguous().sort_unstable();
    }

    /// Adds completed requests that leave the window after these times from `now`.
    pub(super) fn add_completed(&mut self, leaving_after: &[Duration], now: MonotonicTime) {
        self.leaving_at.extend(leaving_after.iter().map(|wait| now.plus(*wait)));
        self.leaving_at.make_contiguous().sort_unstable();
    }

    /// How long after `now` each request leaves the window if those in flight end now.
    pub(super) fn leaving_after(&self, now: MonotonicTime) -> Vec<Duration> {
        let completed = self.leaving_at.iter().map(|leaving| leaving.duration_since(now));
        let in_flight = (0..self.in_flight).map(|_| WINDOW);
        completed.filter(|wait| !wait.is_zero()).chain(in_flight).collect()
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// The number of requests in the window.
    pub(super) fn count(&self) -> usize {
        self.in_flight as usize + self.leaving_at.len()
    }

    /// The number of requests that are in the window at `now` if none is sent or ends before.
    pub(super) fn count_at(&self, now: MonotonicTime) -> u32 {
        let completed = self.leaving_at.iter().filter(|leaving| **leaving > now).count();
        self.in_flight.saturating_add(u32::try_from(completed).unwrap_or(u32::MAX))
    }

    /// When fewer than `limit` requests count, if none is sent before; none while `limit` requests are in
    /// flight.
    pub(super) fn below_limit_at(&self, limit: u32) -> Option<MonotonicTime> {
        let Some(excess) = self.count().checked_sub(limit as usize) else {
            return Some(MonotonicTime::default());
        };
        // This many completed requests, and one more, must leave the window first.
        self.leaving_at.get(excess).copied()
    }

    /// The shortest even spacing of the next requests at which the count delays none of them, with so many in
    /// flight. Those leave the window in a minute at the earliest.
    pub(super) fn sustained_spacing(
        &self,
        limit: u32,
        in_flight: u32,
        now: MonotonicTime,
    ) -> Duration {
        // Request number `limit + 1 - in_flight` is the first that waits for one that is in flight.
        let mut longest = WINDOW / (limit + 1).saturating_sub(in_flight).max(1);
        let completed = u32::try_from(self.leaving_at.len()).unwrap_or(u32::MAX);
        let used = completed.saturating_add(in_flight);
        let mut number = (limit + 1).saturating_sub(used).max(1);
        // Request `number` waits for this one to leave, and those in front of it.
        while let Some(leaving) = self.leaving_at.get((number + used - limit - 1) as usize)
            && number <= limit
        {
            longest = longest.max(leaving.duration_since(now) / number);
            // Of many requests some are enough: the result is at most 3 % too short.
            number += 1 + number / 32;
        }
        longest
    }
}
