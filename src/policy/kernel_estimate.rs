//! The predicted duration of one job: a kernel density estimate from similar runs, mixed with the histogram of all runs.
//!
//! Each of the last runs is widened by a kernel on the logarithmic scale, which keeps several typical durations apart
//! (answered from a cache or not, failed early). A log-normal distribution with their mean and variance covers what lies
//! between and beside them; its share is learned. The histogram has the weight of half a run, because a run may resemble
//! none of the similar ones, and a higher one where it predicts better (`log_score`).
//!
//! The kernel is Epanechnikov's, on a half-width c: with z = (ln t − x)/c for a run of logarithm x, F(z) = (2 + 3z − z³)/4
//! between −1 and 1. Substituting t = exp(x + c·z), A = eˣ·c·∫ F(v)·e^(c·v) dv has a closed form, because
//! ∫ F(v)·e^(c·v) dv = e^(c·v)·Q(v) with Q = F/c − F′/c² + F″/c³ − F‴/c⁴.

use super::distribution::{CdfPoint, Distribution, LogNormal};
use super::histogram::Histogram;
use super::log_normal_share::LogNormalShare;
use super::log_score::LogScore;
use super::recent_runs::{RecentRuns, RunsSummary, WeightedRun};

/// The prediction for one job: the similar runs, mixed with all runs of the provider.
#[derive(Debug, Clone)]
pub struct Prediction<'a> {
    pub similar: Option<KernelEstimate>,
    pub overall: &'a Histogram,
    /// The part of the similar runs; zero if there are none.
    similar_share: f64,
}

impl<'a> Prediction<'a> {
    /// The weight of all runs together, in runs, where these do not predict better than the similar ones.
    const OVERALL_WEIGHT: f64 = 0.5;
    /// The weight of the similar runs beyond that of each, in runs.
    const SIMILAR_PRIOR_WEIGHT: f64 = 1.0;

    pub(super) fn new(similar: Option<(KernelEstimate, LogScore)>, overall: &'a Histogram) -> Self {
        let Some((similar, score)) = similar else {
            return Self { similar: None, overall, similar_share: 0.0 };
        };
        let weight = similar.sums.weight + Self::SIMILAR_PRIOR_WEIGHT;
        let overall_weight = Self::OVERALL_WEIGHT * score.overall_factor();
        let similar_share = weight / (weight + overall_weight);
        Self { similar: Some(similar), overall, similar_share }
    }
}

impl Distribution for Prediction<'_> {
    fn cdf_at(&self, t: f64) -> CdfPoint {
        let ln = libm::log(t);
        let overall = self.overall.cdf(t, ln);
        let Some(similar) = &self.similar else { return overall };
        similar.cdf(t, ln).mixed_with(overall, self.similar_share)
    }
}

#[derive(Debug, Clone)]
pub struct KernelEstimate {
    /// In the order of their centers.
    kernels: [Kernel; RecentRuns::CAPACITY],
    count: usize,
    /// Of all kernels.
    sums: KernelSums,
    shape: KernelShape,
    log_normal: LogNormal,
    /// The part of the log-normal distribution; the kernels have the rest.
    log_normal_share: f64,
}

/// The kernel of one run.
#[derive(Debug, Clone, Copy, Default)]
struct Kernel {
    /// The logarithm of the duration.
    log_center: f64,
    /// The duration in seconds.
    center: f64,
    weight: f64,
    /// Of the kernels before this one.
    sums_before: KernelSums,
}

/// Sums over several kernels.
#[derive(Debug, Clone, Copy, Default)]
struct KernelSums {
    /// The weights, in runs.
    weight: f64,
    /// The products of weight and center.
    center: f64,
}

impl KernelEstimate {
    /// The standard deviation of a kernel, relative to that of the runs, for a single run; it falls with their number.
    const BANDWIDTH: f64 = 0.8;
    const BANDWIDTH_EXPONENT: f64 = -0.2;
    const MIN_BANDWIDTH: f64 = 0.02;

    /// `summary` is that of `runs`.
    pub(super) fn new(runs: &RecentRuns, summary: &RunsSummary, share: LogNormalShare) -> Self {
        let mut kernels = [Kernel::default(); RecentRuns::CAPACITY];
        let mut count = 0;
        for (kernel, run) in kernels.iter_mut().zip(runs.weighted()) {
            (kernel.log_center, kernel.weight) = (run.ln, run.weight);
            count += 1;
        }
        kernels[..count].sort_unstable_by(|one, other| one.log_center.total_cmp(&other.log_center));
        let mut sums = KernelSums::default();
        for kernel in &mut kernels[..count] {
            kernel.center = libm::exp(kernel.log_center);
            kernel.sums_before = sums;
            sums.weight += kernel.weight;
            sums.center += kernel.weight * kernel.center;
        }
        Self {
            kernels,
            count,
            sums,
            shape: KernelShape::new(Self::half_width(summary)),
            log_normal: Self::log_normal(summary),
            log_normal_share: share.get(),
        }
    }

