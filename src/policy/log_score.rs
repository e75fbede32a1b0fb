//! Whether similar runs predict a key better than all runs of the provider together. `duration_history` records it.
//!
//! A key may be wide, such as a queue in which every kind of job runs: then its last runs tell less than all runs. The
//! score is the logarithm of how likely its durations were by the similar runs before, relative to how likely by all runs,
//! summed over the last runs. It lowers the weight of the similar runs and never raises it, because the similar runs alone
//! follow a change.

use super::estimate_shares::PerEstimate;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LogScore(i16);

impl LogScore {
    /// The score is kept in steps of this.
    const STEP: f64 = 1.0 / 512.0;
    /// The weight of a run relative to the next one.
    const DECAY: f64 = 0.94;
    /// The most that one run counts for or against the similar runs.
    const MAX_GAIN: f64 = 3.0;
    /// The share of all runs together is small where they seldom predict better, so a key must be able to raise it fast.
    const WEIGHT: f64 = 2.0;
    /// The weight of all runs together is at most this many times as high.
    const MAX_FACTOR: f64 = 33.0;

    /// Records a run: the densities that the estimates gave it, and the shares that they had in the prediction.
    pub(super) fn record(&mut self, densities: &PerEstimate, shares: &PerEstimate) {
        /// The density of a run that nothing predicted.
        const MIN_DENSITY: f64 = 1e-3;
        let by_similar_runs = (densities.by_key(shares)
            + densities.of_deviations * shares.of_deviations)
            / (1.0 - shares.of_all_runs);
        let ratio = by_similar_runs.max(MIN_DENSITY) / densities.of_all_runs.max(MIN_DENSITY);
        let gain = libm::log(ratio).clamp(-Self::MAX_GAIN, Self::MAX_GAIN);
        #[expect(clippy::cast_possible_truncation, reason = "at most 50")]
        let steps = ((Self::DECAY * self.score() + gain) / Self::STEP).round() as i16;
        self.0 = steps;
    }

    fn score(self) -> f64 {
        f64::from(self.0) * Self::STEP
    }

    /// The factor for the weight of all runs together: 1 unless these predict better.
    pub(super) fn overall_factor(self) -> f64 {
        libm::exp(-Self::WEIGHT * self.score()).clamp(1.0, Self::MAX_FACTOR)
    }
}
