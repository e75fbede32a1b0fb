//! The last runs of one similarity key, in 42 bytes, and what they have in common. `duration_history` records them, and
//! `kernel_estimate` predicts from them.
//!
//! A run has half the weight of the one that ended eleven runs later, so that a key follows a change of its durations.

/// The logarithm of a duration in steps of a 2048th of an octave: 0.03 %, from 0.03 s to four years.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct CompactDuration(u16);

impl CompactDuration {
    const STEPS_PER_OCTAVE: f64 = 2048.0;
    const LOG2_MIN: f64 = -5.0;

    fn from_seconds(seconds: f64) -> Self {
        let octaves = libm::log2(seconds.max(RecentRuns::MIN_SECONDS)) - Self::LOG2_MIN;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the cast saturates, and the number of octaves is not negative"
        )]
        Self((octaves * Self::STEPS_PER_OCTAVE).round() as u16)
    }

    /// The natural logarithm of the duration in seconds.
    fn ln(self) -> f64 {
        (Self::octaves(self.0) + Self::LOG2_MIN) * std::f64::consts::LN_2
    }

    fn octaves(steps: u16) -> f64 {
        f64::from(steps) / Self::STEPS_PER_OCTAVE
    }
}

/// The durations of the last runs, the newest first.
#[derive(Debug, Clone, Copy, Default)]
pub struct RecentRuns {
    durations: [CompactDuration; Self::CAPACITY],
    count: u8,
}

/// A run and its weight.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct WeightedRun {
    /// The logarithm of its duration in seconds.
    pub(super) ln: f64,
    pub(super) weight: f64,
}

/// What the runs of a key have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunsSummary {
    pub(super) log_mean: f64,
    pub(super) log_variance: f64,
    /// The variance of the half of the runs that differ least, at most `log_variance`: a few runs that failed early, hung,
    /// or were answered from a cache do not raise it.
    pub(super) core_log_variance: f64,
    /// The sum of the weights.
    pub(super) weight: f64,
    /// The number of runs of equal weight that would say as much.
    pub(super) effective_runs: f64,
}

impl RecentRuns {
    pub(super) const CAPACITY: usize = 20;
    /// Shorter runs count as this long: no poll is sent so early that the difference would matter.
    pub(super) const MIN_SECONDS: f64 = 0.05;
    /// The weight of a run relative to the next one.
    const DECAY: f64 = 0.94;
    /// The weight of the prior variance, in runs.
    const PRIOR_RUNS: f64 = 2.0;
    /// From this number of runs on, the shortest half says how far most runs are apart.
    const MIN_RUNS_TO_HALVE: usize = 4;
    /// The width of the middle half of the standard normal distribution.
    const NORMAL_HALF_WIDTH: f64 = 1.349;

    pub fn record(&mut self, seconds: f64) {
        self.durations.rotate_right(1);
        self.durations[0] = CompactDuration::from_seconds(seconds);
        if usize::from(self.count) < Self::CAPACITY {
            self.count += 1;
        }
    }

    /// The number of runs that are kept.
    #[must_use]
    pub fn count(&self) -> u32 {
        u32::from(self.count)
    }

    fn durations(&self) -> &[CompactDuration] {
        &self.durations[..usize::from(self.count)]
    }

    fn sorted(&self) -> ([CompactDuration; Self::CAPACITY], usize) {
        let (mut sorted, count) = (self.durations, usize::from(self.count));
        sorted[..count].sort_unstable();
        (sorted, count)
    }

    /// In seconds; none without runs.
    #[must_use]
    pub fn median(&self) -> Option<f64> {
        let (sorted, count) = self.sorted();
        let (low, high) = (sorted.get((count.checked_sub(1)?) / 2)?, sorted.get(count / 2)?);
        Some(libm::exp(f64::midpoint(low.ln(), high.ln())))
    }

    /// The newest first.
    pub(super) fn weighted(&self) -> impl Iterator<Item = WeightedRun> {
        let mut weight = 1.0 / Self::DECAY;
        self.durations().iter().map(move |duration| {
            weight *= Self::DECAY;
            WeightedRun { ln: duration.ln(), weight }
        })
    }

    /// None without runs.
    pub(super) fn summary(&self, prior_variance: f64) -> Option<RunsSummary> {
        if self.count == 0 {
            return None;
        }
        let (mut weight, mut squared_weights, mut weighted_ln) = (0.0, 0.0, 0.0);
        for run in self.weighted() {
            weight += run.weight;
            squared_weights += run.weight * run.weight;
            weighted_ln += run.weight * run.ln;
        }
        let log_mean = weighted_ln / weight;
        let squared_deviations: f64 =
            self.weighted().map(|run| run.weight * (run.ln - log_mean).powi(2)).sum();
        let with_prior = |squared_deviations: f64| {
            (Self::PRIOR_RUNS * prior_variance + squared_deviations) / (Self::PRIOR_RUNS + weight)
        };
        let log_variance = with_prior(squared_deviations);
        let core_log_variance = self.std_dev_of_shortest_half().map_or(log_variance, |std_dev| {
            log_variance.min(with_prior(weight * std_dev * std_dev))
        });
        let effective_runs = weight * weight / squared_weights;
        Some(RunsSummary { log_mean, log_variance, core_log_variance, weight, effective_runs })
    }

    /// The standard deviation of the normal distribution whose middle half is as wide as the shortest interval that
    /// contains half of the runs.
    fn std_dev_of_shortest_half(&self) -> Option<f64> {
        let (sorted, count) = self.sorted();
        if count < Self::MIN_RUNS_TO_HALVE {
            return None;
        }
        let sorted = &sorted[..count];
        let gaps = count / 2;
        let widths = sorted.iter().zip(&sorted[gaps..]).map(|(low, high)| high.0 - low.0);
        let shortest = CompactDuration::octaves(widths.min()?) * std::f64::consts::LN_2;
        #[expect(clippy::cast_precision_loss, reason = "at most CAPACITY")]
        let half = shortest * ((count - 1) as f64 / 2.0) / gaps as f64;
        Some(half / Self::NORMAL_HALF_WIDTH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_kept_with_a_small_error() {
        for seconds in [0.05, 0.3, 1.0, 17.31, 3600.0, 86_400.0, 3.4e7] {
            let kept = libm::exp(CompactDuration::from_seconds(seconds).ln());
            assert!((kept / seconds - 1.0).abs() < 0.0002, "{kept} for {seconds}");
        }
    }

    #[test]
    fn the_last_twenty_runs_are_kept() {
        let mut runs = RecentRuns::default();
        assert!(runs.median().is_none());
        for seconds in [1.0; 5].into_iter().chain([100.0; 20]) {
            runs.record(seconds);
        }
        assert_eq!(runs.count(), 20);
        assert!(runs.median().is_some_and(|median| (99.9..100.1).contains(&median)));
        assert!(size_of::<RecentRuns>() <= 42);
    }

    #[test]
    fn a_few_runs_of_another_kind_do_not_widen_the_estimate() {
        let mut runs = RecentRuns::default();
        for run in 0..20 {
            runs.record(if run % 7 == 6 { 2.0 } else { 60.0 + f64::from(run % 3) });
        }
        let summary = runs.summary(0.16).expect("runs");
        assert!(summary.core_log_variance < 0.05, "{}", summary.core_log_variance);
    }
}
