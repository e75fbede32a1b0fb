//! When a job is worth a request: the index of asking, the price of a request, and the promise.
//!
//! T is the time that a job takes, F its distribution and S = 1 − F, as predicted. At its last look,
//! x seconds after its beginning, it was not over. At t the *expected unseen staleness* is
//!
//! ```text
//! W(x, t) = E[(t − T)⁺ | T > x] = ∫ₓᵗ (t − u) dF(u) / S(x)
//! ```
//!
//! the expected cost in the optimum checking procedures of Barlow, Hunter and Proschan (J. SIAM 11,
//! 1963). Integrated by parts, with A(t) = ∫₀ᵗ F, the integral is A(t) − A(x) − (t − x)·F(x).
//!
//! A look at a job that still runs is spent for nothing, and the more of them are likely to come, the
//! less one should wait for certainty. So W is taken per chance that the job still runs, S(t)/S(x):
//! this is the **index** of asking at t, in seconds,
//!
//! ```text
//! I(x, t) = (A(t) − A(x) − (t − x)·F(x)) / S(t)
//! ```
//!
//! an index in the sense of Whittle's restless bandits (1988), as web crawlers order their refreshes.
//! It grows with t. *With requests to spare* a job is asked when its index reaches the **price**: the
//! expected delay that one request may cost. *With requests short* those with the largest index go first.
//!
//! A prediction may be wrong, so a **promise** bounds it: asked again after 10 s or half of the elapsed
//! time, whichever is longer, and after 6 h at the latest.

use std::time::Duration;

use super::distribution::{CdfPoint, Distribution};

/// The index of asking at `at` a job that was not over at `alive`, both in seconds since its
/// beginning; in seconds. Zero for one that has outlived every prediction.
#[must_use]
pub fn staleness_index(distribution: &impl Distribution, alive_at: f64, at: f64) -> f64 {
    staleness_index_from(distribution, distribution.cdf_at(alive_at), alive_at, at)
}

fn staleness_index_from(
    distribution: &impl Distribution,
    alive_cdf: CdfPoint,
    alive_at: f64,
    at: f64,
) -> f64 {
    // A tail that is not known to better than this predicts nothing.
    const MIN_SURVIVAL: f64 = 1e-9;
    if 1.0 - alive_cdf.probability < MIN_SURVIVAL {
        return 0.0;
    }
    let cdf = distribution.cdf_at(at);
    let expected_staleness =
        cdf.integral - alive_cdf.integral - (at - alive_at) * alive_cdf.probability;
    (expected_staleness / (1.0 - cdf.probability).max(MIN_SURVIVAL)).max(0.0)
}

/// What bounds the time until a job is asked again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PollRule {
    /// The expected delay that one request may cost.
    pub price: Duration,
    /// No sooner than after this.
    pub min_interval: Duration,
    /// Whether the promise is given; without it only the price counts, and the longest interval.
    pub enforce_max_wait: bool,
}

/// When a job is asked next, in seconds since its beginning, and what decided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlannedPoll {
    /// When.
    pub at: f64,
    /// Why then.
    pub reason: PollReason,
}

/// What decided when a job is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PollReason {
    /// By then a delay of as much as a request may cost is to be expected.
    Price,
    /// The prediction would have it later, the promise does not allow it.
    MaxWait,
}

impl PollRule {
    /// No job is asked later.
    pub const MAX_INTERVAL: Duration = Duration::from_hours(6);
    /// The promise: this, or…
    const MAX_WAIT_FLOOR_S: f64 = 10.0;
    /// …this share of the elapsed time.
    const MAX_WAIT_AGE_FRACTION: f64 = 0.5;

    /// When a job that was not over at `alive` is asked next. The promise goes by the part of that
    /// which is beyond doubt, `proven`: what a provider says of times may be wrong.
    #[must_use]
    pub fn plan_next_poll(
        &self,
        distribution: &impl Distribution,
        alive_at: f64,
        confirmed_age: f64,
    ) -> PlannedPoll {
        let earliest = alive_at + self.min_interval.as_secs_f64();
        let max_wait = Self::MAX_WAIT_FLOOR_S
            .max(Self::MAX_WAIT_AGE_FRACTION * confirmed_age)
            .min(Self::MAX_INTERVAL.as_secs_f64());
        let wait = if self.enforce_max_wait { max_wait } else { Self::MAX_INTERVAL.as_secs_f64() };
        let latest = (alive_at + wait).max(earliest);
        let price = self.price.as_secs_f64();
        match find_price_crossing(distribution, alive_at, price, earliest..latest) {
            Some(at) => PlannedPoll { at, reason: PollReason::Price },
            None => PlannedPoll { at: latest, reason: PollReason::MaxWait },
        }
    }
}

/// When the index reaches the price, within `span`; to a millisecond or a thousandth of the span.
fn find_price_crossing(
    distribution: &impl Distribution,
    alive_at: f64,
    price: f64,
    span: std::ops::Range<f64>,
) -> Option<f64> {
    let alive_cdf = distribution.cdf_at(alive_at);
    let index_at = |at| staleness_index_from(distribution, alive_cdf, alive_at, at);
    let (mut low, mut high) = (span.start, span.end);
    if index_at(low) >= price {
        return Some(low);
    }
    if index_at(high) < price {
        return None;
    }
    while high - low > f64::max(0.001, (high - alive_at) / 1000.0) {
        let middle = f64::midpoint(low, high);
        if index_at(middle) < price { low = middle } else { high = middle }
    }
    Some(high)
}
