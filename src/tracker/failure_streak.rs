//! Consecutive failures, counted once for requests that were in flight together.
//!
//! Used by the circuit breaker for each sort of failure.

use crate::job::MonotonicTime;

/// Consecutive failures of one sort. A failure counts only if its request was sent after the previous
/// one was counted: requests that were in flight together are one piece of evidence.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FailureStreak {
    pub(super) count: u32,
    last_at: MonotonicTime,
}

impl FailureStreak {
    /// Counts a failure of a request sent at `sent_at`; false if it does not count.
    pub(super) fn extend(&mut self, sent_at: MonotonicTime, now: MonotonicTime) -> bool {
        let counts = self.count == 0 || sent_at >= self.last_at;
        if counts {
            *self = Self { count: self.count.saturating_add(1), last_at: now };
        }
        counts
    }

    /// Whether the last failure is newer than a success of a request that was sent at `sent_at`.
    pub(super) fn is_newer_than(&self, sent_at: MonotonicTime) -> bool {
        self.count > 0 && sent_at < self.last_at
    }
}
