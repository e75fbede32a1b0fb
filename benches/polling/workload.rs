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
pub(crate) enum Kind {
    /// Queries of seconds and minutes, 300 likenesses.
    Dune,
    /// Seconds, minutes and hours, 300 likenesses.
    Mixed,
    /// As mixed, each job a likeness of its own: nothing but the whole past can be learned from.
    Cold,
    /// As mixed, but every fortieth run or so begins a new regime of its likeness.
    Drift,
}

/// A group of likenesses: how often it is picked, and how its medians are spread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Class {
    pub(crate) share: f64,
    pub(crate) median: f64,
    pub(crate) spread: f64,
    pub(crate) likenesses: usize,
}

/// All that a workload is drawn by.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    pub(crate) classes: Vec<Class>,
    /// No run is longer, in seconds.
    pub(crate) cap: f64,
    /// The shift of each job's logarithm that makes it a likeness of its own, if each is one.
    pub(crate) own: Option<f64>,
    /// The chance of a new regime before a run.
    pub(crate) drift: f64,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Dune, Self::Mixed, Self::Cold, Self::Drift];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dune => "dune",
            Self::Mixed => "mixed",
            Self::Cold => "cold",
            Self::Drift => "drift",
        }
    }

    pub(crate) fn recipe(self) -> Recipe {
        let class = |share, median, spread| Class { share, median, spread, likenesses: 100 };
        let dune = Class { share: 1.0, median: 25.0, spread: 1.3, likenesses: 300 };
        let mixed = vec![class(0.5, 12.0, 0.7), class(0.35, 240.0, 0.8), class(0.15, 5400.0, 0.6)];
        let recipe = |classes, cap, own, drift| Recipe { classes, cap, own, drift };
        match self {
            Self::Dune => recipe(vec![dune], 1800.0, None, 0.0),
            Self::Mixed => recipe(mixed, 86_400.0, None, 0.0),
            Self::Cold => recipe(mixed, 86_400.0, Some(0.5), 0.0),
            Self::Drift => recipe(mixed, 86_400.0, None, 1.0 / 40.0),
        }
    }
}

/// One run.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// When it starts, in milliseconds of the simulation.
    pub(crate) start: u64,
    /// How long it takes, in milliseconds.
    pub(crate) took: u64,
    pub(crate) likeness: usize,
    /// The distribution that it was drawn from.
    pub(crate) truth: Truth,
}

impl Job {
    pub(crate) fn end(&self) -> u64 {
        self.start + self.took
    }

    /// How long it takes, in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        self.took as f64 / 1000.0
    }
}

/// No run is shorter, in seconds.
const SHORTEST: f64 = 0.3;
/// Bimodal: so many runs take so much of the time.
const SECOND_MODE: (f64, f64) = (0.3, 0.15);
const STRAGGLERS: f64 = 0.04;
const STRAGGLING: f64 = 1.1;
const LONGEST_STRAGGLER: f64 = 20.0;
const FAILING: f64 = 0.05;
const FAILING_AT: (f64, f64) = (0.01, 0.5);

#[derive(Debug)]
struct Likeness {
    mean: f64,
    shape: Rc<Shape>,
}

/// Draws `count` runs that begin in such a rhythm (Poisson) that about `running` are under way at once.
pub(crate) fn draw(recipe: &Recipe, count: usize, running: f64, seed: u64) -> Vec<Job> {
    let mut rng = Rng::with_seed(seed);
    let mut likenesses = Vec::new();
    let mut picks = Vec::new();
    for class in &recipe.classes {
        // Zipf's law within a class.
        let weights: Vec<f64> =
            (1..=class.likenesses).map(|rank| (rank as f64).powf(-1.1)).collect();
        let total: f64 = weights.iter().sum();
        for weight in weights {
            picks.push(picks.last().copied().unwrap_or(0.0) + class.share * weight / total);
            let spread = 0.1 + 0.5 * rng.f64();
            let bimodal = rng.f64() < 0.2;
            likenesses.push(Likeness {
                mean: class.median.ln() + class.spread * normal(&mut rng),
                shape: Rc::new(Shape { spread, bimodal, grid: OnceCell::new() }),
            });
        }
    }
    let total = picks.last().copied().unwrap_or(1.0);
    let mut shifts = vec![0.0; likenesses.len()];
    let mut jobs = Vec::with_capacity(count);
    for number in 0..count {
        let pick = rng.f64() * total;
        let index = picks.partition_point(|upto| *upto < pick).min(likenesses.len() - 1);
        let likeness = &likenesses[index];
        if rng.f64() < recipe.drift {
            shifts[index] = 0.9 * normal(&mut rng);
        }
        let shift = recipe.own.map_or(shifts[index], |own| own * normal(&mut rng));
        let mean = likeness.mean + shift;
        let seconds = (mean.exp() * factor(likeness, &mut rng)).clamp(SHORTEST, recipe.cap);
        jobs.push(Job {
            start: 0,
            took: (seconds * 1000.0) as u64,
            likeness: if recipe.own.is_some() { number } else { index },
            truth: Truth { shape: Rc::clone(&likeness.shape), scale: mean.exp(), cap: recipe.cap },
        });
    }
    arrive(&mut jobs, running, &mut rng);
    jobs
}

