//! What is measured: every policy on the same jobs, over several seeds.

use super::clients::{Client, best_in_hindsight, clairvoyant, knowing, knowing_in_order};
use super::metrics::{Figures, Seen, delay_at, seen};
use super::simulation::{self, AMPLE, Setup, Wait};
use super::workload::{Job, Kind, draw, jump};

/// The clients of today, and how they ask.
pub(crate) const TODAY: [(&str, Client); 8] = [
    ("every 1 s (Dune's own clients)", Client::Fixed(1.0)),
    ("every 5 s", Client::Fixed(5.0)),
    ("every 60 s (Airflow's sensors)", Client::Fixed(60.0)),
    ("1 s × 1.5 to 20 s (Google's API core)", growing(1.5, 20.0)),
    ("1 s × 2 to 60 s", growing(2.0, 60.0)),
    ("decorrelated jitter, 1 to 60 s", Client::Jitter { least: 1.0, cap: 60.0 }),
    ("10 % of the elapsed time", Client::Share(0.1)),
    ("50 % of the elapsed time", Client::Share(0.5)),
];

pub(crate) const fn growing(factor: f64, cap: f64) -> Client {
    Client::Growing { first: 1.0, factor, cap }
}

/// The requests a job at which policies are compared.
pub(crate) const AT: [f64; 3] = [5.0, 8.0, 12.0];
/// With requests to spare so many jobs run at once, on average.
const RUNNING: f64 = 20.0;
/// With requests to spare: so many jobs teach, so many are counted.
const WARM: usize = 2_000;
const COUNTED: usize = 10_000;

/// Jobs that are watched with requests to spare.
#[derive(Debug)]
pub(crate) struct Ample {
    jobs: Vec<Job>,
}

impl Ample {
    pub(crate) fn of(kind: Kind, seed: u64) -> Self {
        Self { jobs: draw(&kind.recipe(), WARM + COUNTED, RUNNING, seed) }
    }

    pub(crate) fn counted(&self) -> &[Job] {
        &self.jobs[WARM..]
    }

    fn tracked(&self, setup: &Setup) -> Vec<Seen> {
        let lives = simulation::track(&self.jobs, self.jobs.len(), setup);
        seen(self.counted(), &lives[WARM..])
    }

    /// The daemon, with the learned policy.
    pub(crate) fn learned(&self, price: f64, promises: bool) -> Figures {
        Figures::of(&self.tracked(&Setup::learned(price, promises)))
    }

    /// The daemon, with growing pauses.
    pub(crate) fn backoff(&self) -> Figures {
        Figures::of(&self.tracked(&Setup::backoff(Setup::BACKOFF)))
    }

    pub(crate) fn client(&self, client: Client) -> Figures {
        Figures::of(&client.watch(self.counted()))
    }

    pub(crate) fn knowing(&self, price: f64, promises: bool) -> Figures {
        Figures::of(&knowing(self.counted(), &simulation::rule(price, promises)))
    }

    pub(crate) fn clairvoyant(&self) -> Figures {
        Figures::of(&clairvoyant(self.counted(), COUNTED, AMPLE))
    }
}

/// Mean delays at so many requests a job.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Equal {
    pub(crate) requests: f64,
    pub(crate) best: f64,
    pub(crate) learned: f64,
    pub(crate) knowing: f64,
}

impl Equal {
    /// Without the promise, at a price that leads to so many requests.
    pub(crate) fn at(requests: f64, ample: &Ample) -> Self {
        Self {
            requests,
            best: best_in_hindsight(ample.counted(), requests),
            learned: delay_at(requests, |price| ample.learned(price, false)),
            knowing: delay_at(requests, |price| ample.knowing(price, false)),
        }
    }

    /// With the promise, at a price of 1 s.
    pub(crate) fn promised(ample: &Ample) -> Self {
        let Figures { requests, mean: learned, .. } = ample.learned(1.0, true);
        Self {
            requests,
            best: best_in_hindsight(ample.counted(), requests),
            learned,
            knowing: ample.knowing(1.0, true).mean,
        }
    }

