//! Center and variance of the logarithms of similar runs, without the few that failed early, hung or were answered from a
//! cache. `kernel_estimate` builds on them.
//!
//! The search begins with the median and the narrower of two variances: that of all runs, and that of the half of the runs
//! that differ least. Then runs far from the center are left out, and mean and variance of the others are taken, three times.
//! The variance is drawn towards a prior, which counts as two runs.

use super::distribution::LogNormal;
use super::recent_runs::{RunWeights, SortedRuns};

#[derive(Debug, Clone, Copy)]
pub(super) struct CoreMoments {
    /// Of the runs that are not left out.
    pub(super) center: f64,
    /// Of the runs that are not left out.
    pub(super) variance: f64,
    /// Of all runs.
    pub(super) mean: f64,
    /// The sum of the weights of all runs.
    pub(super) weight: f64,
    /// The sum of the weights of the runs that are not left out.
    pub(super) core_weight: f64,
    /// The number of runs of equal weight that would say as much.
    pub(super) effective_runs: f64,
}

/// One kind of runs: the center of the logarithms, and the weight in runs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RunKind {
    pub(super) center: f64,
    pub(super) weight: f64,
}

/// The weighted sums of some runs.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    weight: f64,
    ln: f64,
    squared_ln: f64,
}

impl Sums {
    /// Of the runs that are at most `max_deviation` away from `center`. The logarithms are taken relative to it, so that the
    /// squares keep their digits.
    fn near(runs: &SortedRuns, weights: &RunWeights, center: f64, max_deviation: f64) -> Self {
        let mut sums = Self::default();
        for run in runs.as_slice() {
            let deviation = run.ln - center;
            if deviation.abs() <= max_deviation {
                let weight = weights[run.age];
                sums.weight += weight;
                sums.ln += weight * deviation;
                sums.squared_ln += weight * deviation * deviation;
            }
        }
        sums
    }

    /// Relative to the center.
    fn mean(&self) -> f64 {
        self.ln / self.weight
    }

    fn squared_deviations(&self) -> f64 {
        (self.squared_ln - self.ln * self.ln / self.weight).max(0.0)
    }
}

impl CoreMoments {
    /// The weight of the prior variance, in runs.
    const PRIOR_RUNS: f64 = 2.0;
    /// Runs further from the center, in standard deviations, are left out.
    const MAX_DEVIATION: f64 = 2.5;
    /// What is left out of a normal distribution would have raised its variance by this factor.
    const LEFT_OUT_FACTOR: f64 = 1.05;
    const STEPS: usize = 3;

    pub(super) fn new(runs: &SortedRuns, weights: &RunWeights, prior_variance: f64) -> Self {
        let with_prior = |squared_deviations: f64, weight: f64| {
            (Self::PRIOR_RUNS * prior_variance + squared_deviations) / (Self::PRIOR_RUNS + weight)
        };
        let median = weighted_median(runs, weights);
        let all = Sums::near(runs, weights, median, f64::INFINITY);
        let mut variance = with_prior(all.squared_deviations(), all.weight);
        if let Some(std_dev) = runs.std_dev_of_shortest_half() {
            variance = variance.min(with_prior(all.weight * std_dev * std_dev, all.weight));
        }
        let (mut center, mut core_weight) = (median, all.weight);
        for step in 0..Self::STEPS {
            let core = Sums::near(runs, weights, center, Self::MAX_DEVIATION * variance.sqrt());
            // No two runs have the same weight: these are the runs of the step before, with the same mean and variance.
            if core.weight == 0.0 || (step > 0 && core.weight.to_bits() == core_weight.to_bits()) {
                break;
            }
            center += core.mean();
            core_weight = core.weight;
            variance = with_prior(Self::LEFT_OUT_FACTOR * core.squared_deviations(), core.weight);
        }
        let squared_weights: f64 = runs.as_slice().iter().map(|run| weights[run.age].powi(2)).sum();
        Self {
            center,
            variance,
            mean: median + all.mean(),
            weight: all.weight,
            core_weight,
            effective_runs: all.weight * all.weight / squared_weights,
        }
    }

    /// The distance from the center beyond which runs are left out.
    pub(super) fn max_deviation(&self) -> f64 {
        Self::MAX_DEVIATION * self.variance.sqrt()
    }

    /// Together with runs of another time, of this variance.
    pub(super) fn joined_with(self, other: &RunKind, variance: f64) -> Self {
        if other.weight == 0.0 {
            return self;
        }
        let (own_weight, weight) = (self.core_weight, self.core_weight + other.weight);
        let center = (own_weight * self.center + other.weight * other.center) / weight;
        let distance = self.center - other.center;
        let squared_deviations = (own_weight + Self::PRIOR_RUNS) * self.variance
            + other.weight * variance
            + own_weight * other.weight / weight * distance * distance;
        Self {
            center,
            variance: squared_deviations / (weight + Self::PRIOR_RUNS),
            weight: self.weight + other.weight,
            core_weight: weight,
            effective_runs: weight,
            ..self
        }
    }

    /// Wider than the runs, because few runs do not tell the center exactly.
    pub(super) fn log_normal(&self) -> LogNormal {
        let variance = self.variance * (1.0 + 1.0 / self.effective_runs);
        LogNormal::new(self.center, variance.sqrt())
    }
}

/// The logarithm of the first of the runs up to which half of the weight lies.
fn weighted_median(runs: &SortedRuns, weights: &RunWeights) -> f64 {
    let runs = runs.as_slice();
    let half = runs.iter().map(|run| weights[run.age]).sum::<f64>() / 2.0;
    let (mut before, mut last) = (0.0, 0.0);
    for run in runs {
        (before, last) = (before + weights[run.age], run.ln);
        // Sums of the same weights may differ in the last digit.
        if before >= half - 1e-12 {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::recent_runs::RecentRuns;

    fn moments(durations: impl IntoIterator<Item = f64>, decay: f64) -> CoreMoments {
        let mut runs = RecentRuns::default();
        durations.into_iter().for_each(|seconds| runs.record(seconds));
        CoreMoments::new(&runs.sorted(), &RecentRuns::weights(decay), 0.16)
    }

    #[test]
    fn a_few_runs_of_another_kind_change_neither_center_nor_variance() {
        let run = |run: i32| if run % 7 == 6 { 2.0 } else { 60.0 + f64::from(run % 3) };
        let core = moments((0..20).map(run), 1.0);
        assert!((core.center - 61f64.ln()).abs() < 0.01, "{core:?}");
        assert!(core.variance < 0.03, "{core:?}");
        assert!(core.mean < 56f64.ln(), "{core:?}");
    }

    #[test]
    fn a_lower_decay_follows_the_newest_runs() {
        let durations = || [10.0; 14].into_iter().chain([100.0; 6]);
        assert!((moments(durations(), 1.0).center - 10f64.ln()).abs() < 0.01);
        assert!((moments(durations(), 0.85).center - 100f64.ln()).abs() < 0.01);
    }

    #[test]
    fn one_run_has_the_prior_variance() {
        let core = moments([30.0], 0.9);
        assert!((core.center - 30f64.ln()).abs() < 0.001, "{core:?}");
        assert!((core.variance - 0.16 * 2.0 / 3.0).abs() < 1e-6, "{core:?}");
        assert!((core.effective_runs - 1.0).abs() < 1e-9, "{core:?}");
    }
}
