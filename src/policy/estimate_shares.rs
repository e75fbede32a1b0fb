//! The parts that several estimates have in a prediction, learned from how well they expected the runs of a provider.
//! `duration_history` records them.
//!
//! The shares are those of a mixture which makes the runs most likely, found by online expectation-maximization: each run
//! counts for all estimates, in proportion to the densities that they gave it. They are learned separately for keys with
//! few and with many runs, because a few runs say less than what all keys have in common.

/// The estimates of [`KernelEstimate`](super::KernelEstimate): kernels, a log-normal
/// distribution, and the typical durations.
pub(super) const KEY_ESTIMATES: usize = 3;

/// A value for each estimate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct PerEstimate {
    /// From the similar runs alone.
    pub(super) of_key: [f64; KEY_ESTIMATES],
    /// From how the runs of all keys deviate from the center of their key.
    pub(super) of_deviations: f64,
    /// From the durations of all runs.
    pub(super) of_all_runs: f64,
}

impl PerEstimate {
    fn zip_with(&self, other: &Self, combine: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            of_key: std::array::from_fn(|index| combine(self.of_key[index], other.of_key[index])),
            of_deviations: combine(self.of_deviations, other.of_deviations),
            of_all_runs: combine(self.of_all_runs, other.of_all_runs),
        }
    }

    /// The sum of these densities by the similar runs alone, each multiplied by its share.
    pub(super) fn by_key(&self, shares: &Self) -> f64 {
        self.of_key.iter().zip(shares.of_key).map(|(density, share)| density * share).sum()
    }

    /// The probability that a run was what the deviations are to explain, and nothing that its key is known for; of a
    /// run with these densities. Certain if no estimate expected the run.
    pub(super) fn part_of_deviations(&self, shares: &Self) -> f64 {
        let of_deviations = self.of_deviations * shares.of_deviations;
        let both = self.by_key(shares) + of_deviations;
        if both > 0.0 { of_deviations / both } else { 1.0 }
    }

    fn sum(&self) -> f64 {
        self.of_key.iter().sum::<f64>() + self.of_deviations + self.of_all_runs
    }
}

/// The shares for keys with similar numbers of runs.
#[derive(Debug, Clone, Copy)]
struct LearnedShares {
    shares: PerEstimate,
    /// The weight of the runs so far and of the prior.
    runs: f64,
}

impl Default for LearnedShares {
    fn default() -> Self {
        let shares =
            PerEstimate { of_key: [0.6, 0.15, 0.15], of_deviations: 0.05, of_all_runs: 0.05 };
        Self { shares, runs: 20.0 }
    }
}

impl LearnedShares {
    /// The weight of a run relative to the next one.
    const DECAY: f64 = 0.999;
    const MIN: f64 = 0.005;
    /// A run of this density counts half, because no estimate expected it.
    const OUTLIER_DENSITY: f64 = 0.05;

    /// `parts` are the densities that the estimates gave the run, each multiplied by its share in the prediction.
    fn record(&mut self, parts: &PerEstimate) {
        let density = parts.sum();
        if density <= 0.0 {
            return;
        }
        let weight = density / (density + Self::OUTLIER_DENSITY);
        self.runs = (1.0 - (1.0 - Self::DECAY) * weight) * self.runs + weight;
        let step = weight / self.runs;
        self.shares = self.shares.zip_with(parts, |share, part| {
            (share + step * (part / density - share)).max(Self::MIN)
        });
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct EstimateShares {
    /// For 1 and 2, 3 to 5, 6 to 11, and more similar runs.
    by_run_count: [LearnedShares; 4],
}

impl EstimateShares {
    fn index(run_count: u32) -> usize {
        match run_count {
            0..=2 => 0,
            3..=5 => 1,
            6..=11 => 2,
            12.. => 3,
        }
    }

    /// The shares for a key with this number of runs. Their sum is about 1.
    pub(super) fn get(&self, run_count: u32) -> PerEstimate {
        self.by_run_count[Self::index(run_count)].shares
    }

    /// Records a run of a key with this number of earlier runs: the densities that the estimates gave it, and the shares
    /// that they had in the prediction.
    pub(super) fn record(&mut self, run_count: u32, densities: &PerEstimate, shares: &PerEstimate) {
        let parts = densities.zip_with(shares, |density, share| density * share);
        self.by_run_count[Self::index(run_count)].record(&parts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shares after runs with densities by all similar runs together, the deviations and all runs.
    fn learned_shares(densities: [(f64, f64, f64); 2]) -> PerEstimate {
        let mut shares = EstimateShares::default();
        for (of_key, of_deviations, of_all_runs) in densities.into_iter().cycle().take(4000) {
            let densities = PerEstimate { of_key: [of_key; 3], of_deviations, of_all_runs };
            let current = shares.get(20);
            shares.record(20, &densities, &current);
        }
        shares.get(20)
    }

    #[test]
    fn the_estimate_that_expects_the_runs_gets_the_share() {
        assert!(learned_shares([(2.0, 0.5, 0.5), (1.0, 0.5, 0.0)]).of_deviations < 0.02);
        assert!(learned_shares([(0.5, 2.0, 0.1), (0.0, 1.0, 0.1)]).of_deviations > 0.9);
        assert!(learned_shares([(0.0, 0.1, 2.0), (0.0, 0.1, 1.0)]).of_all_runs > 0.9);
    }

    #[test]
    fn runs_that_nothing_expected_do_not_count() {
        let shares = learned_shares([(0.0, 0.0, 0.0), (1e-9, 0.0, 0.0)]);
        assert!((shares.of_deviations - 0.05).abs() < 1e-3, "{shares:?}");
    }

    #[test]
    fn keys_with_few_runs_have_shares_of_their_own() {
        let mut shares = EstimateShares::default();
        let densities = PerEstimate { of_key: [0.1; 3], of_deviations: 3.0, of_all_runs: 0.1 };
        for _ in 0..100 {
            let current = shares.get(2);
            shares.record(2, &densities, &current);
        }
        assert!(shares.get(1).of_deviations > 0.5);
        assert_eq!(shares.get(3), LearnedShares::default().shares);
    }
}
