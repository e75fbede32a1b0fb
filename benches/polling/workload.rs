//! Random workloads of four kinds, each run with the distribution from which its duration was drawn.
//!
//! Similar runs share a *similarity key*. The durations of one key are log-normal around its median, with
//! a standard deviation of 0.1 to 0.6 in logarithms. One key in five is bimodal: 30 % of its runs take
//! 0.15 of the usual time. 4 % of the runs are stragglers (Pareto, up to 20 times as long), and 5 % fail
//! early. Keys are picked by Zipf's law. One seed determines the whole workload.
//!
//! Shared by the benchmark and by `tests/pure/polling`.

use std::cell::OnceCell;
use std::rc::Rc;

use fastrand::Rng;
use jobtrack::policy::{CdfPoint, Distribution};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WorkloadKind {
    /// Queries of seconds and minutes, with 300 similarity keys.
    DuneQueries,
    /// Seconds, minutes and hours, with 300 similarity keys.
    Mixed,
    /// As `Mixed`, but each job has its own key: only the durations of all jobs together can be learned.
    AllDistinct,
    /// As `Mixed`, but the median of a key changes with about every fortieth run.
    Drifting,
}

/// A group of similarity keys.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DurationClass {
    /// How often a key of this group is picked, relative to the other groups.
    pub(crate) weight: f64,
    /// The median of the keys' medians, in seconds.
    pub(crate) median: f64,
    /// The standard deviation of the logarithms of the keys' medians.
    pub(crate) spread: f64,
    pub(crate) key_count: usize,
}

/// The parameters of a workload.
#[derive(Debug, Clone)]
pub(crate) struct WorkloadSpec {
    pub(crate) classes: Vec<DurationClass>,
    /// Longer durations are cut to this, in seconds.
    pub(crate) max_seconds: f64,
    /// Gives each job its own similarity key, and shifts the logarithm of its median at random with this
    /// standard deviation.
    pub(crate) per_job_shift: Option<f64>,
    /// The probability that the median of a run's key changes before the run.
    pub(crate) regime_change_probability: f64,
}

impl WorkloadKind {
    pub(crate) const ALL: [Self; 4] =
        [Self::DuneQueries, Self::Mixed, Self::AllDistinct, Self::Drifting];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::DuneQueries => "dune",
            Self::Mixed => "mixed",
            Self::AllDistinct => "cold",
            Self::Drifting => "drift",
        }
    }

    pub(crate) fn spec(self) -> WorkloadSpec {
        let class =
            |weight, median, spread| DurationClass { weight, median, spread, key_count: 100 };
        let dune = DurationClass { weight: 1.0, median: 25.0, spread: 1.3, key_count: 300 };
        let mixed = vec![class(0.5, 12.0, 0.7), class(0.35, 240.0, 0.8), class(0.15, 5400.0, 0.6)];
        let spec = |classes, max_seconds, per_job_shift, regime_change_probability| WorkloadSpec {
            classes,
            max_seconds,
            per_job_shift,
            regime_change_probability,
        };
        match self {
            Self::DuneQueries => spec(vec![dune], 1800.0, None, 0.0),
            Self::Mixed => spec(mixed, 86_400.0, None, 0.0),
            Self::AllDistinct => spec(mixed, 86_400.0, Some(0.5), 0.0),
            Self::Drifting => spec(mixed, 86_400.0, None, 1.0 / 40.0),
        }
    }
}

/// One run of a job.
#[derive(Debug, Clone)]
pub(crate) struct SimulatedJob {
    /// In milliseconds of the simulation.
    pub(crate) start_ms: u64,
    pub(crate) duration_ms: u64,
    /// The number of its key.
    pub(crate) similarity_key: usize,
    /// The distribution from which the duration was drawn; none if the job is real.
    pub(crate) distribution: Option<TrueDistribution>,
}

impl SimulatedJob {
    pub(crate) fn end_ms(&self) -> u64 {
        self.start_ms + self.duration_ms
    }

    pub(crate) fn duration_seconds(&self) -> f64 {
        self.duration_ms as f64 / 1000.0
    }

    /// Of a job of a random workload.
    pub(crate) fn true_distribution(&self) -> &TrueDistribution {
        self.distribution.as_ref().expect("a job of a random workload")
    }
}

/// Shorter durations are raised to this.
const MIN_SECONDS: f64 = 0.3;
/// Of a bimodal key, the fraction of the runs in the second mode, and their duration relative to the first.
const SECOND_MODE: (f64, f64) = (0.3, 0.15);
const STRAGGLER_FRACTION: f64 = 0.04;
const STRAGGLER_EXPONENT: f64 = 1.1;
const MAX_STRAGGLER_FACTOR: f64 = 20.0;
const EARLY_FAILURE_FRACTION: f64 = 0.05;
const EARLY_FAILURE_RANGE: (f64, f64) = (0.01, 0.5);

