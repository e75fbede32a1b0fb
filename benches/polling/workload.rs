//! Made-up runs of jobs, of four kinds, and what is truly known of each run: its distribution.
//!
//! A *likeness* has a median, a spread of 0.1 to 0.6 in logarithms, and in one case of five is bimodal:
//! 30 % of its runs take 0.15 of the time. Of its runs 4 % are stragglers (Pareto, up to 20 times as
//! long) and 5 % fail early. Likenesses are picked by Zipf's law. All is drawn from one seed.

use std::cell::OnceCell;
use std::rc::Rc;

use fastrand::Rng;
use jobtrack::policy::{CdfPoint, Distribution};

/// The kinds of workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WorkloadKind {
    /// Queries of seconds and minutes, 300 likenesses.
    DuneQueries,
    /// Seconds, minutes and hours, 300 likenesses.
    Mixed,
    /// As mixed, each job a likeness of its own: nothing but the whole past can be learned from.
    AllDistinct,
    /// As mixed, but every fortieth run or so begins a new regime of its likeness.
    Drifting,
}

/// A group of likenesses: how often it is picked, and how its medians are spread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DurationClass {
    pub(crate) weight: f64,
    pub(crate) median: f64,
    pub(crate) spread: f64,
    pub(crate) similarity_keys: usize,
}

/// All that a workload is drawn by.
#[derive(Debug, Clone)]
pub(crate) struct WorkloadSpec {
    pub(crate) classes: Vec<DurationClass>,
    /// No run is longer, in seconds.
    pub(crate) max_seconds: f64,
    /// The shift of each job's logarithm that makes it a likeness of its own, if each is one.
    pub(crate) per_job_shift: Option<f64>,
    /// The chance of a new regime before a run.
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
        let class = |share, median, spread| DurationClass {
            weight: share,
            median,
            spread,
            similarity_keys: 100,
        };
        let dune = DurationClass { weight: 1.0, median: 25.0, spread: 1.3, similarity_keys: 300 };
        let mixed = vec![class(0.5, 12.0, 0.7), class(0.35, 240.0, 0.8), class(0.15, 5400.0, 0.6)];
        let recipe = |classes, cap, own, drift| WorkloadSpec {
            classes,
            max_seconds: cap,
            per_job_shift: own,
            regime_change_probability: drift,
        };
        match self {
            Self::DuneQueries => recipe(vec![dune], 1800.0, None, 0.0),
            Self::Mixed => recipe(mixed, 86_400.0, None, 0.0),
            Self::AllDistinct => recipe(mixed, 86_400.0, Some(0.5), 0.0),
            Self::Drifting => recipe(mixed, 86_400.0, None, 1.0 / 40.0),
        }
    }
}

/// One run.
#[derive(Debug, Clone)]
pub(crate) struct SimulatedJob {
    /// When it starts, in milliseconds of the simulation.
    pub(crate) start_ms: u64,
    /// How long it takes, in milliseconds.
    pub(crate) duration_ms: u64,
    pub(crate) similarity_keys: usize,
    /// The distribution that it was drawn from.
    pub(crate) distribution: TrueDistribution,
}

impl SimulatedJob {
    pub(crate) fn end_ms(&self) -> u64 {
        self.start_ms + self.duration_ms
    }

    /// How long it takes, in seconds.
    pub(crate) fn duration_seconds(&self) -> f64 {
        self.duration_ms as f64 / 1000.0
    }
}

/// No run is shorter, in seconds.
const MIN_SECONDS: f64 = 0.3;
/// Bimodal: so many runs take so much of the time.
const SECOND_MODE: (f64, f64) = (0.3, 0.15);
const STRAGGLER_FRACTION: f64 = 0.04;
const STRAGGLER_EXPONENT: f64 = 1.1;
const MAX_STRAGGLER_FACTOR: f64 = 20.0;
const EARLY_FAILURE_FRACTION: f64 = 0.05;
const EARLY_FAILURE_RANGE: (f64, f64) = (0.01, 0.5);

#[derive(Debug)]
struct SimilarRunsModel {
    log_mean: f64,
    shape: Rc<DurationShape>,
}

