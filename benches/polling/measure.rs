//! What is measured: every policy on the same jobs, over several seeds.

use super::clients::{
    PollingClient, best_in_hindsight, oracle_distribution, oracle_distribution_with_budget,
    oracle_end_times,
};
use super::metrics::{DetectionResult, Metrics, delay_at_requests, detection_results};
use super::simulation::{self, PollGap, SimulationSettings, UNLIMITED_BUDGET};
use super::workload::{SimulatedJob, WorkloadKind, generate_jobs, scale_second_half};

/// The clients of today, and how they ask.
pub(crate) const EXISTING_CLIENTS: [(&str, PollingClient); 8] = [
    ("every 1 s (Dune's own clients)", PollingClient::Fixed(1.0)),
    ("every 5 s", PollingClient::Fixed(5.0)),
    ("every 60 s (Airflow's sensors)", PollingClient::Fixed(60.0)),
    ("1 s × 1.5 to 20 s (Google's API core)", growing_interval(1.5, 20.0)),
    ("1 s × 2 to 60 s", growing_interval(2.0, 60.0)),
    (
        "decorrelated jitter, 1 to 60 s",
        PollingClient::DecorrelatedJitter { minimum: 1.0, cap: 60.0 },
    ),
    ("10 % of the elapsed time", PollingClient::ElapsedFraction(0.1)),
    ("50 % of the elapsed time", PollingClient::ElapsedFraction(0.5)),
];

pub(crate) const fn growing_interval(factor: f64, cap: f64) -> PollingClient {
    PollingClient::Growing { first: 1.0, factor, cap }
}

/// The requests a job at which policies are compared.
pub(crate) const COMPARED_REQUESTS: [f64; 3] = [5.0, 8.0, 12.0];
/// With requests to spare so many jobs run at once, on average.
const AVERAGE_RUNNING: f64 = 20.0;
/// With requests to spare: so many jobs teach, so many are counted.
const WARMUP_JOBS: usize = 2_000;
const MEASURED_JOBS: usize = 10_000;

/// Jobs that are watched with requests to spare.
#[derive(Debug)]
pub(crate) struct UnlimitedBudget {
    jobs: Vec<SimulatedJob>,
}

impl UnlimitedBudget {
    pub(crate) fn new(kind: WorkloadKind, seed: u64) -> Self {
        Self {
            jobs: generate_jobs(&kind.spec(), WARMUP_JOBS + MEASURED_JOBS, AVERAGE_RUNNING, seed),
        }
    }

    pub(crate) fn measured_jobs(&self) -> &[SimulatedJob] {
        &self.jobs[WARMUP_JOBS..]
    }

    fn simulate(&self, setup: &SimulationSettings) -> Vec<DetectionResult> {
        let lives = simulation::run_simulation(&self.jobs, self.jobs.len(), setup);
        detection_results(self.measured_jobs(), &lives[WARMUP_JOBS..])
    }

    /// The daemon, with the learned policy.
    pub(crate) fn learned(&self, price: f64, promises: bool) -> Metrics {
        Metrics::from_results(&self.simulate(&SimulationSettings::learned(price, promises)))
    }

    /// The daemon, with growing pauses.
    pub(crate) fn backoff(&self) -> Metrics {
        Metrics::from_results(
            &self.simulate(&SimulationSettings::backoff(SimulationSettings::DEFAULT_BACKOFF)),
        )
    }

    pub(crate) fn client(&self, client: PollingClient) -> Metrics {
        Metrics::from_results(&client.poll_unlimited(self.measured_jobs()))
    }

    pub(crate) fn oracle_distribution(&self, price: f64, promises: bool) -> Metrics {
        Metrics::from_results(&oracle_distribution(
            self.measured_jobs(),
            &simulation::poll_rule(price, promises),
        ))
    }

    pub(crate) fn oracle_end_times(&self) -> Metrics {
        Metrics::from_results(&oracle_end_times(
            self.measured_jobs(),
            MEASURED_JOBS,
            UNLIMITED_BUDGET,
        ))
    }
}

/// Mean delays at so many requests a job.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DelaysAtEqualCost {
    pub(crate) requests: f64,
    pub(crate) best_existing: f64,
    pub(crate) learned_delay: f64,
    pub(crate) oracle_delay: f64,
}

impl DelaysAtEqualCost {
    /// Without the promise, at a price that leads to so many requests.
    pub(crate) fn at_requests(requests: f64, ample: &UnlimitedBudget) -> Self {
        Self {
            requests,
            best_existing: best_in_hindsight(ample.measured_jobs(), requests),
            learned_delay: delay_at_requests(requests, |price| ample.learned(price, false)),
            oracle_delay: delay_at_requests(requests, |price| {
                ample.oracle_distribution(price, false)
            }),
        }
    }

    /// With the promise, at a price of 1 s.
    pub(crate) fn with_maximum_wait(ample: &UnlimitedBudget) -> Self {
        let Metrics { requests, mean_delay: learned_delay, .. } = ample.learned(1.0, true);
        Self {
            requests,
            best_existing: best_in_hindsight(ample.measured_jobs(), requests),
            learned_delay,
            oracle_delay: ample.oracle_distribution(1.0, true).mean_delay,
        }
    }

