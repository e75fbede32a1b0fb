//! When to poll a job by its predicted duration: the staleness index, the price of a request, and the
//! maximum wait.
//!
//! Let T be the duration of a job, F its predicted distribution function and S = 1 − F. At the last poll,
//! at age x, the job was unfinished. At age t the *expected unseen staleness* is
//!
//! ```text
//! W(x, t) = E[(t − T)⁺ | T > x] = ∫ₓᵗ (t − u) dF(u) / S(x)
//! ```
//!
//! which is the expected cost in the optimum checking procedures of Barlow, Hunter and Proschan (J. SIAM
//! 11, 1963). Integration by parts with A(t) = ∫₀ᵗ F gives A(t) − A(x) − (t − x)·F(x) for the integral.
//!
//! A poll of a job that still runs gains nothing, and the more such polls are likely, the less certain
//! the end should be before a poll. W is therefore divided by the probability that the job still runs,
//! S(t)/S(x). The quotient is the **staleness index** of a poll at t, in seconds,
//!
//! ```text
//! I(x, t) = (A(t) − A(x) − (t − x)·F(x)) / S(t)
//! ```
//!
//! which is an index in the sense of Whittle's restless bandits (1988); web crawlers order their
//! refreshes in the same way. The index grows with t. A job is due when its index reaches the **price**,
//! the expected detection delay that justifies one request. If more jobs are due than requests may be
//! sent, the jobs with the highest index are polled first.
//!
//! A prediction may be wrong, so a **maximum wait** bounds it: a minimum or a share of the job's age,
//! whichever is longer, up to [`LearnedPolicySettings::MAX_INTERVAL`].

use std::time::Duration;

use crate::job::PollPrice;

use super::distribution::{CdfPoint, Distribution};

/// The staleness index, in seconds, of polling a job at age `age` that was unfinished at age
/// `last_active_age`, both in seconds. Zero for a job that has outlived every prediction.
#[must_use]
pub fn staleness_index(distribution: &impl Distribution, last_active_age: f64, age: f64) -> f64 {
    staleness_index_from(distribution, distribution.cdf_at(last_active_age), last_active_age, age)
}

fn staleness_index_from(
    distribution: &impl Distribution,
    last_active_cdf: CdfPoint,
    last_active_age: f64,
    age: f64,
) -> f64 {
    // Below this probability the tail of the prediction is only rounding error.
    const MIN_SURVIVAL: f64 = 1e-9;
    if 1.0 - last_active_cdf.probability < MIN_SURVIVAL {
        return 0.0;
    }
    let cdf = distribution.cdf_at(age);
    let expected_staleness = cdf.integral
        - last_active_cdf.integral
        - (age - last_active_age) * last_active_cdf.probability;
    (expected_staleness / (1.0 - cdf.probability).max(MIN_SURVIVAL)).max(0.0)
}

/// The settings of the learned policy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LearnedPolicySettings {
    pub price: PollPrice,
    /// The shortest interval between two polls of a job.
    pub min_interval: Duration,
    /// Whether the maximum wait applies; otherwise only [`Self::MAX_INTERVAL`] bounds the wait.
    pub enforce_max_wait: bool,
}

/// The age at which to poll a job next, and the reason.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlannedPoll {
    /// In seconds.
    pub age: f64,
    pub reason: PollReason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PollReason {
    /// The staleness index reaches the price.
    Price,
    /// The maximum wait ends before the index reaches the price.
    MaxWait,
}

impl LearnedPolicySettings {
    /// The longest interval between two polls of a job.
    pub const MAX_INTERVAL: Duration = Duration::from_hours(6);
    /// The maximum wait of a young job.
    const MAX_WAIT_FLOOR_S: f64 = 30.0;
    /// The maximum wait as a share of the verified age, where that is longer than the floor.
    const MAX_WAIT_AGE_FRACTION: f64 = 0.5;

    /// Plans the next poll of a job that was unfinished at age `last_active_age`. The maximum wait
    /// depends on `verified_age`, the part of that age that no wrong time from the provider can
    /// lengthen.
    #[must_use]
    pub fn plan_next_poll(
        &self,
        distribution: &impl Distribution,
        last_active_age: f64,
        verified_age: f64,
    ) -> PlannedPoll {
        let earliest = last_active_age + self.min_interval.as_secs_f64();
        let max_wait = Self::MAX_WAIT_FLOOR_S
            .max(Self::MAX_WAIT_AGE_FRACTION * verified_age)
            .min(Self::MAX_INTERVAL.as_secs_f64());
        let wait = if self.enforce_max_wait { max_wait } else { Self::MAX_INTERVAL.as_secs_f64() };
        let latest = (last_active_age + wait).max(earliest);
        let price = self.price.of_due_polls().as_secs_f64();
        match find_price_crossing(distribution, last_active_age, price, earliest..latest) {
            Some(age) => PlannedPoll { age, reason: PollReason::Price },
            None => PlannedPoll { age: latest, reason: PollReason::MaxWait },
        }
    }
}

/// The age within `span` at which the index reaches the price; none if the index stays below the price.
/// Exact to a millisecond, or to a thousandth of the interval since the last poll if that is longer.
pub(super) fn find_price_crossing(
    distribution: &impl Distribution,
    last_active_age: f64,
    price: f64,
    span: std::ops::Range<f64>,
) -> Option<f64> {
    let last_active_cdf = distribution.cdf_at(last_active_age);
    let index_at = |age| staleness_index_from(distribution, last_active_cdf, last_active_age, age);
    // The index grows about with the square of the time, and its root is nearly a straight line.
    let excess_at = |age| index_at(age).sqrt() - price.sqrt();
    let (mut low, mut high) = (span.start, span.end);
    let mut excess_at_low = excess_at(low);
    if excess_at_low >= 0.0 {
        return Some(low);
    }
    let mut excess_at_high = excess_at(high);
    if excess_at_high < 0.0 {
        return None;
    }
    let mut steps = 0;
    loop {
        let tolerance = f64::max(0.001, (high - last_active_age) / 1000.0);
        if high - low <= tolerance {
            return Some(high);
        }
        steps += 1;
        let share =
            if steps % 3 == 0 { 0.5 } else { excess_at_low / (excess_at_low - excess_at_high) };
        // Near one end the step goes on a little, so that the interval ends there.
        let step = ((high - low) * share).clamp(tolerance / 2.0, high - low - tolerance / 2.0);
        let age = low + step;
        let excess = excess_at(age);
        if excess < 0.0 {
            (low, excess_at_low) = (age, excess);
        } else {
            (high, excess_at_high) = (age, excess);
        }
    }
}
