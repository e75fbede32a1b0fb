//! Distributions of durations, and the log-normal distribution.
//!
//! [`super::next_poll`] needs F(t), the probability that a job has ended by age t, and A(t) = ∫₀ᵗ F.

/// A distribution of durations, in seconds.
pub trait Distribution {
    /// F(t) and A(t).
    fn cdf_at(&self, t: f64) -> CdfPoint;
}

/// The value of a [`Distribution`] at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CdfPoint {
    /// F: the probability of a shorter duration, 0 to 1.
    pub probability: f64,
    /// A: the integral of F from 0, in seconds.
    pub integral: f64,
}

impl CdfPoint {
    /// The value of a mixture of distributions with these shares.
    pub(super) fn mixture<const N: usize>(parts: [(f64, Self); N]) -> Self {
        let mut mixed = Self { probability: 0.0, integral: 0.0 };
        for (share, part) in parts {
            mixed.probability += share * part.probability;
            mixed.integral += share * part.integral;
        }
        mixed
    }
}

/// Durations whose logarithms are normally distributed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LogNormal {
    log_mean: f64,
    log_std_dev: f64,
    /// In seconds.
    mean: f64,
}

impl LogNormal {
    pub(super) fn new(log_mean: f64, log_std_dev: f64) -> Self {
        let mean = libm::exp(log_mean + log_std_dev * log_std_dev / 2.0);
        Self { log_mean, log_std_dev, mean }
    }

    fn standard_score(&self, ln: f64) -> f64 {
        (ln - self.log_mean) / self.log_std_dev
    }

    /// The probability density of the logarithm of a duration.
    pub(super) fn log_density(&self, ln: f64) -> f64 {
        let z = self.standard_score(ln);
        libm::exp(-z * z / 2.0) / (self.log_std_dev * std::f64::consts::TAU.sqrt())
    }

    /// F at a duration of this logarithm.
    pub(super) fn probability(&self, ln: f64) -> f64 {
        standard_normal_cdf(self.standard_score(ln))
    }

    /// F and A at `t`, of logarithm `ln`. With z = (ln t − m)/s, F = Φ(z) and A = t·Φ(z) − exp(m + s²/2)·Φ(z − s).
    pub(super) fn cdf(&self, t: f64, ln: f64) -> CdfPoint {
        let z = self.standard_score(ln);
        let probability = standard_normal_cdf(z);
        let integral = t * probability - self.mean * standard_normal_cdf(z - self.log_std_dev);
        CdfPoint { probability, integral: integral.max(0.0) }
    }
}

/// Φ, the distribution function of the standard normal distribution.
fn standard_normal_cdf(z: f64) -> f64 {
    libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2) / 2.0
}
