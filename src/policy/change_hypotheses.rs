//! The hypotheses on when the typical duration of a similarity key changed last. `change_points` has the method.

use super::concurrent_runs::NearbyRun;
use super::distribution::Normal;

/// One typical duration that holds since an unknown run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hypothesis {
    pub(super) probability: f64,
    /// Whether another one held before.
    is_changed: bool,
    /// Of the logarithms.
    center: f64,
    /// In runs.
    weight: f64,
}

/// What is supposed to be the same before and after a change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Assumptions {
    /// Of the logarithms, around one typical duration.
    pub(super) variance: f64,
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
    pub(super) fn new(ended: &[f64], prior_variance: f64) -> Self {
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
    pub(super) fn next_run(&self, variance: f64) -> Normal {
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
pub(super) struct Hypotheses(Vec<Hypothesis>);

impl Hypotheses {
    pub(super) const KEPT: usize = 3;
    /// Less probable ones are left out: they cost time and hardly matter.
    pub(super) const MIN_PROBABILITY: f64 = 0.02;
    /// The probability that the typical duration changes from one run to the next.
    const CHANGE_PROBABILITY: f64 = 0.03;
    /// The weight, in runs, of an unfinished run with which another typical duration begins.
    const UNFINISHED_START_WEIGHT: f64 = 0.2;

    /// After these runs. Empty without one that has ended.
    pub(super) fn after(runs: &[NearbyRun], assumptions: &Assumptions) -> Self {
        let mut hypotheses = Self(Vec::with_capacity(Self::KEPT + 1));
        for run in runs {
            hypotheses.observe(*run, assumptions);
        }
        hypotheses
    }

    pub(super) fn observe(&mut self, run: NearbyRun, assumptions: &Assumptions) {
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

    pub(super) fn iter(&self) -> impl Iterator<Item = &Hypothesis> {
        self.0.iter()
    }

    pub(super) fn change_probability(&self) -> f64 {
        self.0.iter().filter(|one| one.is_changed).map(|one| one.probability).sum()
    }
}