#[derive(Debug)]
struct SimilarRunsModel {
    log_median: f64,
    shape: Rc<DurationShape>,
}

/// Draws `count` runs whose starts are a Poisson process, with about `running` of them at the same time.
pub(crate) fn generate_jobs(
    spec: &WorkloadSpec,
    count: usize,
    running: f64,
    seed: u64,
) -> Vec<SimulatedJob> {
    let mut rng = Rng::with_seed(seed);
    let mut models = Vec::new();
    let mut cumulative_weights = Vec::new();
    for class in &spec.classes {
        // Zipf's law within the group.
        let weights: Vec<f64> =
            (1..=class.key_count).map(|rank| (rank as f64).powf(-1.1)).collect();
        let total: f64 = weights.iter().sum();
        for weight in weights {
            cumulative_weights.push(
                cumulative_weights.last().copied().unwrap_or(0.0) + class.weight * weight / total,
            );
            let spread = 0.1 + 0.5 * rng.f64();
            let bimodal = rng.f64() < 0.2;
            models.push(SimilarRunsModel {
                log_median: class.median.ln() + class.spread * standard_normal(&mut rng),
                shape: Rc::new(DurationShape { spread, bimodal, grid: OnceCell::new() }),
            });
        }
    }
    let total = cumulative_weights.last().copied().unwrap_or(1.0);
    let mut regime_shifts = vec![0.0; models.len()];
    let mut jobs = Vec::with_capacity(count);
    for number in 0..count {
        let pick = rng.f64() * total;
        let index = cumulative_weights.partition_point(|upper| *upper < pick).min(models.len() - 1);
        let model = &models[index];
        if rng.f64() < spec.regime_change_probability {
            regime_shifts[index] = 0.9 * standard_normal(&mut rng);
        }
        let shift = spec
            .per_job_shift
            .map_or(regime_shifts[index], |std_dev| std_dev * standard_normal(&mut rng));
        let log_median = model.log_median + shift;
        let seconds = (log_median.exp() * sample_duration_factor(model, &mut rng))
            .clamp(MIN_SECONDS, spec.max_seconds);
        jobs.push(SimulatedJob {
            start_ms: 0,
            duration_ms: (seconds * 1000.0) as u64,
            similarity_key: if spec.per_job_shift.is_some() { number } else { index },
            distribution: Some(TrueDistribution {
                shape: Rc::clone(&model.shape),
                median: log_median.exp(),
                max_seconds: spec.max_seconds,
            }),
        });
    }
    assign_start_times(&mut jobs, running, &mut rng);
    jobs
}

/// Draws the start times, at a rate that keeps `running` jobs running on average.
fn assign_start_times(jobs: &mut [SimulatedJob], running: f64, rng: &mut Rng) {
    let mean = jobs.iter().map(SimulatedJob::duration_seconds).sum::<f64>() / jobs.len() as f64;
    let mut at = 0.0;
    for job in jobs {
        at += -(1.0 - rng.f64()).ln() * mean / running;
        job.start_ms = (at * 1000.0) as u64;
    }
}

/// Multiplies the durations of the second half of the jobs by `factor`. The distributions that the jobs
/// carry do not change, so the oracles must not be used with such a workload.
pub(crate) fn scale_second_half(jobs: &mut [SimulatedJob], factor: f64) {
    let middle = jobs.len() / 2;
    for job in &mut jobs[middle..] {
        job.duration_ms = ((job.duration_ms as f64 * factor) as u64).max(1);
    }
}

/// A run's duration relative to the median of its key.
fn sample_duration_factor(model: &SimilarRunsModel, rng: &mut Rng) -> f64 {
    let mut factor = (model.shape.spread * standard_normal(rng)).exp();
    if model.shape.bimodal && rng.f64() < SECOND_MODE.0 {
        factor *= SECOND_MODE.1;
    }
    let outcome = rng.f64();
    if outcome < STRAGGLER_FRACTION {
        factor *= straggler_factor(rng.f64());
    } else if outcome < STRAGGLER_FRACTION + EARLY_FAILURE_FRACTION {
        factor *= early_failure_factor(rng.f64());
    }
    factor
}

fn straggler_factor(probability: f64) -> f64 {
    (1.0 - probability).powf(-1.0 / STRAGGLER_EXPONENT).min(MAX_STRAGGLER_FACTOR)
}

fn early_failure_factor(probability: f64) -> f64 {
    EARLY_FAILURE_RANGE.0 + (EARLY_FAILURE_RANGE.1 - EARLY_FAILURE_RANGE.0) * probability
}

/// A sample of the standard normal distribution, by the Box–Muller transform.
fn standard_normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}

/// The distribution of the durations of one key, relative to its median.
#[derive(Debug)]
struct DurationShape {
    spread: f64,
    bimodal: bool,
    /// The CDF and its integral at equally spaced logarithms; computed at the first use.
    grid: OnceCell<Vec<CdfPoint>>,
}

