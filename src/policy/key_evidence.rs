//! How well each estimate of one similarity key expected the key's runs. `duration_history` records it.
//!
//! The logarithms of the probability densities that an estimate gave the runs are summed; older runs count less. Most
//! keys scatter around one typical duration, others have several, and with some the typical duration changes: the
//! estimates of [`KernelEstimate`](super::KernelEstimate) suit these keys differently well.

use super::estimate_shares::KEY_ESTIMATES;

/// Of all estimates but the first, relative to the first, in steps of `STEP`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct KeyEvidence([i8; KEY_ESTIMATES - 1]);

impl KeyEvidence {
    const STEP: f64 = 1.0 / 8.0;
    /// The weight of a run relative to the next one.
    const DECAY: f64 = 0.99;
    /// The density of a run that no estimate expected: it tells nothing.
    const OUTLIER_DENSITY: f64 = 0.05;
    /// Runs of one key are not as independent as the sum supposes.
    const WEIGHT: f64 = 0.5;

    fn sums(self) -> [f64; KEY_ESTIMATES] {
        let mut sums = [0.0; KEY_ESTIMATES];
        for (sum, steps) in sums[1..].iter_mut().zip(self.0) {
            *sum = f64::from(steps) * Self::STEP;
        }
        sums
    }

    /// Records a run with the densities that the estimates gave it.
    pub(super) fn record(&mut self, densities: [f64; KEY_ESTIMATES]) {
        let mut sums = self.sums();
        for (sum, density) in sums.iter_mut().zip(densities) {
            *sum = Self::DECAY * *sum + libm::log(density + Self::OUTLIER_DENSITY);
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the cast saturates, so that an estimate that was much worse can return soon after a change"
        )]
        let steps = |sum: f64| ((sum - sums[0]) / Self::STEP).round() as i8;
        self.0 = std::array::from_fn(|index| steps(sums[index + 1]));
    }

    /// The factors for the shares of the estimates; the highest is 1.
    pub(super) fn factors(self) -> [f64; KEY_ESTIMATES] {
        let sums = self.sums();
        let best = sums.into_iter().fold(f64::NEG_INFINITY, f64::max);
        sums.map(|sum| libm::exp(Self::WEIGHT * (sum - best)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_that_expects_the_runs_has_the_highest_factor() {
        let mut evidence = KeyEvidence::default();
        assert!(evidence.factors().iter().all(|factor| (factor - 1.0).abs() < 1e-9));
        for _ in 0..20 {
            evidence.record([1.0, 2.0, 0.5]);
        }
        let [one, best, worst] = evidence.factors();
        assert!((best - 1.0).abs() < 1e-9 && one < 0.01 && worst < one, "{one} {best} {worst}");
        // After a change another one takes over within a few runs.
        for _ in 0..12 {
            evidence.record([4.0, 0.1, 0.1]);
        }
        assert!(evidence.factors()[1] < 0.1, "{:?}", evidence.factors());
    }

    #[test]
    fn a_run_that_nothing_expected_changes_nothing() {
        let mut evidence = KeyEvidence::default();
        evidence.record([0.0; KEY_ESTIMATES]);
        assert!(evidence.factors().iter().all(|factor| (factor - 1.0).abs() < 1e-9));
    }
}