/// Gives the jobs their starts: a Poisson process that keeps so many running.
fn arrive(jobs: &mut [Job], running: f64, rng: &mut Rng) {
    let mean = jobs.iter().map(Job::seconds).sum::<f64>() / jobs.len() as f64;
    let mut at = 0.0;
    for job in jobs {
        at += -(1.0 - rng.f64()).ln() * mean / running;
        job.start = (at * 1000.0) as u64;
    }
}

/// From the middle on every run takes so many times as long, and nobody is told.
pub(crate) fn jump(jobs: &mut [Job], by: f64) {
    let middle = jobs.len() / 2;
    for job in &mut jobs[middle..] {
        job.took = ((job.took as f64 * by) as u64).max(1);
    }
}

/// How many times its median a run takes.
fn factor(likeness: &Likeness, rng: &mut Rng) -> f64 {
    let mut factor = (likeness.shape.spread * normal(rng)).exp();
    if likeness.shape.bimodal && rng.f64() < SECOND_MODE.0 {
        factor *= SECOND_MODE.1;
    }
    let fate = rng.f64();
    if fate < STRAGGLERS {
        factor *= straggle(rng.f64());
    } else if fate < STRAGGLERS + FAILING {
        factor *= fail(rng.f64());
    }
    factor
}

fn straggle(chance: f64) -> f64 {
    (1.0 - chance).powf(-1.0 / STRAGGLING).min(LONGEST_STRAGGLER)
}

fn fail(chance: f64) -> f64 {
    FAILING_AT.0 + (FAILING_AT.1 - FAILING_AT.0) * chance
}

/// A draw from the standard normal distribution (Box and Muller).
fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}

/// The distribution of a likeness's runs, in parts of its median.
#[derive(Debug)]
struct Shape {
    spread: f64,
    bimodal: bool,
    /// F and A over a grid of logarithms, made when they are first asked for.
    grid: OnceCell<Vec<CdfPoint>>,
}

impl Shape {
    const FROM: f64 = -8.0;
    const STEP: f64 = 0.02;
    const CELLS: usize = 760;
    /// Points by which the stragglers and the early failures are averaged.
    const POINTS: u32 = 24;

    fn tabulate(spread: f64, bimodal: bool) -> Vec<CdfPoint> {
        // (share, shift of the logarithm) of the log-normal parts that it is made of.
        let mut parts = vec![(1.0 - STRAGGLERS - FAILING, 0.0)];
        for point in 0..Self::POINTS {
            let chance = (f64::from(point) + 0.5) / f64::from(Self::POINTS);
            parts.push((STRAGGLERS / f64::from(Self::POINTS), straggle(chance).ln()));
            parts.push((FAILING / f64::from(Self::POINTS), fail(chance).ln()));
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
        let over = |ln: f64, (share, shift): &(f64, f64)| {
            let z = (ln - shift) / spread;
            match z {
                ..-6.0 => 0.0,
                6.0.. => *share,
                _ => share * libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2) / 2.0,
            }
        };
        let mut grid: Vec<CdfPoint> = Vec::with_capacity(Self::CELLS + 1);
        for cell in 0..=Self::CELLS {
            let ln = Self::ln(cell);
            let chance = parts.iter().map(|part| over(ln, part)).sum::<f64>().min(1.0);
            let area = grid.last().map_or(0.0, |before| {
                let width = ln.exp() - Self::ln(cell - 1).exp();
                before.integral + width * f64::midpoint(before.probability, chance)
            });
            grid.push(CdfPoint { probability: chance, integral: area });
        }
        grid
    }

    fn ln(cell: usize) -> f64 {
        Self::FROM + Self::STEP * cell as f64
    }
}

impl Distribution for Shape {
    fn cdf_at(&self, t: f64) -> CdfPoint {
        let place = (t.max(f64::MIN_POSITIVE).ln() - Self::FROM) / Self::STEP;
        if place <= 0.0 {
            return CdfPoint { probability: 0.0, integral: 0.0 };
        }
        let cell = place as usize;
        let grid = self.grid.get_or_init(|| Self::tabulate(self.spread, self.bimodal));
        if cell >= Self::CELLS {
            let end = grid[Self::CELLS];
            let beyond = t - Self::ln(Self::CELLS).exp();
            return CdfPoint {
                probability: end.probability,
                integral: end.integral + beyond * end.probability,
            };
        }
        let (low, high) = (grid[cell], grid[cell + 1]);
        let (from, to) = (Self::ln(cell).exp(), Self::ln(cell + 1).exp());
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
pub(crate) struct Truth {
    shape: Rc<Shape>,
    /// The median, in seconds.
    scale: f64,
    cap: f64,
}

impl Distribution for Truth {
    fn cdf_at(&self, t: f64) -> CdfPoint {
        let scaled = |t: f64| {
            let CdfPoint { probability: chance, integral: area } =
                self.shape.cdf_at(t / self.scale);
            CdfPoint { probability: chance, integral: area * self.scale }
        };
        if t < SHORTEST {
            return CdfPoint { probability: 0.0, integral: 0.0 };
        }
        // What would be shorter ends at the shortest: it adds nothing to A before that.
        let before = scaled(SHORTEST).integral;
        if t < self.cap {
            let CdfPoint { probability: chance, integral: area } = scaled(t);
            return CdfPoint { probability: chance, integral: area - before };
        }
        CdfPoint { probability: 1.0, integral: scaled(self.cap).integral - before + (t - self.cap) }
    }
}
