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

use super::curve::{Curve, Over};

/// The index of asking at `at` a job that was not over at `alive`, both in seconds since its
/// beginning; in seconds. Zero for one that has outlived every prediction.
#[must_use]
pub fn index(curve: &impl Curve, alive: f64, at: f64) -> f64 {
    index_from(curve, curve.at(alive), alive, at)
}

fn index_from(curve: &impl Curve, then: Over, alive: f64, at: f64) -> f64 {
    // A tail that is not known to better than this predicts nothing.
    const KNOWN: f64 = 1e-9;
    if 1.0 - then.chance < KNOWN {
        return 0.0;
    }
    let now = curve.at(at);
    let unseen = now.area - then.area - (at - alive) * then.chance;
    (unseen / (1.0 - now.chance).max(KNOWN)).max(0.0)
}

/// What bounds the time until a job is asked again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// The expected delay that one request may cost.
    pub price: Duration,
    /// No sooner than after this.
    pub min_interval: Duration,
    /// Whether the promise is given; without it only the price counts, and the longest interval.
    pub promises: bool,
}

/// When a job is asked next, in seconds since its beginning, and what decided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// When.
    pub at: f64,
    /// Why then.
    pub why: Why,
}

/// What decided when a job is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// By then a delay of as much as a request may cost is to be expected.
    Price,
    /// The prediction would have it later, the promise does not allow it.
    Promise,
}

impl Rule {
    /// No job is asked later.
    pub const LONGEST: Duration = Duration::from_hours(6);
    /// The promise: this, or…
    const PROMISED: f64 = 10.0;
    /// …this share of the elapsed time.
    const PROMISED_SHARE: f64 = 0.5;

    /// When a job that was not over at `alive` is asked next. The promise goes by the part of that
    /// which is beyond doubt, `proven`: what a provider says of times may be wrong.
    #[must_use]
    pub fn next_look(&self, curve: &impl Curve, alive: f64, proven: f64) -> Look {
        let earliest = alive + self.min_interval.as_secs_f64();
        let promised =
            Self::PROMISED.max(Self::PROMISED_SHARE * proven).min(Self::LONGEST.as_secs_f64());
        let wait = if self.promises { promised } else { Self::LONGEST.as_secs_f64() };
        let latest = (alive + wait).max(earliest);
        let price = self.price.as_secs_f64();
        match reaches(curve, alive, price, earliest..latest) {
            Some(at) => Look { at, why: Why::Price },
            None => Look { at: latest, why: Why::Promise },
        }
    }
}

/// When the index reaches the price, within `span`; to a millisecond or a thousandth of the span.
fn reaches(curve: &impl Curve, alive: f64, price: f64, span: std::ops::Range<f64>) -> Option<f64> {
    let then = curve.at(alive);
    let index = |at| index_from(curve, then, alive, at);
    let (mut low, mut high) = (span.start, span.end);
    if index(low) >= price {
        return Some(low);
    }
    if index(high) < price {
        return None;
    }
    while high - low > f64::max(0.001, (high - alive) / 1000.0) {
        let middle = f64::midpoint(low, high);
        if index(middle) < price { low = middle } else { high = middle }
    }
    Some(high)
}