    pub(crate) fn ratio_to_best(&self) -> f64 {
        self.learned_delay / self.best_existing
    }
}

/// Jobs that share a budget that is short: so many of them run at once.
#[derive(Debug)]
pub(crate) struct LimitedBudget {
    jobs: Vec<SimulatedJob>,
    measured: std::ops::Range<usize>,
    requests_per_minute: u32,
}

impl LimitedBudget {
    pub(crate) fn new(kind: WorkloadKind, requests_per_minute: u32, seed: u64) -> Self {
        let recipe = kind.spec();
        let (running, measured) = match kind {
            WorkloadKind::DuneQueries => (20.0, 3_000..9_000),
            WorkloadKind::Mixed | WorkloadKind::AllDistinct | WorkloadKind::Drifting => {
                (500.0, 6_000..12_000)
            }
        };
        // Until the longest of the counted ones is over, others go on coming.
        let jobs = generate_jobs(&recipe, 90_000, running, seed);
        Self { jobs, measured, requests_per_minute }
    }

    fn metrics(&self, seen: &[DetectionResult]) -> Metrics {
        Metrics::from_results(&seen[self.measured.clone()])
    }

    pub(crate) fn learned(&self) -> Metrics {
        let until = self.measured.end;
        let setup = SimulationSettings {
            requests_per_minute: self.requests_per_minute,
            ..SimulationSettings::learned(1.0, true)
        };
        let lives = simulation::run_simulation(&self.jobs, until, &setup);
        self.metrics(&detection_results(&self.jobs[..until], &lives[..until]))
    }

    pub(crate) fn client(&self, client: PollingClient) -> Metrics {
        self.metrics(&client.poll_with_budget(
            &self.jobs,
            self.measured.end,
            self.requests_per_minute,
        ))
    }

    pub(crate) fn oracle_distribution(&self) -> Metrics {
        self.metrics(&oracle_distribution_with_budget(
            &self.jobs,
            self.measured.end,
            self.requests_per_minute,
        ))
    }

    pub(crate) fn oracle_end_times(&self) -> Metrics {
        self.metrics(&oracle_end_times(&self.jobs, self.measured.end, self.requests_per_minute))
    }
}

/// Looks that came later than is promised, and all looks, when all durations jump in the middle.
pub(crate) fn maximum_wait_violations(kind: WorkloadKind, by: f64, seed: u64) -> (usize, usize) {
    let mut jobs = generate_jobs(&kind.spec(), 4_000, AVERAGE_RUNNING, seed);
    scale_second_half(&mut jobs, by);
    let lives =
        simulation::run_simulation(&jobs, jobs.len(), &SimulationSettings::learned(1.0, true));
    let waits = || jobs.iter().zip(&lives).flat_map(|(job, life)| life.poll_gaps(job));
    (waits().filter(PollGap::exceeds_maximum_wait).count(), waits().count())
}

/// What can befall a thousand runs in a row.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scenario {
    /// They are the first of all.
    NoHistory,
    /// Nothing: three thousand came before.
    WithHistory,
    /// The same, and the daemon was killed and started again as they began.
    AfterRestart,
    /// The same, and all take so many times as long as before.
    DurationsJump(f64),
}

impl Scenario {
    pub(crate) const ALL: [(&str, Self); 5] = [
        ("the first of all", Self::NoHistory),
        ("after 3,000", Self::WithHistory),
        ("the same, after a `kill -9`", Self::AfterRestart),
        ("the same, all × 10 from then on", Self::DurationsJump(10.0)),
        ("the same, all × 0.1 from then on", Self::DurationsJump(0.1)),
    ];

    /// By `learned`, by `backoff`, and the best in hindsight at as many requests as `learned`.
    pub(crate) fn measure(self, kind: WorkloadKind) -> (Metrics, Metrics, f64) {
        let mut jobs = generate_jobs(&kind.spec(), 6_000, AVERAGE_RUNNING, 1);
        let counted = if matches!(self, Self::NoHistory) { 0..1_000 } else { 3_000..4_000 };
        let restart = matches!(self, Self::AfterRestart).then_some(counted.start);
        if let Self::DurationsJump(by) = self {
            scale_second_half(&mut jobs, by);
        }
        let figures = |setup: SimulationSettings| {
            let lives = simulation::run_simulation(
                &jobs,
                counted.end,
                &SimulationSettings { restart_at_job: restart, ..setup },
            );
            Metrics::from_results(&detection_results(
                &jobs[counted.clone()],
                &lives[counted.clone()],
            ))
        };
        let learned = figures(SimulationSettings::learned(1.0, true));
        let best = best_in_hindsight(&jobs[counted.clone()], learned.requests);
        (learned, figures(SimulationSettings::backoff(SimulationSettings::DEFAULT_BACKOFF)), best)
    }
}
