//! The price in force of an account: the staleness index that a job must reach to be polled, as a multiple of
//! the job's price. The jobs of an account may have different prices.
//!
//! Nobody sets it. Each request goes to the job with the highest priority, so the price is the highest
//! priority among the jobs that had to wait, and zero while no job had to. [`super::select`] records it with each
//! poll; `status` shows it, and [`super::spare_polls`] expects polls by it.

use crate::job::MonotonicTime;
use crate::policy::LearnedPolicySettings;

/// A moving average over the recent polls. While none is sent, it falls as if no job waited: with each
/// request that the rate limit would have allowed.
#[derive(Debug, Default)]
pub(super) struct PriceInForce {
    average: f64,
    recorded_at: MonotonicTime,
}

/// What an account has left for polls of jobs that are not due.
#[derive(Debug, Clone, Copy)]
pub(super) struct SpareBudget {
    /// As a multiple of the price of each job.
    pub(super) price_in_force: f64,
    /// When the next such poll may be sent; none if that is not known.
    pub(super) available_at: Option<MonotonicTime>,
}

impl SpareBudget {
    pub(super) const NONE: Self = Self { price_in_force: 0.0, available_at: None };
}

impl PriceInForce {
    /// The weight of one poll in the average.
    const WEIGHT: f64 = 0.1;
    /// Spare polls and failures leave gaps of this many requests, in which the price does not fall.
    const GAP: f64 = 2.0;

    /// A poll was sent. `highest_waiting` is the highest priority of the jobs that might have been polled
    /// instead; zero if there was none. `limit` is in requests per minute.
    pub(super) fn record(&mut self, highest_waiting: f64, limit: u32, now: MonotonicTime) {
        let previous = self.at(limit, now);
        self.average = previous + Self::WEIGHT * (highest_waiting - previous);
        self.recorded_at = now;
    }

    /// As a multiple of the price of each job.
    pub(super) fn at(&self, limit: u32, now: MonotonicTime) -> f64 {
        let minutes = now.duration_since(self.recorded_at).as_secs_f64() / 60.0;
        let unused = (minutes * f64::from(limit) - Self::GAP).max(0.0);
        let price = self.average * libm::pow(1.0 - Self::WEIGHT, unused);
        // No job with the price `auto` has such an index: it shows as zero.
        if price < LearnedPolicySettings::MIN_SPARE_INDEX { 0.0 } else { price }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_price_follows_the_jobs_that_wait_and_falls_without_polls() {
        let at = |second: u64| MonotonicTime::from_millis(second * 1000);
        let mut price = PriceInForce::default();
        assert!(price.at(30, at(0)) <= 0.0);
        (1..=100).for_each(|number| price.record(0.5, 30, at(2 * number)));
        assert!((price.at(30, at(200)) - 0.5).abs() < 0.01, "{price:?}");
        assert!((price.at(30, at(204)) - 0.5).abs() < 0.01, "{price:?}");
        // As many requests would have been allowed as it takes to halve the price.
        assert!((price.at(30, at(204 + 13)) - 0.25).abs() < 0.01, "{price:?}");
        assert!(price.at(30, at(204 + 300)) <= 0.0, "{price:?}");
        (101..=107).for_each(|number| price.record(0.0, 30, at(2 * number)));
        assert!((0.2..0.3).contains(&price.at(30, at(214))), "{price:?}");
    }
}