    /// The probability densities of the logarithm of a duration by the kernels and by the log-normal distribution of an
    /// estimate, each multiplied by its share.
    pub(super) fn log_densities(
        runs: &RecentRuns,
        summary: &RunsSummary,
        share: LogNormalShare,
        seconds: f64,
    ) -> (f64, f64) {
        let (ln, half_width) = (libm::log(seconds), Self::half_width(summary));
        let density = |run: WeightedRun| run.weight * kernel_density((ln - run.ln) / half_width);
        let by_kernels = runs.weighted().map(density).sum::<f64>() / summary.weight / half_width;
        let by_log_normal = Self::log_normal(summary).log_density(ln);
        ((1.0 - share.get()) * by_kernels, share.get() * by_log_normal)
    }

    /// The half-width of the kernels.
    fn half_width(summary: &RunsSummary) -> f64 {
        let std_dev = Self::BANDWIDTH
            * summary.core_log_variance.sqrt()
            * libm::pow(summary.effective_runs, Self::BANDWIDTH_EXPONENT);
        std_dev.max(Self::MIN_BANDWIDTH) * 5f64.sqrt()
    }

    fn log_normal(summary: &RunsSummary) -> LogNormal {
        LogNormal::new(summary.log_mean, summary.log_variance.sqrt())
    }
}

impl Distribution for KernelEstimate {
    fn cdf_at(&self, t: f64) -> CdfPoint {
        self.cdf(t, libm::log(t))
    }
}

impl KernelEstimate {
    /// F and A at `t`, of logarithm `ln`.
    fn cdf(&self, t: f64, ln: f64) -> CdfPoint {
        if t <= 0.0 {
            return CdfPoint { probability: 0.0, integral: 0.0 };
        }
        let kernels = &self.kernels[..self.count];
        let passed = kernels.partition_point(|kernel| self.shape.is_passed(kernel, ln));
        let sums = kernels.get(passed).map_or(self.sums, |kernel| kernel.sums_before);
        let mut probability = sums.weight;
        let mut integral = self.shape.integral_of_passed(sums, t);
        for kernel in &kernels[passed..] {
            let Some(point) = self.shape.cdf_within(kernel, t, ln) else { break };
            probability += kernel.weight * point.probability;
            integral += kernel.weight * point.integral;
        }
        let weight = self.sums.weight;
        let by_kernels =
            CdfPoint { probability: probability / weight, integral: integral / weight };
        let mixed = self.log_normal.cdf(t, ln).mixed_with(by_kernels, self.log_normal_share);
        CdfPoint { probability: mixed.probability.min(1.0), ..mixed }
    }
}

/// What the kernels of one estimate have in common. The letters are those of the module's documentation.
#[derive(Debug, Clone, Copy)]
struct KernelShape {
    half_width: f64,
    /// e^(−c)·Q(−1).
    integral_start: f64,
    /// e^c.
    upper_edge: f64,
    /// A at the upper edge of a kernel around one second.
    integral_end: f64,
}

impl KernelShape {
    fn new(half_width: f64) -> Self {
        let upper_edge = libm::exp(half_width);
        let integral_start = antiderivative(-1.0, half_width) / upper_edge;
        let integral_end =
            half_width * (upper_edge * antiderivative(1.0, half_width) - integral_start);
        Self { half_width, integral_start, upper_edge, integral_end }
    }

    /// Whether a duration of this logarithm lies beyond the kernel.
    fn is_passed(&self, kernel: &Kernel, ln: f64) -> bool {
        ln - kernel.log_center >= self.half_width
    }

    /// A of kernels that `t` lies beyond, multiplied by their weights.
    fn integral_of_passed(&self, sums: KernelSums, t: f64) -> f64 {
        sums.weight * t + sums.center * (self.integral_end - self.upper_edge)
    }

    /// F and A of a kernel that `t`, of logarithm `ln`, does not lie beyond; none before the kernel begins.
    fn cdf_within(&self, kernel: &Kernel, t: f64, ln: f64) -> Option<CdfPoint> {
        let z = (ln - kernel.log_center) / self.half_width;
        if z <= -1.0 {
            return None;
        }
        let grown = t / kernel.center * antiderivative(z, self.half_width) - self.integral_start;
        Some(CdfPoint {
            probability: kernel_cdf(z),
            integral: (kernel.center * self.half_width * grown).max(0.0),
        })
    }
}

/// F′, zero outside of −1 to 1.
fn kernel_density(z: f64) -> f64 {
    (0.75 * (1.0 - z * z)).max(0.0)
}

/// F between −1 and 1.
fn kernel_cdf(z: f64) -> f64 {
    (2.0 + 3.0 * z - z * z * z) / 4.0
}

/// Q for the half-width `c`.
fn antiderivative(z: f64, c: f64) -> f64 {
    let (first, second, third) = (kernel_density(z), -1.5 * z, -1.5);
    (kernel_cdf(z) - (first - (second - third / c) / c) / c) / c
}
