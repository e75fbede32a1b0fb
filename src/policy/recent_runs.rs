//! The last runs of one similarity key, in 42 bytes. `duration_history` records them, and `core_moments` and
//! `kernel_estimate` say what they have in common.

/// The logarithm of a duration in steps of a 2048th of an octave: 0.03 %, from 0.03 s to four years.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CompactDuration(u16);

impl CompactDuration {
    const STEPS_PER_OCTAVE: f64 = 2048.0;
    const LOG2_MIN: f64 = -5.0;

    pub(super) fn from_seconds(seconds: f64) -> Self {
        Self::from_ln(libm::log(seconds.max(RecentRuns::MIN_SECONDS)))
    }

    pub(super) fn from_ln(ln: f64) -> Self {
        let octaves = (ln / std::f64::consts::LN_2 - Self::LOG2_MIN).max(0.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the cast saturates, and the number of octaves is not negative"
        )]
        Self((octaves * Self::STEPS_PER_OCTAVE).round() as u16)
    }

    /// The natural logarithm of the duration in seconds.
    pub(super) fn ln(self) -> f64 {
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

/// The logarithms of the durations, in ascending order.
#[derive(Debug, Clone, Copy)]
pub(super) struct SortedRuns {
    runs: [SortedRun; RecentRuns::CAPACITY],
    count: usize,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SortedRun {
    /// The logarithm of the duration in seconds.
    pub(super) ln: f64,
    /// The number of runs since.
    pub(super) age: usize,
}

/// By the age of the runs.
pub(super) type RunWeights = [f64; RecentRuns::CAPACITY];

impl RecentRuns {
    pub(super) const CAPACITY: usize = 20;
    /// Shorter runs count as this long: no poll is sent so early that the difference would matter.
    pub(super) const MIN_SECONDS: f64 = 0.05;

    /// The logarithm of the run that the next one displaces.
    pub(super) fn displaced_ln(&self) -> Option<f64> {
        (usize::from(self.count) == Self::CAPACITY).then(|| self.durations[Self::CAPACITY - 1].ln())
    }

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

    pub(super) fn durations(&self) -> &[CompactDuration] {
        &self.durations[..usize::from(self.count)]
    }

    /// In seconds; none without runs.
    #[must_use]
    pub fn median(&self) -> Option<f64> {
        let mut sorted = self.durations;
        let sorted = &mut sorted[..usize::from(self.count)];
        sorted.sort_unstable();
        let (low, high) =
            (sorted.get((sorted.len().checked_sub(1)?) / 2)?, sorted.get(sorted.len() / 2)?);
        Some(libm::exp(f64::midpoint(low.ln(), high.ln())))
    }

    pub(super) fn sorted(&self) -> SortedRuns {
        let mut sorted = SortedRuns { runs: Default::default(), count: usize::from(self.count) };
        for (age, (run, duration)) in sorted.runs.iter_mut().zip(self.durations()).enumerate() {
            *run = SortedRun { ln: duration.ln(), age };
        }
        sorted.runs[..sorted.count].sort_unstable_by(|one, other| one.ln.total_cmp(&other.ln));
        sorted
    }

    /// The weights of the runs by their age, if a run has the weight `decay` relative to the next one.
    pub(super) const fn weights(decay: f64) -> RunWeights {
        let mut weights = [1.0; Self::CAPACITY];
        let mut age = 1;
        while age < Self::CAPACITY {
            weights[age] = weights[age - 1] * decay;
            age += 1;
        }
        weights
    }
}

impl SortedRuns {
    /// With fewer runs, the shortest half does not say how far most runs are apart.
    const MIN_RUNS_TO_HALVE: usize = 4;
    /// The width of the middle half of the standard normal distribution.
    const NORMAL_HALF_WIDTH: f64 = 1.349;

    pub(super) fn as_slice(&self) -> &[SortedRun] {
        &self.runs[..self.count]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The runs that are further from a center.
    pub(super) fn beyond(&self, center: f64, distance: f64) -> Self {
        let mut beyond = Self { runs: Default::default(), count: 0 };
        for run in self.as_slice() {
            if (run.ln - center).abs() > distance {
                beyond.runs[beyond.count] = *run;
                beyond.count += 1;
            }
        }
        beyond
    }

    /// The standard deviation of the normal distribution whose middle half is as wide as the shortest interval that
    /// contains half of the runs.
    pub(super) fn std_dev_of_shortest_half(&self) -> Option<f64> {
        if self.count < Self::MIN_RUNS_TO_HALVE {
            return None;
        }
        let (runs, gaps) = (self.as_slice(), self.count / 2);
        let widths = runs.iter().zip(&runs[gaps..]).map(|(low, high)| high.ln - low.ln);
        let shortest = widths.min_by(f64::total_cmp)?;
        #[expect(clippy::cast_precision_loss, reason = "at most CAPACITY")]
        let half = shortest * ((self.count - 1) as f64 / 2.0) / gaps as f64;
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
}
