//! The durations of one similarity key, estimated from its runs: a mixture of kernels, a log-normal distribution, and the
//! typical durations.
//!
//! Each of the last runs is widened by a kernel on the logarithmic scale, which keeps several typical durations apart
//! (answered from a cache or not, failed early). A log-normal distribution follows the newest runs, and suits a key whose
//! duration changes; one or two of them (`typical_durations`) suit a key that lasts. `key_evidence` says which estimate
//! suits the key.
//!
//! The kernel is Epanechnikov's, on a half-width c: with z = (ln t − x)/c for a run of logarithm x, F(z) = (2 + 3z − z³)/4
//! between −1 and 1. Substituting t = exp(x + c·z), A = eˣ·c·∫ F(v)·e^(c·v) dv has a closed form, because
//! ∫ F(v)·e^(c·v) dv = e^(c·v)·Q(v) with Q = F/c − F′/c² + F″/c³ − F‴/c⁴.

use super::core_moments::CoreMoments;
use super::distribution::{CdfPoint, Distribution, LogNormal};
use super::earlier_runs::EarlierRuns;
use super::estimate_shares::KEY_ESTIMATES;
use super::recent_runs::{RecentRuns, RunWeights, SortedRuns};
use super::typical_durations::TypicalDurations;

#[derive(Debug, Clone)]
pub struct KernelEstimate {
    /// In the order of their centers.
    kernels: [Kernel; RecentRuns::CAPACITY],
    count: usize,
    /// Of all kernels.
    sums: KernelSums,
    shape: KernelShape,
    /// By the newest runs.
    log_normal: LogNormal,
    pub(super) typical: TypicalDurations,
    /// Of the kernels, the log-normal distribution and the typical durations. Their sum is 1.
    shares: [f64; KEY_ESTIMATES],
    /// What the newest runs have in common.
    pub(super) newest: CoreMoments,
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

    /// Of the kernels, and of the runs in the log-normal distribution.
    const KERNEL_WEIGHTS: RunWeights = RecentRuns::weights(0.97);
    const LOG_NORMAL_WEIGHTS: RunWeights = RecentRuns::weights(0.85);

    /// `weights` are in proportion to the shares of the kernels, the log-normal distribution and the typical durations.
    pub(super) fn new(
        runs: &SortedRuns,
        earlier: &EarlierRuns,
        prior_variance: f64,
        weights: [f64; KEY_ESTIMATES],
    ) -> Self {
        let kernel_weights = &Self::KERNEL_WEIGHTS;
        let moments = |weights| CoreMoments::new(runs, weights, prior_variance);
        let mut kernels = [Kernel::default(); RecentRuns::CAPACITY];
        let mut sums = KernelSums::default();
        let mut count = 0;
        for (kernel, run) in kernels.iter_mut().zip(runs.as_slice()) {
            let (center, weight) = (libm::exp(run.ln), kernel_weights[run.age]);
            *kernel = Kernel { log_center: run.ln, center, weight, sums_before: sums };
            sums.weight += weight;
            sums.center += weight * center;
            count += 1;
        }
        let newest = moments(&Self::LOG_NORMAL_WEIGHTS);
        let total: f64 = weights.iter().sum();
        Self {
            kernels,
            count,
            sums,
            shape: KernelShape::new(Self::half_width(&moments(kernel_weights))),
            log_normal: newest.log_normal(),
            typical: TypicalDurations::new(runs, earlier, prior_variance),
            shares: weights.map(|weight| weight / total),
            newest,
        }
    }

    /// The probability densities of the logarithm of a duration: by the kernels, the log-normal distribution and the
    /// typical durations.
    pub(super) fn log_densities(&self, ln: f64) -> [f64; KEY_ESTIMATES] {
        let half_width = self.shape.half_width;
        let density =
            |kernel: &Kernel| kernel.weight * kernel_density((ln - kernel.log_center) / half_width);
        let by_kernels = self.kernels[..self.count].iter().map(density).sum::<f64>();
        let by_kernels = by_kernels / self.sums.weight / half_width;
        [by_kernels, self.log_normal.log_density(ln), self.typical.log_density(ln)]
    }

    /// The shares of the kernels, the log-normal distribution and the typical durations.
    pub(super) fn shares(&self) -> [f64; KEY_ESTIMATES] {
        self.shares
    }

    /// The half-width of the kernels.
    fn half_width(moments: &CoreMoments) -> f64 {
        let std_dev = Self::BANDWIDTH
            * moments.variance.sqrt()
            * libm::pow(moments.effective_runs, Self::BANDWIDTH_EXPONENT);
        std_dev.max(Self::MIN_BANDWIDTH) * 5f64.sqrt()
    }
}

impl Distribution for KernelEstimate {
    fn cdf_at(&self, t: f64) -> CdfPoint {
        self.cdf(t, libm::log(t))
    }
}

impl KernelEstimate {
    /// F and A at `t`, of logarithm `ln`.
    pub(super) fn cdf(&self, t: f64, ln: f64) -> CdfPoint {
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
        let [kernel_share, newest_share, typical_share] = self.shares;
        let mixed = CdfPoint::mixture([
            (kernel_share, by_kernels),
            (newest_share, self.log_normal.cdf(t, ln)),
            (typical_share, self.typical.cdf(t, ln)),
        ]);
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
