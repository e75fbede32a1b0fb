//! The typical duration at the time of a job that runs beside others of its similarity key, which may have changed.
//!
//! A query is rewritten, a table grows: from then on all runs take longer. Bayesian online change-point detection
//! (<https://arxiv.org/abs/0710.3742>) reads the runs in the order of their starts, towards the job. Each run either
//! continues the present typical duration or begins another one; the few most probable hypotheses are kept. An
//! unfinished run counts too: its duration is at least its age. Where many runs of a key run at the same time, the
//! unfinished ones show that durations have become longer before the first of them ends.
//!
//! This is done for the runs that started before the job and for those that started after it, and the results are mixed.
//! If nothing has changed among all of them, the estimates from all runs of the key are better than this one.

use super::change_hypotheses::{Assumptions, Hypotheses};
use super::concurrent_runs::NearbyRuns;
use super::distribution::{CdfPoint, LogNormal};

#[derive(Debug, Clone)]
pub(super) struct ChangingDuration {
    /// The durations by all hypotheses, with their probabilities.
    parts: Vec<(f64, LogNormal)>,
    /// That the typical duration has changed among the runs around the job.
    pub(super) change_probability: f64,
}

impl ChangingDuration {
    /// Each side counts in proportion to its runs that have ended, up to so many.
    const MAX_SIDE_RUNS: usize = 5;

    /// None without a run that has ended.
    pub(super) fn new(nearby: &NearbyRuns, prior_variance: f64) -> Option<Self> {
        let in_order = nearby.before.iter().chain(nearby.after.iter().rev());
        let ended: Vec<_> = in_order.filter(|run| run.has_ended).map(|run| run.ln).collect();
        let assumptions = Assumptions::new(&ended, prior_variance);
        let [before, after] =
            [&nearby.before, &nearby.after].map(|runs| Hypotheses::after(runs, &assumptions));
        let mut through = before.clone();
        nearby.after.iter().rev().for_each(|run| through.observe(*run, &assumptions));
        let mut parts = Vec::with_capacity(2 * Hypotheses::KEPT);
        for (runs, hypotheses) in [(&nearby.before, before), (&nearby.after, after)] {
            let ended = runs.iter().filter(|run| run.has_ended).count();
            #[expect(clippy::cast_precision_loss, reason = "few runs")]
            let weight = ended.min(Self::MAX_SIDE_RUNS) as f64;
            parts.extend(hypotheses.iter().map(|one| {
                let next = one.next_run(assumptions.variance);
                (weight * one.probability, LogNormal::new(next.mean, next.std_dev))
            }));
        }
        let total = |parts: &[(f64, LogNormal)]| parts.iter().map(|part| part.0).sum::<f64>();
        let least = Hypotheses::MIN_PROBABILITY * total(&parts);
        parts.retain(|part| part.0 >= least);
        let total = total(&parts);
        for part in &mut parts {
            part.0 /= total;
        }
        let change_probability = through.change_probability();
        (!parts.is_empty()).then_some(Self { parts, change_probability })
    }

    /// F and A at `t`, of logarithm `ln`.
    pub(super) fn cdf(&self, t: f64, ln: f64) -> CdfPoint {
        CdfPoint::mixture(self.parts.iter().map(|(share, duration)| (*share, duration.cdf(t, ln))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::concurrent_runs::NearbyRun;

    const PRIOR_VARIANCE: f64 = 0.04;

    fn ended(lns: impl IntoIterator<Item = f64>) -> Vec<NearbyRun> {
        lns.into_iter().map(|ln| NearbyRun { ln, has_ended: true }).collect()
    }

    fn unfinished(ln: f64, count: usize) -> Vec<NearbyRun> {
        vec![NearbyRun { ln, has_ended: false }; count]
    }

    /// The probability of a duration whose logarithm is below this.
    fn below(before: &[NearbyRun], after: &[NearbyRun], ln: f64) -> f64 {
        let nearby = NearbyRuns { before: before.to_vec(), after: after.to_vec() };
        let duration = ChangingDuration::new(&nearby, PRIOR_VARIANCE).expect("a run has ended");
        duration.cdf(libm::exp(ln), ln).probability
    }

    /// Around this center, with differences of 0.1.
    fn around(center: f64, count: usize) -> impl Iterator<Item = f64> {
        (0..count).map(move |run| center + [0.05, -0.05, 0.1, -0.1][run % 4])
    }

    #[test]
    fn two_runs_of_another_duration_are_a_change_and_one_is_not() {
        let one = ended(around(4.0, 10).chain([6.0]));
        assert!(below(&one, &[], 5.0) > 0.6, "{}", below(&one, &[], 5.0));
        let two = ended(around(4.0, 10).chain([6.0, 6.1]));
        assert!(below(&two, &[], 5.0) < 0.3, "{}", below(&two, &[], 5.0));
        let returned = ended(around(4.0, 10).chain([6.0, 4.0, 4.1]));
        assert!(below(&returned, &[], 5.0) > 0.95, "{}", below(&returned, &[], 5.0));
    }

    #[test]
    fn unfinished_runs_tell_of_a_change_only_once_they_are_older_than_the_runs_before() {
        let runs = ended(around(4.0, 10));
        let with = |ln: f64, count: usize| [runs.clone(), unfinished(ln, count)].concat();
        let before = below(&runs, &[], 4.5);
        assert!(before > 0.95, "{before}");
        assert!((below(&with(3.0, 10), &[], 4.5) - before).abs() < 1e-9);
        assert!(below(&with(5.5, 1), &[], 4.5) > 0.5, "one may hang");
        assert!(below(&with(5.5, 8), &[], 4.5) < 0.2, "{}", below(&with(5.5, 8), &[], 4.5));
    }

    #[test]
    fn both_sides_of_a_job_count() {
        let (long, short) = (ended(around(6.0, 6)), ended(around(3.0, 6)));
        let between = below(&long, &short, 4.5);
        assert!((0.4..0.6).contains(&between), "{between}");
        assert!(below(&long, &long, 4.5) < 0.05 && below(&short, &short, 4.5) > 0.95);
        assert!((below(&long, &unfinished(5.0, 3), 4.5) - below(&long, &[], 4.5)).abs() < 1e-9);
    }

    #[test]
    fn without_an_end_nothing_is_known() {
        let nearby = NearbyRuns { before: unfinished(4.0, 3), after: Vec::new() };
        assert!(ChangingDuration::new(&nearby, PRIOR_VARIANCE).is_none());
    }

    #[test]
    fn extreme_durations_give_finite_probabilities() {
        let before = [ended([-3.0, 17.0, -3.0]), unfinished(17.0, 10)].concat();
        for ln in [-3.0, 0.0, 5.0, 17.0] {
            let probability = below(&before, &ended([17.0, -3.0]), ln);
            assert!((0.0..=1.0).contains(&probability), "{probability} at {ln}");
        }
    }
}
