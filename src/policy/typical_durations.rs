//! One or two typical durations of a similarity key, as log-normal distributions: that of most runs, and one of the
//! others if several of them are alike. From the last twenty runs and from what is remembered of the runs before
//! (`earlier_runs`), unless the typical duration has changed since. `kernel_estimate` builds on it.

use super::core_moments::CoreMoments;
use super::distribution::{CdfPoint, LogNormal};
use super::earlier_runs::{EarlierMoments, EarlierRuns};
use super::recent_runs::SortedRuns;
use super::window_moments::WindowMoments;

#[derive(Debug, Clone)]
pub(super) struct TypicalDurations {
    /// Of the last twenty runs alone.
    pub(super) window: WindowMoments,
    first: LogNormal,
    /// With its share.
    second: Option<(f64, LogNormal)>,
}

impl TypicalDurations {
    /// The variance of the second kind is drawn towards that of the first, which counts as so many runs.
    const COMMON_VARIANCE_RUNS: f64 = 4.0;

    pub(super) fn new(runs: &SortedRuns, earlier: &EarlierRuns, prior_variance: f64) -> Self {
        let first = CoreMoments::new(runs, &WindowMoments::WEIGHTS, prior_variance);
        let rest = runs.beyond(first.center, first.max_deviation());
        let window = WindowMoments::new(first, &rest);
        let earlier = earlier.moments().that_agree_with(&window);
        let first = first.joined_with(&earlier.first, earlier.variance);
        let second = Self::second(&window, &rest, &earlier, &first);
        Self { window, first: first.log_normal(), second }
    }

    fn second(
        window: &WindowMoments,
        rest: &SortedRuns,
        earlier: &EarlierMoments,
        first: &CoreMoments,
    ) -> Option<(f64, LogNormal)> {
        let (weight, sum, variance) = if let Some(second) = &window.second {
            (second.core_weight, second.core_weight * second.center, second.variance)
        } else {
            let max_deviation = window.first.max_deviation();
            let (weight, sum) = rest
                .as_slice()
                .iter()
                .filter(|run| (run.ln - earlier.second.center).abs() <= max_deviation)
                .fold((0.0, 0.0), |(weight, sum), run| (weight + 1.0, sum + run.ln));
            (weight, sum, first.variance)
        };
        let total = weight + earlier.second.weight;
        if total < WindowMoments::MIN_SECOND_RUNS {
            return None;
        }
        let center = (sum + earlier.second.weight * earlier.second.center) / total;
        // What is remembered has no variance of its own.
        let of_first = Self::COMMON_VARIANCE_RUNS + earlier.second.weight;
        let variance = (weight * variance + of_first * first.variance) / (weight + of_first);
        let log_normal = LogNormal::new(center, (variance * (1.0 + 1.0 / total)).sqrt());
        Some((total / (total + first.core_weight), log_normal))
    }

    /// The probability density of the logarithm of a duration.
    pub(super) fn log_density(&self, ln: f64) -> f64 {
        let first = self.first.log_density(ln);
        self.second
            .map_or(first, |(share, second)| first + share * (second.log_density(ln) - first))
    }

