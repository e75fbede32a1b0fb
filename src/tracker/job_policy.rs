//! The settings of a provider that apply to a single job: when to poll again, when to give up.
//!
//! Giving up is final and depends on the wall clock. A wall clock that is known to be wrong therefore
//! ends no job.

use std::time::Duration;

use crate::job::{NotFoundTimeout, UtcTime};
use crate::policy::{Backoff, DurationHistory, LearnedPolicySettings};

use super::message::{PollPolicy, ProviderSettings};

#[derive(Debug, Clone, Copy)]
pub(super) struct JobPolicy<'a> {
    /// None under [`PollPolicy::Backoff`].
    pub(super) learned: Option<LearnedPolicy<'a>>,
    pub(super) backoff: Backoff,
    pub(super) lost_after: NotFoundTimeout,
    give_up_after: Duration,
    clock_is_trusted: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct LearnedPolicy<'a> {
    pub(super) rule: LearnedPolicySettings,
    pub(super) duration_history: &'a DurationHistory,
}

impl<'a> JobPolicy<'a> {
    /// The wall clock is trusted if it differs from the provider's clock by no more than this.
    const MAX_CLOCK_SKEW: Duration = Duration::from_hours(24);

    /// 2026-01-01. An earlier registration means that the wall clock was not set then.
    const EARLIEST_REGISTRATION_MS: i64 = 1_767_225_600_000;

    /// The policy under these settings. A provider that is not configured sends no polls, but the
    /// answer to an earlier poll may still arrive: that answer must not end a job.
    pub(super) fn new(
        settings: Option<&ProviderSettings>,
        duration_history: &'a DurationHistory,
    ) -> Self {
        let Some(settings) = settings else {
            return Self {
                learned: None,
                backoff: Backoff { min: Duration::from_mins(1), max: Duration::from_mins(1) },
                lost_after: NotFoundTimeout {
                    previously_seen: Duration::MAX,
                    never_seen: Duration::MAX,
                },
                give_up_after: Duration::MAX,
                clock_is_trusted: true,
            };
        };
        Self {
            learned: match settings.policy {
                PollPolicy::Learned(rule) => Some(LearnedPolicy { rule, duration_history }),
                PollPolicy::Backoff => None,
            },
            backoff: settings.backoff,
            lost_after: settings.lost_after,
            give_up_after: settings.give_up_after,
            clock_is_trusted: true,
        }
    }

    /// This policy, with the wall clock compared to the provider's clock.
    pub(super) fn with_clock_check(self, server_date: Option<UtcTime>, wall: UtcTime) -> Self {
        let skew = server_date.map(|date| wall.duration_since(date).max(date.duration_since(wall)));
        Self { clock_is_trusted: skew.is_none_or(|skew| skew <= Self::MAX_CLOCK_SKEW), ..self }
    }

    /// The limit that the age of a job exceeds; none if it does not, or if the wall clock cannot be
    /// trusted. `job_limit` replaces the provider's limit.
    pub(super) fn exceeded_give_up_limit(
        self,
        registered_at: UtcTime,
        job_limit: Option<Duration>,
        wall: UtcTime,
    ) -> Option<Duration> {
        let limit = job_limit.unwrap_or(self.give_up_after);
        let clock_is_plausible =
            self.clock_is_trusted && registered_at.as_millis() >= Self::EARLIEST_REGISTRATION_MS;
        (clock_is_plausible && wall >= registered_at.plus(limit)).then_some(limit)
    }
}