    pub(crate) fn share(&self) -> f64 {
        self.learned / self.best
    }
}

/// Jobs that share a budget that is short: so many of them run at once.
#[derive(Debug)]
pub(crate) struct Short {
    jobs: Vec<Job>,
    counted: std::ops::Range<usize>,
    budget: u32,
}

impl Short {
    pub(crate) fn of(kind: Kind, budget: u32, seed: u64) -> Self {
        let recipe = kind.recipe();
        let (running, counted) = match kind {
            Kind::Dune => (20.0, 3_000..9_000),
            Kind::Mixed | Kind::Cold | Kind::Drift => (500.0, 6_000..12_000),
        };
        // Until the longest of the counted ones is over, others go on coming.
        let jobs = draw(&recipe, 90_000, running, seed);
        Self { jobs, counted, budget }
    }

    fn figures(&self, seen: &[Seen]) -> Figures {
        Figures::of(&seen[self.counted.clone()])
    }

    pub(crate) fn learned(&self) -> Figures {
        let until = self.counted.end;
        let setup = Setup { budget: self.budget, ..Setup::learned(1.0, true) };
        let lives = simulation::track(&self.jobs, until, &setup);
        self.figures(&seen(&self.jobs[..until], &lives[..until]))
    }

    pub(crate) fn client(&self, client: Client) -> Figures {
        self.figures(&client.queue(&self.jobs, self.counted.end, self.budget))
    }

    pub(crate) fn knowing(&self) -> Figures {
        self.figures(&knowing_in_order(&self.jobs, self.counted.end, self.budget))
    }

    pub(crate) fn clairvoyant(&self) -> Figures {
        self.figures(&clairvoyant(&self.jobs, self.counted.end, self.budget))
    }
}

/// Looks that came later than is promised, and all looks, when all durations jump in the middle.
pub(crate) fn broken_promises(kind: Kind, by: f64, seed: u64) -> (usize, usize) {
    let mut jobs = draw(&kind.recipe(), 4_000, RUNNING, seed);
    jump(&mut jobs, by);
    let lives = simulation::track(&jobs, jobs.len(), &Setup::learned(1.0, true));
    let waits = || jobs.iter().zip(&lives).flat_map(|(job, life)| life.waits(job));
    (waits().filter(Wait::is_too_long).count(), waits().count())
}

/// What can befall a thousand runs in a row.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    /// They are the first of all.
    FirstDay,
    /// Nothing: three thousand came before.
    Usual,
    /// The same, and the daemon was killed and started again as they began.
    Restart,
    /// The same, and all take so many times as long as before.
    Jump(f64),
}

impl Event {
    pub(crate) const ALL: [(&str, Self); 5] = [
        ("the first of all", Self::FirstDay),
        ("after 3,000", Self::Usual),
        ("the same, after a `kill -9`", Self::Restart),
        ("the same, all × 10 from then on", Self::Jump(10.0)),
        ("the same, all × 0.1 from then on", Self::Jump(0.1)),
    ];

    /// By `learned`, by `backoff`, and the best in hindsight at as many requests as `learned`.
    pub(crate) fn befalls(self, kind: Kind) -> (Figures, Figures, f64) {
        let mut jobs = draw(&kind.recipe(), 6_000, RUNNING, 1);
        let counted = if matches!(self, Self::FirstDay) { 0..1_000 } else { 3_000..4_000 };
        let restart = matches!(self, Self::Restart).then_some(counted.start);
        if let Self::Jump(by) = self {
            jump(&mut jobs, by);
        }
        let figures = |setup: Setup| {
            let lives = simulation::track(&jobs, counted.end, &Setup { restart, ..setup });
            Figures::of(&seen(&jobs[counted.clone()], &lives[counted.clone()]))
        };
        let learned = figures(Setup::learned(1.0, true));
        let best = best_in_hindsight(&jobs[counted.clone()], learned.requests);
        (learned, figures(Setup::backoff(Setup::BACKOFF)), best)
    }
}