    /// F and A at `t`, of logarithm `ln`.
    pub(super) fn cdf(&self, t: f64, ln: f64) -> CdfPoint {
        let first = self.first.cdf(t, ln);
        self.second.map_or(first, |(share, second)| {
            CdfPoint::mixture([(1.0 - share, first), (share, second.cdf(t, ln))])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::recent_runs::RecentRuns;

    const PRIOR_VARIANCE: f64 = 0.16;

    /// What is known of a key with runs of these logarithms.
    fn typical(runs: impl IntoIterator<Item = f64>) -> TypicalDurations {
        let (mut recent, mut earlier) = (RecentRuns::default(), EarlierRuns::default());
        let known = |recent: &RecentRuns, earlier: &EarlierRuns| {
            TypicalDurations::new(&recent.sorted(), earlier, PRIOR_VARIANCE)
        };
        for ln in runs {
            if let Some(displaced) = recent.displaced_ln() {
                let window = known(&recent, &earlier).window;
                earlier.record(displaced, &window);
            }
            recent.record(libm::exp(ln));
        }
        known(&recent, &earlier)
    }

    /// Distributed about normally with the standard deviation 0.1.
    fn deviations(seed: u32) -> impl Iterator<Item = f64> {
        let mut state = u64::from(seed) + 1;
        let mut uniform = move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            #[expect(clippy::cast_precision_loss, reason = "31 bits")]
            let value = (state >> 33) as f64 / f64::from(1u32 << 31);
            value
        };
        std::iter::repeat_with(move || 0.1 * ((0..12).map(|_| uniform()).sum::<f64>() - 6.0))
    }

    /// The distance between the center that is found and the true one.
    fn error(typical: &TypicalDurations, center: f64) -> f64 {
        let low = typical.cdf(libm::exp(center), center).probability - 0.5;
        // The density of the normal distribution at its center.
        low.abs() * 0.1 * std::f64::consts::TAU.sqrt()
    }

    #[test]
    fn many_runs_tell_the_typical_duration_better_than_twenty() {
        let mean_error = |runs: usize| {
            let errors = (0..50).map(|seed| {
                let typical = typical(deviations(seed).take(runs).map(|deviation| 5.0 + deviation));
                error(&typical, 5.0)
            });
            errors.sum::<f64>() / 50.0
        };
        let (twenty, hundred) = (mean_error(20), mean_error(100));
        assert!(hundred < 0.75 * twenty, "{hundred} after 100 runs, {twenty} after 20");
    }

    #[test]
    fn runs_of_two_kinds_are_kept_apart() {
        let kinds = |seed| {
            deviations(seed).enumerate().map(|(run, deviation)| {
                if run % 10 < 3 { 2.0 + deviation } else { 4.0 + deviation }
            })
        };
        for count in [20, 100] {
            let typical = typical(kinds(7).take(count));
            let at = |ln: f64| typical.log_density(ln);
            assert!(at(2.0) > 0.7 && at(4.0) > 1.2 && at(3.0) < 0.01, "{typical:?}");
            let share = typical.cdf(libm::exp(3.0), 3.0).probability;
            assert!((0.2..0.4).contains(&share), "{share} after {count}");
        }
    }

    #[test]
    fn the_second_kind_is_remembered_while_it_stays_away() {
        let with_hits = deviations(3)
            .take(60)
            .enumerate()
            .map(|(run, deviation)| if run % 3 == 0 { 2.0 + deviation } else { 4.0 + deviation });
        let without = deviations(4).take(18).map(|deviation| 4.0 + deviation);
        let typical = typical(with_hits.chain(without));
        assert!(typical.window.second.is_none());
        assert!(typical.log_density(2.0) > 0.3, "{typical:?}");
    }

    #[test]
    fn after_a_change_the_runs_before_do_not_count() {
        let runs = |center: f64, seed| deviations(seed).map(move |deviation| center + deviation);
        let changed = typical(runs(5.0, 1).take(200).chain(runs(6.0, 2).take(22)));
        let new = typical(runs(6.0, 2).take(22));
        for ln in [5.0, 5.9, 6.0, 6.1] {
            let (changed, new) = (changed.log_density(ln), new.log_density(ln));
            assert!((changed - new).abs() < 0.4, "{changed} and {new} at {ln}");
        }
    }

    #[test]
    fn a_second_kind_that_changes_is_followed() {
        let runs = |second: f64, seed| {
            deviations(seed).enumerate().map(move |(run, deviation)| {
                if run % 3 == 0 { second + deviation } else { 4.0 + deviation }
            })
        };
        let typical = typical(runs(2.0, 1).take(99).chain(runs(0.8, 2).take(45)));
        let (old, new) = (typical.log_density(2.0), typical.log_density(0.8));
        assert!(old < 0.01 && new > 0.5, "{old} {new} {typical:?}");
        let share = typical.cdf(libm::exp(3.0), 3.0).probability;
        assert!((0.2..0.45).contains(&share), "{share}");
    }

    #[test]
    fn two_failures_are_no_second_kind() {
        let runs = deviations(5).take(20).enumerate().map(|(run, deviation)| match run {
            4 => 1.0,
            9 => 2.5,
            _ => 5.0 + deviation,
        });
        let typical = typical(runs);
        assert!(typical.second.is_none(), "{typical:?}");
    }
}