/// Draws `count` runs that begin in such a rhythm (Poisson) that about `running` are under way at once.
pub(crate) fn generate_jobs(
    recipe: &WorkloadSpec,
    count: usize,
    running: f64,
    seed: u64,
) -> Vec<SimulatedJob> {
    let mut rng = Rng::with_seed(seed);
    let mut likenesses = Vec::new();
    let mut cumulative_weights = Vec::new();
    for class in &recipe.classes {
        // Zipf's law within a class.
        let weights: Vec<f64> =
            (1..=class.similarity_keys).map(|rank| (rank as f64).powf(-1.1)).collect();
        let total: f64 = weights.iter().sum();
        for weight in weights {
            cumulative_weights.push(
                cumulative_weights.last().copied().unwrap_or(0.0) + class.weight * weight / total,
            );
            let spread = 0.1 + 0.5 * rng.f64();
            let bimodal = rng.f64() < 0.2;
            likenesses.push(SimilarRunsModel {
                log_mean: class.median.ln() + class.spread * standard_normal(&mut rng),
                shape: Rc::new(DurationShape { spread, bimodal, grid: OnceCell::new() }),
            });
        }
    }
    let total = cumulative_weights.last().copied().unwrap_or(1.0);
    let mut regime_shifts = vec![0.0; likenesses.len()];
    let mut jobs = Vec::with_capacity(count);
    for number in 0..count {
        let pick = rng.f64() * total;
        let index =
            cumulative_weights.partition_point(|upto| *upto < pick).min(likenesses.len() - 1);
        let likeness = &likenesses[index];
        if rng.f64() < recipe.regime_change_probability {
            regime_shifts[index] = 0.9 * standard_normal(&mut rng);
        }
        let shift = recipe
            .per_job_shift
            .map_or(regime_shifts[index], |own| own * standard_normal(&mut rng));
        let mean = likeness.log_mean + shift;
        let seconds = (mean.exp() * sample_duration_factor(likeness, &mut rng))
            .clamp(MIN_SECONDS, recipe.max_seconds);
        jobs.push(SimulatedJob {
            start_ms: 0,
            duration_ms: (seconds * 1000.0) as u64,
            similarity_keys: if recipe.per_job_shift.is_some() { number } else { index },
            distribution: TrueDistribution {
                shape: Rc::clone(&likeness.shape),
                median: mean.exp(),
                max_seconds: recipe.max_seconds,
            },
        });
    }
    assign_start_times(&mut jobs, running, &mut rng);
    jobs
}

/// Gives the jobs their starts: a Poisson process that keeps so many running.
fn assign_start_times(jobs: &mut [SimulatedJob], running: f64, rng: &mut Rng) {
    let mean = jobs.iter().map(SimulatedJob::duration_seconds).sum::<f64>() / jobs.len() as f64;
    let mut at = 0.0;
    for job in jobs {
        at += -(1.0 - rng.f64()).ln() * mean / running;
        job.start_ms = (at * 1000.0) as u64;
    }
}

/// From the middle on every run takes so many times as long, and nobody is told.
pub(crate) fn scale_second_half(jobs: &mut [SimulatedJob], factor: f64) {
    let middle = jobs.len() / 2;
    for job in &mut jobs[middle..] {
        job.duration_ms = ((job.duration_ms as f64 * factor) as u64).max(1);
    }
}

