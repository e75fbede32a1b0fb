//! When a connection check is sent: one at a time for each provider, its result shared for a while.
//!
//! People order checks, and a monitoring system may order one a second. After several rejected requests a service
//! may lock the key: the result of a rejected check is shared for a time that grows as the pauses of polls do,
//! but does not depend on them, so that whoever has corrected the cause can check it during a long pause.

use std::time::Duration;

use crate::job::{MonotonicTime, escalating_pause};

#[derive(Debug, Default)]
pub(super) struct ConnectionCheckGate {
    phase: CheckPhase,
    /// The last result is shared until this time.
    shared_until: MonotonicTime,
    consecutive_rejections: u32,
    /// Whether the check that waits or is in flight was sent before with another credential.
    is_repeated: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum CheckPhase {
    #[default]
    Idle,
    /// A check waits for the rate limit or for another request.
    Waiting,
    InFlight {
        sent_at: MonotonicTime,
    },
}

impl ConnectionCheckGate {
    /// The result of a check that was not rejected is shared for this long.
    const SHARED_FOR: Duration = Duration::from_secs(5);

    /// A person ordered a check. Returns false if the last result answers it.
    pub(super) fn order(&mut self, now: MonotonicTime) -> bool {
        match self.phase {
            CheckPhase::Idle if now < self.shared_until => return false,
            CheckPhase::Idle => {
                (self.phase, self.is_repeated) = (CheckPhase::Waiting, false);
            }
            CheckPhase::Waiting | CheckPhase::InFlight { .. } => {}
        }
        true
    }

    pub(super) fn shared_until(&self) -> MonotonicTime {
        self.shared_until
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.phase == CheckPhase::Waiting
    }

    pub(super) fn is_in_flight(&self) -> bool {
        matches!(self.phase, CheckPhase::InFlight { .. })
    }

    pub(super) fn start(&mut self, now: MonotonicTime) {
        self.phase = CheckPhase::InFlight { sent_at: now };
    }

    /// A waiting check will not be sent.
    pub(super) fn cancel(&mut self) {
        if self.is_waiting() {
            self.phase = CheckPhase::Idle;
        }
    }

    /// The check in flight ended. Returns when it was sent.
    pub(super) fn finish(&mut self, now: MonotonicTime) -> MonotonicTime {
        let phase = std::mem::take(&mut self.phase);
        self.shared_until = now.plus(Self::SHARED_FOR);
        match phase {
            CheckPhase::InFlight { sent_at } => sent_at,
            CheckPhase::Idle | CheckPhase::Waiting => now,
        }
    }

    /// The credential of the check that has just ended was replaced: the check is sent again, once. Returns
    /// whether it is.
    pub(super) fn repeat_once(&mut self) -> bool {
        self.is_repeated = !self.is_repeated;
        if self.is_repeated {
            self.phase = CheckPhase::Waiting;
        }
        self.is_repeated
    }

    /// The check that has just ended was rejected.
    pub(super) fn record_rejection(&mut self, now: MonotonicTime) {
        self.consecutive_rejections = self.consecutive_rejections.saturating_add(1);
        self.shared_until = now.plus(escalating_pause(self.consecutive_rejections));
    }

    /// The check that has just ended was accepted.
    pub(super) fn record_success(&mut self) {
        self.consecutive_rejections = 0;
    }

    /// Forgets the last result, because requests reach the service in another way now.
    pub(super) fn reset(&mut self) {
        (self.shared_until, self.consecutive_rejections) = (MonotonicTime::default(), 0);
    }
}
