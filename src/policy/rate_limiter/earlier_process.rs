//! What a rate limiter takes over from the process before, and what it leaves to the next one.
//!
//! Called by the tracker when an account is first configured, and at the end. Invariant: no window of 60 s
//! holds more requests of several processes than the limit. A process that ends in order leaves its requests;
//! after any other end the worst is assumed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::job::MonotonicTime;

use super::{RateLimiter, WINDOW, slot_at};

/// The state of a rate limiter at the end of a process. The times are measured from a minute before that
/// end, so that none is negative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimiterState {
    /// When the next request was to be sent; a time before the end of the process is credit.
    pub next_slot: Duration,
    /// The ends of the requests of the last minute.
    pub completed: Vec<Duration>,
}

/// By the names of the providers of an account.
pub type RateLimiterStates = BTreeMap<String, RateLimiterState>;

impl RateLimiter {
    /// No request of this account was sent before: the last minute earns credit.
    pub fn follow_idle_time(&mut self, now: MonotonicTime) {
        self.next_slot = slot_at(now).saturating_sub(WINDOW);
    }

    /// Until this time an earlier process may have sent requests with the same limit, and a burst at the
    /// end. Without a pause as long as the burst is ahead of the even pace, the requests of both might exceed
    /// the limit.
    pub fn follow_unknown_requests(&mut self, until: MonotonicTime) {
        let can_burst = self.burst_spacing() < self.spacing();
        let ahead = if can_burst { self.max_burst() } else { 0 };
        let first_slot = slot_at(until) + self.spacing() * (1 + ahead) + Self::MAX_LATENESS;
        self.first_slot = self.first_slot.max(first_slot);
        self.next_slot = self.next_slot.max(first_slot);
        self.all_known_from = self.all_known_from.max(until.plus(WINDOW));
    }

    /// Continues where the limiter of an earlier process ended. The time between the two counts as none, because
    /// the clocks may have jumped meanwhile.
    pub fn follow_state(&mut self, state: &RateLimiterState, now: MonotonicTime) {
        self.window.add_completed(&state.completed, now);
        let slot = slot_at(now).saturating_sub(WINDOW) + state.next_slot;
        // The earlier process may have had a lower limit, and so a later slot.
        let spacing = self.spacing().max(self.sustained_spacing(0, now));
        self.next_slot = slot.min(slot_at(now) + spacing);
    }

    /// What the next process must know if this one sends no more requests; none while requests of an earlier
    /// process that are not known may count.
    #[must_use]
    pub fn state(&self, now: MonotonicTime) -> Option<RateLimiterState> {
        (now >= self.all_known_from).then(|| RateLimiterState {
            next_slot: (self.next_slot + WINDOW).saturating_sub(slot_at(now)),
            completed: self.window.leaving_after(now),
        })
    }
}
