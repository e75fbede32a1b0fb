//! When a job may be polled before it is due, by a request that the budget leaves.
//!
//! A request that is not sent is lost. Under [`PollPrice::Auto`] a job is therefore polled again as soon as the
//! poll may tell something and a request is left: the tracker offers spare requests to the job with the
//! highest staleness index. Called by `src/tracker/spare_polls.rs`. [`super::RateLimiter::next_spare_at`]
//! says when a request is left.

use crate::job::PollPrice;

use super::distribution::Distribution;
use super::next_poll::{LearnedPolicySettings, find_price_crossing};

impl LearnedPolicySettings {
    /// The interval between two polls as a share of the job's age, where that is longer than `min_interval`:
    /// a delay that is short beside the duration matters to nobody.
    const MIN_SPARE_AGE_FRACTION: f64 = 0.02;
    /// Below this index, in seconds, a poll tells nothing.
    pub const MIN_SPARE_INDEX: f64 = 0.001;

    /// The age from which a job that was unfinished at age `last_active_age` may be polled, due or not;
    /// none under a fixed price.
    #[must_use]
    pub fn earliest_spare_age(&self, last_active_age: f64) -> Option<f64> {
        match self.price {
            PollPrice::Fixed(_) => None,
            PollPrice::Auto => Some(
                last_active_age
                    + self
                        .min_interval
                        .as_secs_f64()
                        .max(Self::MIN_SPARE_AGE_FRACTION * last_active_age),
            ),
        }
    }

    /// The age at which a spare poll may be sent and the index is at least `index`, in seconds; none if the job is
    /// due before, at age `due_age`.
    #[must_use]
    pub fn spare_poll_age(
        &self,
        distribution: &impl Distribution,
        last_active_age: f64,
        index: f64,
        due_age: f64,
    ) -> Option<f64> {
        let earliest = self.earliest_spare_age(last_active_age).filter(|age| *age < due_age)?;
        find_price_crossing(distribution, last_active_age, index, earliest..due_age)
    }
}
