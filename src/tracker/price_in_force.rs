//! The price in force of an account: the staleness index that a job must reach to be polled.
//!
//! Nobody sets it. Each request goes to the job that offers the highest index, so the price is the highest
//! index among the jobs that had to wait, and zero while no job had to. [`super::select`] records it with each
//! poll; `status` shows it, and [`super::spare_polls`] expects polls by it.

use std::time::Duration;

use crate::job::MonotonicTime;

/// A moving average over the recent polls, in seconds.
#[derive(Debug, Default)]
pub(super) struct PriceInForce {
    average: f64,
    recorded_at: MonotonicTime,
}

/// What an account has left for polls of jobs that are not due.
#[derive(Debug, Clone, Copy)]
pub(super) struct SpareBudget {
    /// In seconds.
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
    /// Without a poll for this long, no job has to wait.
    const TTL: Duration = Duration::from_mins(1);

    /// A poll was sent. `highest_waiting` is the highest index, in seconds, of the jobs that might have been
    /// polled instead; zero if there was none.
    pub(super) fn record(&mut self, highest_waiting: f64, now: MonotonicTime) {
        let previous = self.at(now);
        self.average = previous + Self::WEIGHT * (highest_waiting - previous);
        self.recorded_at = now;
    }

    /// In seconds.
    pub(super) fn at(&self, now: MonotonicTime) -> f64 {
        if now <= self.recorded_at.plus(Self::TTL) { self.average } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_price_follows_the_jobs_that_wait_and_ends_without_polls() {
        let at = MonotonicTime::from_millis;
        let mut price = PriceInForce::default();
        assert!(price.at(at(0)).abs() < f64::EPSILON);
        (1..=100).for_each(|second| price.record(0.5, at(second * 1000)));
        assert!((price.at(at(100_000)) - 0.5).abs() < 0.01, "{price:?}");
        (101..=110).for_each(|second| price.record(0.0, at(second * 1000)));
        assert!((0.1..0.25).contains(&price.at(at(110_000))), "{price:?}");
        assert!(price.at(at(170_000)) > 0.1 && price.at(at(170_001)) < 0.001, "{price:?}");
    }
}