impl DurationShape {
    const LOG_FROM: f64 = -8.0;
    const LOG_STEP: f64 = 0.02;
    const CELLS: usize = 760;
    /// The factors of stragglers and early failures are averaged over this many points.
    const QUADRATURE_POINTS: u32 = 24;

    fn tabulate(spread: f64, bimodal: bool) -> Vec<CdfPoint> {
        // The weight and the shift in logarithms of each log-normal component.
        let mut components = vec![(1.0 - STRAGGLER_FRACTION - EARLY_FAILURE_FRACTION, 0.0)];
        for point in 0..Self::QUADRATURE_POINTS {
            let probability = (f64::from(point) + 0.5) / f64::from(Self::QUADRATURE_POINTS);
            components.push((
                STRAGGLER_FRACTION / f64::from(Self::QUADRATURE_POINTS),
                straggler_factor(probability).ln(),
            ));
            components.push((
                EARLY_FAILURE_FRACTION / f64::from(Self::QUADRATURE_POINTS),
                early_failure_factor(probability).ln(),
            ));
        }
        if bimodal {
            let second = components.clone();
            let (fraction, factor) = SECOND_MODE;
            for (weight, _) in &mut components {
                *weight *= 1.0 - fraction;
            }
            components.extend(
                second.into_iter().map(|(weight, at)| (weight * fraction, at + factor.ln())),
            );
        }
        // Beyond six standard deviations a component's CDF is 0 or 1 for our purposes.
        let cdf = |ln: f64, (weight, shift): &(f64, f64)| {
            let z = (ln - shift) / spread;
            match z {
                ..-6.0 => 0.0,
                6.0.. => *weight,
                _ => weight * libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2) / 2.0,
            }
        };
        let mut grid: Vec<CdfPoint> = Vec::with_capacity(Self::CELLS + 1);
        for cell in 0..=Self::CELLS {
            let ln = Self::log_at_cell(cell);
            let probability =
                components.iter().map(|component| cdf(ln, component)).sum::<f64>().min(1.0);
            let integral = grid.last().map_or(0.0, |before| {
                let width = ln.exp() - Self::log_at_cell(cell - 1).exp();
                before.integral + width * f64::midpoint(before.probability, probability)
            });
            grid.push(CdfPoint { probability, integral });
        }
        grid
    }

    fn log_at_cell(cell: usize) -> f64 {
        Self::LOG_FROM + Self::LOG_STEP * cell as f64
    }
}

impl Distribution for DurationShape {
    fn cdf_at(&self, t: f64) -> CdfPoint {
        let position = (t.max(f64::MIN_POSITIVE).ln() - Self::LOG_FROM) / Self::LOG_STEP;
        if position <= 0.0 {
            return CdfPoint { probability: 0.0, integral: 0.0 };
        }
        let cell = position as usize;
        let grid = self.grid.get_or_init(|| Self::tabulate(self.spread, self.bimodal));
        if cell >= Self::CELLS {
            let end = grid[Self::CELLS];
            let beyond = t - Self::log_at_cell(Self::CELLS).exp();
            return CdfPoint {
                probability: end.probability,
                integral: end.integral + beyond * end.probability,
            };
        }
        let (low, high) = (grid[cell], grid[cell + 1]);
        let (from, to) = (Self::log_at_cell(cell).exp(), Self::log_at_cell(cell + 1).exp());
        let (slope, offset) = ((high.probability - low.probability) / (to - from), t - from);
        let probability = low.probability + slope * offset;
        CdfPoint {
            probability,
            integral: low.integral + offset * f64::midpoint(low.probability, probability),
        }
    }
}

/// The distribution from which one run's duration was drawn, with the cuts at both ends.
#[derive(Debug, Clone)]
pub(crate) struct TrueDistribution {
    shape: Rc<DurationShape>,
    /// In seconds.
    median: f64,
    max_seconds: f64,
}

impl Distribution for TrueDistribution {
    fn cdf_at(&self, t: f64) -> CdfPoint {
        let scaled = |t: f64| {
            let CdfPoint { probability, integral } = self.shape.cdf_at(t / self.median);
            CdfPoint { probability, integral: integral * self.median }
        };
        if t < MIN_SECONDS {
            return CdfPoint { probability: 0.0, integral: 0.0 };
        }
        // Shorter durations were raised to the minimum, so the integral begins there.
        let before = scaled(MIN_SECONDS).integral;
        if t < self.max_seconds {
            let CdfPoint { probability, integral } = scaled(t);
            return CdfPoint { probability, integral: integral - before };
        }
        CdfPoint {
            probability: 1.0,
            integral: scaled(self.max_seconds).integral - before + (t - self.max_seconds),
        }
    }
}