/// How many times its median a run takes.
fn sample_duration_factor(likeness: &SimilarRunsModel, rng: &mut Rng) -> f64 {
    let mut factor = (likeness.shape.spread * standard_normal(rng)).exp();
    if likeness.shape.bimodal && rng.f64() < SECOND_MODE.0 {
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

/// A draw from the standard normal distribution (Box and Muller).
fn standard_normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}

/// The distribution of a likeness's runs, in parts of its median.
#[derive(Debug)]
struct DurationShape {
    spread: f64,
    bimodal: bool,
    /// F and A over a grid of logarithms, made when they are first asked for.
    grid: OnceCell<Vec<CdfPoint>>,
}

impl DurationShape {
    const LOG_FROM: f64 = -8.0;
    const LOG_STEP: f64 = 0.02;
    const CELLS: usize = 760;
    /// Points by which the stragglers and the early failures are averaged.
    const QUADRATURE_POINTS: u32 = 24;

    fn tabulate(spread: f64, bimodal: bool) -> Vec<CdfPoint> {
        // (share, shift of the logarithm) of the log-normal parts that it is made of.
        let mut parts = vec![(1.0 - STRAGGLER_FRACTION - EARLY_FAILURE_FRACTION, 0.0)];
        for point in 0..Self::QUADRATURE_POINTS {
            let chance = (f64::from(point) + 0.5) / f64::from(Self::QUADRATURE_POINTS);
            parts.push((
                STRAGGLER_FRACTION / f64::from(Self::QUADRATURE_POINTS),
                straggler_factor(chance).ln(),
            ));
            parts.push((
                EARLY_FAILURE_FRACTION / f64::from(Self::QUADRATURE_POINTS),
                early_failure_factor(chance).ln(),
            ));
        }
        if bimodal {
            let second = parts.clone();
            let (share, time) = SECOND_MODE;
            for part in &mut parts {
                part.0 *= 1.0 - share;
            }
            parts.extend(second.into_iter().map(|(of, at)| (of * share, at + time.ln())));
        }
        // Beyond six spreads a part is over or has not begun.
        let cdf = |ln: f64, (share, shift): &(f64, f64)| {
            let z = (ln - shift) / spread;
            match z {
                ..-6.0 => 0.0,
                6.0.. => *share,
                _ => share * libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2) / 2.0,
            }
        };
        let mut grid: Vec<CdfPoint> = Vec::with_capacity(Self::CELLS + 1);
        for cell in 0..=Self::CELLS {
            let ln = Self::log_at_cell(cell);
            let chance = parts.iter().map(|part| cdf(ln, part)).sum::<f64>().min(1.0);
            let area = grid.last().map_or(0.0, |before| {
                let width = ln.exp() - Self::log_at_cell(cell - 1).exp();
                before.integral + width * f64::midpoint(before.probability, chance)
            });
            grid.push(CdfPoint { probability: chance, integral: area });
        }
        grid
    }

    fn log_at_cell(cell: usize) -> f64 {
        Self::LOG_FROM + Self::LOG_STEP * cell as f64
    }
}

impl Distribution for DurationShape {
    fn cdf_at(&self, t: f64) -> CdfPoint {
        let place = (t.max(f64::MIN_POSITIVE).ln() - Self::LOG_FROM) / Self::LOG_STEP;
        if place <= 0.0 {
            return CdfPoint { probability: 0.0, integral: 0.0 };
        }
        let cell = place as usize;
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
        let (slope, into) = ((high.probability - low.probability) / (to - from), t - from);
        let chance = low.probability + slope * into;
        CdfPoint {
            probability: chance,
            integral: low.integral + into * f64::midpoint(low.probability, chance),
        }
    }
}

/// The distribution that one run was drawn from.
#[derive(Debug, Clone)]
pub(crate) struct TrueDistribution {
    shape: Rc<DurationShape>,
    /// The median, in seconds.
    median: f64,
    max_seconds: f64,
}

impl Distribution for TrueDistribution {
    fn cdf_at(&self, t: f64) -> CdfPoint {
        let scaled = |t: f64| {
            let CdfPoint { probability: chance, integral: area } =
                self.shape.cdf_at(t / self.median);
            CdfPoint { probability: chance, integral: area * self.median }
        };
        if t < MIN_SECONDS {
            return CdfPoint { probability: 0.0, integral: 0.0 };
        }
        // What would be shorter ends at the shortest: it adds nothing to A before that.
        let before = scaled(MIN_SECONDS).integral;
        if t < self.max_seconds {
            let CdfPoint { probability: chance, integral: area } = scaled(t);
            return CdfPoint { probability: chance, integral: area - before };
        }
        CdfPoint {
            probability: 1.0,
            integral: scaled(self.max_seconds).integral - before + (t - self.max_seconds),
        }
    }
}
