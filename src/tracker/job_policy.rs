//! The settings of a provider that apply to a single job: when to poll again, when to give up.
//!
//! Giving up is final. It therefore needs a time that is certain ([`crate::job::TrustedClock`]), and as much
//! time by the monotonic clock.

use std::time::Duration;

use crate::job::{MonotonicTime, NotFoundTimeout, UtcTime};
use crate::policy::{Backoff, DurationHistory, LearnedPolicySettings, PollPrice};

use super::message::{PollPolicy, ProviderSettings};
use super::price_in_force::SpareBudget;

#[derive(Debug, Clone, Copy)]
pub(super) struct JobPolicy<'a> {
    /// None under [`PollPolicy::Backoff`].
    pub(super) learned: Option<LearnedPolicy<'a>>,
    pub(super) backoff: Backoff,
    pub(super) lost_after: NotFoundTimeout,
    give_up_after: Duration,
    /// When an answer about any job of the provider was last read.
    pub(super) last_answered_at: Option<MonotonicTime>,
    certain_time: Option<UtcTime>,
    pub(super) spare_budget: SpareBudget,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct LearnedPolicy<'a> {
    /// Of the provider; see [`Self::rule_with`].
    pub(super) rule: LearnedPolicySettings,
    pub(super) duration_history: &'a DurationHistory,
}

impl LearnedPolicy<'_> {
    /// The settings for a job that has this price of its own, if it has one.
    pub(super) fn rule_with(self, own_price: Option<PollPrice>) -> LearnedPolicySettings {
        LearnedPolicySettings { price: own_price.unwrap_or(self.rule.price), ..self.rule }
    }
}

impl<'a> JobPolicy<'a> {
    /// The policy under these settings. A provider that is not configured sends no polls, but the
    /// answer to an earlier poll may still arrive: that answer must not end a job.
    pub(super) fn new(
        settings: Option<&ProviderSettings>,
        duration_history: &'a DurationHistory,
        last_answered_at: Option<MonotonicTime>,
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
                last_answered_at,
                certain_time: None,
                spare_budget: SpareBudget::NONE,
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
            last_answered_at,
            certain_time: None,
            spare_budget: SpareBudget::NONE,
        }
    }

    /// This policy at a time that is certain; none if the wall clock cannot be relied on.
    pub(super) fn at(self, certain_time: Option<UtcTime>) -> Self {
        Self { certain_time, ..self }
    }

    /// Computes the budget where spare polls of a job with this price of its own, if it has one, are permitted.
    pub(super) fn with_spare_budget(
        self,
        own_price: Option<PollPrice>,
        spare_budget: impl FnOnce() -> SpareBudget,
    ) -> Self {
        match self.learned.map(|learned| learned.rule_with(own_price).price) {
            Some(PollPrice::Auto) => Self { spare_budget: spare_budget(), ..self },
            Some(PollPrice::Fixed(_)) | None => self,
        }
    }

    /// The limit that the age of a job exceeds; none if it does not, or if the time is not certain.
    /// `measured_age` is the time since the registration by the monotonic clock, as far as this process
    /// has measured it. `job_limit` replaces the provider's limit.
    pub(super) fn exceeded_give_up_limit(
        self,
        registered_at: UtcTime,
        measured_age: Duration,
        job_limit: Option<Duration>,
    ) -> Option<Duration> {
        let limit = job_limit.unwrap_or(self.give_up_after);
        let is_past = |now: UtcTime| {
            registered_at >= UtcTime::EARLIEST_PRESENT
                && now >= registered_at.plus(limit)
                && measured_age >= limit
        };
        self.certain_time.is_some_and(is_past).then_some(limit)
    }
}
