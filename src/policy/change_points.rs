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

use super::concurrent_runs::{NearbyRun, NearbyRuns};
use super::distribution::{CdfPoint, LogNormal, Normal};

#[derive(Debug, Clone)]
pub(super) struct ChangingDuration {
    /// The durations by all hypotheses, with their probabilities.
    parts: Vec<(f64, LogNormal)>,
    /// That the typical duration has changed among the runs around the job.
    pub(super) change_probability: f64,
}

/// One typical duration that holds since an unknown run.
#[derive(Debug, Clone, Copy)]
struct Hypothesis {
    probability: f64,
    /// Whether another one held before.
    is_changed: bool,
    /// Of the logarithms.
    center: f64,
    /// In runs.
    weight: f64,
}

/// What is supposed to be the same before and after a change.
#[derive(Debug, Clone, Copy)]
struct Assumptions {
    /// Of the logarithms, around one typical duration.
    variance: f64,
    /// Of the logarithms of typical durations after a change.
    changed: Normal,
}

impl Assumptions {
    /// The weight of the prior variance, in runs.
    const PRIOR_RUNS: f64 = 4.0;
    const MIN_VARIANCE: f64 = 0.02 * 0.02;
    const CHANGED_STD_DEV: f64 = 1.2;
    /// The median of the differences between two samples of the standard normal distribution.
    const NORMAL_MEDIAN_DIFFERENCE: f64 = 0.954;

    /// `ended` are logarithms of durations in the order of the starts. Their variance is that of successive runs, which a
    /// change hardly raises.
    fn new(ended: &[f64], prior_variance: f64) -> Self {
        let mut differences: Vec<_> =
            ended.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
        let middle = differences.len() / 2;
        let mut variance = prior_variance;
        if !differences.is_empty() {
            let (_, median, _) = differences.select_nth_unstable_by(middle, f64::total_cmp);
            let std_dev = *median / Self::NORMAL_MEDIAN_DIFFERENCE;
            #[expect(clippy::cast_precision_loss, reason = "few runs")]
            let weight = differences.len() as f64;
            variance = (Self::PRIOR_RUNS * prior_variance + weight * std_dev * std_dev)
                / (Self::PRIOR_RUNS + weight);
        }
        #[expect(clippy::cast_precision_loss, reason = "few runs")]
        let mean = ended.iter().sum::<f64>() / ended.len().max(1) as f64;
        let changed = Normal { mean, std_dev: Self::CHANGED_STD_DEV };
        Self { variance: variance.max(Self::MIN_VARIANCE), changed }
    }
}

impl Hypothesis {
    /// More runs have the weight of so many, so that a slow change is followed.
    const MAX_WEIGHT: f64 = 20.0;
    /// A run that resembles no other: failed early, or hung.
    const OUTLIER_FRACTION: f64 = 0.08;
    /// How far outliers are from the center.
    const OUTLIER_SCALE: f64 = 1.3;

    /// The logarithms of further runs. Wider than the runs, because few runs do not tell the center exactly.
    fn next_run(&self, variance: f64) -> Normal {
        Normal { mean: self.center, std_dev: (variance * (1.0 + 1.0 / self.weight)).sqrt() }
    }

    /// Takes a run into account. Multiplies the probability by how likely the run was.
    fn observe(&mut self, run: NearbyRun, variance: f64) {
        let next = self.next_run(variance);
        let evidence = next.evidence(run);
        let regular = (1.0 - Self::OUTLIER_FRACTION) * evidence.likelihood;
        let likelihood = regular + Self::OUTLIER_FRACTION * self.outlier_likelihood(run);
        self.probability *= weighted(likelihood, run);
        if !run.has_ended && run.ln <= self.center - 0.5 * next.std_dev {
            return;
        }
        let run_weight = if run.has_ended { 1.0 } else { UNFINISHED_WEIGHT };
        let part = run_weight * regular / likelihood.max(f64::MIN_POSITIVE);
        self.weight = (self.weight + part).min(Self::MAX_WEIGHT);
        self.center += part * (evidence.duration - self.center) / self.weight;
    }

    /// Outliers have Student's t distribution with two degrees of freedom: its tails are heavy, and its functions are
    /// algebraic.
    fn outlier_likelihood(&self, run: NearbyRun) -> f64 {
        let deviation = (run.ln - self.center) / Self::OUTLIER_SCALE;
        let root = (2.0 + deviation * deviation).sqrt();
        if run.has_ended {
            1.0 / (Self::OUTLIER_SCALE * root * root * root)
        } else {
            (1.0 - deviation / root) / 2.0
        }
    }

