//! What the tracker knows of few jobs only, outside their entries in the table.
//!
//! Most jobs have the default values, and then hold no [`RareState`] at all.

use std::time::Duration;

use crate::job::{MonotonicTime, NotFoundStreak};

#[derive(Debug, Clone, PartialEq)]
pub(super) struct RareState {
    /// The job's own limit, which replaces that of the provider.
    pub(super) give_up_after: Option<Duration>,
    pub(super) not_found_streak: Option<NotFoundStreak>,
    /// The failed polls since the last answer that could be read.
    pub(super) failures: PollFailures,
    /// A list page did not show the job: no list page is requested for it until a poll succeeds.
    pub(super) poll_individually: bool,
    /// Whether the last answer rejected a credential that has been replaced since.
    pub(super) credential_replaced: bool,
    /// The provider was configured while a poll was in flight: its answer may have been
    /// interpreted with the old state map.
    pub(super) reconfigured_in_flight: bool,
}

impl RareState {
    pub(super) const DEFAULT: Self = Self {
        give_up_after: None,
        not_found_streak: None,
        failures: PollFailures::NONE,
        poll_individually: false,
        credential_replaced: false,
        reconfigured_in_flight: false,
    };
}

/// A [`RareState`] that takes an allocation only if it differs from the default.
#[derive(Debug, Default)]
pub(super) struct RareStateCell(Option<Box<RareState>>);

impl RareStateCell {
    pub(super) fn get(&self) -> &RareState {
        self.0.as_deref().unwrap_or(&RareState::DEFAULT)
    }

    pub(super) fn update<T>(&mut self, change: impl FnOnce(&mut RareState) -> T) -> T {
        let mut state = self.get().clone();
        let result = change(&mut state);
        match &mut self.0 {
            _ if state == RareState::DEFAULT => self.0 = None,
            Some(held) => **held = state,
            None => self.0 = Some(Box::new(state)),
        }
        result
    }
}

/// Failed polls of one job. While a provider is down, the polls of all its jobs fail; if other jobs are
/// answered between two failed polls of this one, the cause is the job.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct PollFailures {
    last_failed_at: Option<MonotonicTime>,
    /// The failures before which, since the previous failure, another job was answered.
    amid_other_answers: u32,
}

impl PollFailures {
    pub(super) const NONE: Self = Self { last_failed_at: None, amid_other_answers: 0 };
    /// Failures from which the job itself is the cause.
    const REQUIRED: u32 = 3;

    /// Counts a failed poll; returns whether the job itself is the cause. `last_answered_at`: when an
    /// answer about any job of the provider was last read.
    pub(super) fn extend(
        &mut self,
        last_answered_at: Option<MonotonicTime>,
        now: MonotonicTime,
    ) -> bool {
        let previous = self.last_failed_at.replace(now);
        let others_are_answered = previous
            .zip(last_answered_at)
            .is_some_and(|(previous, answered_at)| answered_at > previous);
        self.amid_other_answers += u32::from(others_are_answered);
        others_are_answered && self.amid_other_answers >= Self::REQUIRED
    }
}
