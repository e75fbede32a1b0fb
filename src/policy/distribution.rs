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
    pub(super) fn mixture(parts: impl IntoIterator<Item = (f64, Self)>) -> Self {
        let mut mixed = Self { probability: 0.0, integral: 0.0 };
        for (share, part) in parts {
            mixed.probability += share * part.probability;
            mixed.integral += share * part.integral;
        }
        mixed
    }
}

/// The normal distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Normal {
    pub(super) mean: f64,
    pub(super) std_dev: f64,
}

impl Normal {
    fn standard_score(&self, x: f64) -> f64 {
        (x - self.mean) / self.std_dev
    }

    pub(super) fn density(&self, x: f64) -> f64 {
        let z = self.standard_score(x);
        libm::exp(-z * z / 2.0) / (self.std_dev * std::f64::consts::TAU.sqrt())
    }

    /// The probability of a value above `x`.
    pub(super) fn probability_beyond(&self, x: f64) -> f64 {
        standard_normal_cdf(-self.standard_score(x))
    }

    /// The mean of the values above `x`.
    pub(super) fn mean_beyond(&self, x: f64) -> f64 {
        /// Beyond so many standard deviations the tail is about exponential, and both terms of the exact formula are
        /// too small.
        const MAX_SCORE: f64 = 20.0;
        let z = self.standard_score(x);
        if z > MAX_SCORE {
            return x + self.std_dev / z;
        }
        self.mean + self.std_dev * self.std_dev * self.density(x) / self.probability_beyond(x)
    }
}

/// Durations whose logarithms are normally distributed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LogNormal {
    /// Of the logarithms.
    normal: Normal,
    /// In seconds.
    mean: f64,
}

impl LogNormal {
    pub(super) fn new(log_mean: f64, log_std_dev: f64) -> Self {
        let mean = libm::exp(log_mean + log_std_dev * log_std_dev / 2.0);
        Self { normal: Normal { mean: log_mean, std_dev: log_std_dev }, mean }
    }

    /// The probability density of the logarithm of a duration.
    pub(super) fn log_density(&self, ln: f64) -> f64 {
        self.normal.density(ln)
    }

    /// F at a duration of this logarithm.
    pub(super) fn probability(&self, ln: f64) -> f64 {
        standard_normal_cdf(self.normal.standard_score(ln))
    }

    /// F and A at `t`, of logarithm `ln`. With z = (ln t − m)/s, F = Φ(z) and A = t·Φ(z) − exp(m + s²/2)·Φ(z − s).
    pub(super) fn cdf(&self, t: f64, ln: f64) -> CdfPoint {
        let z = self.normal.standard_score(ln);
        let probability = standard_normal_cdf(z);
        let integral = t * probability - self.mean * standard_normal_cdf(z - self.normal.std_dev);
        CdfPoint { probability, integral: integral.max(0.0) }
    }
}

/// Φ, the distribution function of the standard normal distribution.
fn standard_normal_cdf(z: f64) -> f64 {
    libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2) / 2.0
}