    /// Whether an unfinished run is so young that it tells nothing.
    fn expects(&self, run: NearbyRun, variance: f64) -> bool {
        run.ln < self.center - 2.0 * variance.sqrt()
    }
}

/// What an unfinished run tells, as a fraction of one that has ended: unfinished runs are not independent, because they
/// may all wait for the same.
const UNFINISHED_WEIGHT: f64 = 0.5;

/// How likely a run was, to the power of the weight of the run.
fn weighted(likelihood: f64, run: NearbyRun) -> f64 {
    if run.has_ended { likelihood } else { libm::pow(likelihood, UNFINISHED_WEIGHT) }
}

/// What a run tells of a distribution of the logarithms of durations.
struct Evidence {
    /// The density at its duration; the probability that it lasts at least so long if it is unfinished.
    likelihood: f64,
    /// The logarithm of its duration; the mean of those that it can have if it is unfinished.
    duration: f64,
}

impl Normal {
    fn evidence(&self, run: NearbyRun) -> Evidence {
        if run.has_ended {
            return Evidence { likelihood: self.density(run.ln), duration: run.ln };
        }
        let tail = self.tail(run.ln);
        Evidence { likelihood: tail.probability, duration: tail.mean }
    }
}

/// The most probable hypotheses first.
#[derive(Debug, Clone)]
struct Hypotheses(Vec<Hypothesis>);

impl Hypotheses {
    const KEPT: usize = 3;
    /// Less probable ones are left out: they cost time and tell nothing.
    const MIN_PROBABILITY: f64 = 0.02;
    /// The probability that the typical duration changes from one run to the next.
    const CHANGE_PROBABILITY: f64 = 0.03;
    /// The weight, in runs, of an unfinished run with which another typical duration begins.
    const UNFINISHED_START_WEIGHT: f64 = 0.2;

    /// After these runs. None without one that has ended.
    fn after(runs: &[NearbyRun], assumptions: &Assumptions) -> Self {
        let mut hypotheses = Self(Vec::with_capacity(Self::KEPT + 1));
        for run in runs {
            hypotheses.observe(*run, assumptions);
        }
        hypotheses
    }

    fn observe(&mut self, run: NearbyRun, assumptions: &Assumptions) {
        let variance = assumptions.variance;
        if self.0.is_empty() {
            let first =
                Hypothesis { probability: 1.0, is_changed: false, center: run.ln, weight: 1.0 };
            self.0.extend(run.has_ended.then_some(first));
            return;
        }
        if !run.has_ended && self.0.iter().all(|one| one.expects(run, variance)) {
            return;
        }
        for hypothesis in &mut self.0 {
            hypothesis.probability *= 1.0 - Self::CHANGE_PROBABILITY;
            hypothesis.observe(run, variance);
        }
        let evidence = assumptions.changed.evidence(run);
        self.0.push(Hypothesis {
            probability: Self::CHANGE_PROBABILITY * weighted(evidence.likelihood, run),
            is_changed: true,
            center: evidence.duration,
            weight: if run.has_ended { 1.0 } else { Self::UNFINISHED_START_WEIGHT },
        });
        self.0.sort_by(|one, other| other.probability.total_cmp(&one.probability));
        self.0.truncate(Self::KEPT);
        let total: f64 = self.0.iter().map(|hypothesis| hypothesis.probability).sum();
        self.0.retain(|hypothesis| hypothesis.probability >= Self::MIN_PROBABILITY * total);
        let total: f64 = self.0.iter().map(|hypothesis| hypothesis.probability).sum();
        for hypothesis in &mut self.0 {
            hypothesis.probability /= total;
        }
    }

    fn change_probability(&self) -> f64 {
        self.0.iter().filter(|one| one.is_changed).map(|one| one.probability).sum()
    }
}

impl ChangingDuration {
    /// Each side counts in proportion to its runs that have ended, up to so many.
    const MAX_SIDE_RUNS: usize = 5;
    /// Less probable hypotheses are left out.
    const MIN_PROBABILITY: f64 = 0.02;

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
            parts.extend(hypotheses.0.into_iter().map(|one| {
                let next = one.next_run(assumptions.variance);
                (weight * one.probability, LogNormal::new(next.mean, next.std_dev))
            }));
        }
        let total = |parts: &[(f64, LogNormal)]| parts.iter().map(|part| part.0).sum::<f64>();
        let least = Self::MIN_PROBABILITY * total(&parts);
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
