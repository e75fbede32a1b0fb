//! How much similar runs of a provider usually differ: the prior for keys with few runs. `duration_history` records it.
//!
//! For each run with known similar runs, e = ln((ln T − m)²·n/(n + 1) + ε), with the mean m and the effective number n
//! of the runs before. The logarithm of the square of a normal variable has the mean ln σ² − 1.27, so σ² = exp(mean of e + 1.27).
//! The mean of logarithms hardly depends on a few runs that hung or failed early.

use super::core_moments::CoreMoments;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TypicalVariance {
    /// The weight of the runs so far.
    runs: f64,
    mean: f64,
}

impl TypicalVariance {
    /// The variance of the logarithms without any run, and its weight in runs.
    const PRIOR: (f64, f64) = (0.16, 8.0);
    /// The weight of a run relative to the next one.
    const DECAY: f64 = 0.999;
    /// Ends are known to some tenths of a second, so that short runs seem to differ more than they do.
    const CLOCK_ERROR_S: f64 = 0.3;
    /// Shorter runs tell nothing.
    const MIN_SECONDS: f64 = 1.0;
    const MIN_VARIANCE: f64 = 1e-4;
    /// The mean of the logarithm of the square of a standard normal variable, with the sign changed.
    const LOG_SQUARE_BIAS: f64 = 1.27;

    /// Records a run; `before` are the similar runs before it.
    pub(super) fn record(&mut self, seconds: f64, before: &CoreMoments) {
        if seconds < Self::MIN_SECONDS {
            return;
        }
        let deviation = libm::log(seconds) - before.mean;
        let runs = before.effective_runs;
        let unbiased = deviation * deviation * runs / (runs + 1.0);
        let clock_error = Self::CLOCK_ERROR_S / seconds;
        let log = libm::log(unbiased + clock_error * clock_error + Self::MIN_VARIANCE);
        self.runs = Self::DECAY * self.runs + 1.0;
        self.mean += (log - self.mean) / self.runs;
    }

    /// The variance of the logarithms.
    pub(super) fn get(&self) -> f64 {
        let (prior, weight) = Self::PRIOR;
        let learned = self.mean + Self::LOG_SQUARE_BIAS;
        libm::exp((weight * libm::log(prior) + self.runs * learned) / (weight + self.runs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::recent_runs::RecentRuns;

    #[test]
    fn the_variance_of_similar_runs_is_learned_whatever_their_durations_are() {
        for std_dev in [0.02, 0.1, 0.5] {
            let mut typical = TypicalVariance::default();
            let mut keys = [RecentRuns::default(); 10];
            for run in 0..2000u16 {
                let key = (run / 7) % 10;
                // Uniform, with the variance 1.
                let place = (f64::from(run) * 0.618_034).fract();
                let deviation = (place - 0.5) * 12f64.sqrt();
                let seconds = 100.0 * libm::exp(f64::from(key) + std_dev * deviation);
                if keys[usize::from(key)].count() > 0 {
                    let before = keys[usize::from(key)].sorted();
                    typical.record(
                        seconds,
                        &CoreMoments::new(&before, &RecentRuns::weights(0.85), typical.get()),
                    );
                }
                keys[usize::from(key)].record(seconds);
            }
            let found = typical.get().sqrt();
            assert!((0.75..2.0).contains(&(found / std_dev)), "{found} for {std_dev}");
        }
    }
}
