//! The rules of a provider that bear on a single job: when to ask again, when to let go. Letting go is
//! final and goes by the calendar, so a calendar that cannot be right lets nothing go.

use std::time::Duration;

use crate::job::{NotFoundTimeout, UtcTime};
use crate::policy::{Backoff, DurationHistory, PollRule};

/// The rules of a lane that bear on a single job.
#[derive(Debug, Clone, Copy)]
pub(super) struct JobLimits<'a> {
    /// By what was learned, where that is the rule.
    pub(super) learned: Option<LearnedPolicy<'a>>,
    pub(super) backoff: Backoff,
    pub(super) give_up_after: Duration,
    pub(super) lost_after: NotFoundTimeout,
    /// Whether the calendar may be believed.
    pub(super) clock_is_trusted: bool,
}

/// What was learned, and the rule by which it is used.
#[derive(Debug, Clone, Copy)]
pub(super) struct LearnedPolicy<'a> {
    pub(super) rule: PollRule,
    pub(super) duration_history: &'a DurationHistory,
}

impl JobLimits<'_> {
    /// How far the provider's clock and ours may be apart for ours to be believed.
    const MAX_CLOCK_SKEW: Duration = Duration::from_hours(24);

    /// 2026-01-01: a job that seems older was registered before our clock was set.
    const EARLIEST_REGISTRATION_MS: i64 = 1_767_225_600_000;

    /// A calendar that is far from the provider's ends no job.
    pub(super) fn with_clock_check(self, server_date: Option<UtcTime>, wall: UtcTime) -> Self {
        let skew = server_date.map(|date| wall.duration_since(date).max(date.duration_since(wall)));
        Self { clock_is_trusted: skew.is_none_or(|skew| skew <= Self::MAX_CLOCK_SKEW), ..self }
    }

    /// The limit that a job of this age is beyond, if it is; `own` is the job's own.
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
