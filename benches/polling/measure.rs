//! The measurements behind the tables: every policy on the same jobs, with and without a rate limit, and
//! in situations such as a restart or a sudden change of all durations.
//!
//! Called by `report` and `plot`, which only format what is returned here.

use super::clients::{
    PollingClient, best_in_hindsight, oracle_distribution, oracle_distribution_with_budget,
    oracle_end_times,
};
use super::kernel::poll_with_kernels;
use super::metrics::{DetectionResult, Metrics, delay_at_requests, detection_results};
use super::simulation::{self, PollGap, SimulationSettings, UNLIMITED_BUDGET};
use super::trace::compress_arrivals;
use super::workload::{SimulatedJob, WorkloadKind, generate_jobs, scale_second_half};

/// The intervals of existing clients, by the name that the tables show.
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

/// The numbers of requests per job at which policies are compared.
pub(crate) const COMPARED_REQUESTS: [f64; 3] = [5.0, 8.0, 12.0];
/// Jobs that run at the same time, on average, where there is no rate limit.
const AVERAGE_RUNNING: f64 = 20.0;
/// The first jobs only train the learned policy; they are not measured.
const WARMUP_JOBS: usize = 2_000;
const MEASURED_JOBS: usize = 10_000;

/// A workload that is polled without a rate limit.
#[derive(Debug)]
pub(crate) struct UnlimitedBudget {
    jobs: Vec<SimulatedJob>,
    /// The number of jobs that are only learned from.
    warmup: usize,
}

impl UnlimitedBudget {
    pub(crate) fn new(kind: WorkloadKind, seed: u64) -> Self {
        let count = WARMUP_JOBS + MEASURED_JOBS;
        let jobs = generate_jobs(&kind.spec(), count, AVERAGE_RUNNING, seed);
        Self { jobs, warmup: WARMUP_JOBS }
    }

    /// The jobs of a trace; from the first tenth is only learned.
    pub(crate) fn from_trace(jobs: Vec<SimulatedJob>) -> Self {
        Self { warmup: jobs.len() / 10, jobs }
    }

    pub(crate) fn measured_jobs(&self) -> &[SimulatedJob] {
        &self.jobs[self.warmup..]
    }

    fn simulate(&self, settings: &SimulationSettings) -> Vec<DetectionResult> {
        let histories = simulation::run_simulation(&self.jobs, self.jobs.len(), settings);
        detection_results(self.measured_jobs(), &histories[self.warmup..])
    }

    /// The daemon with `policy = "learned"`; `price` is in seconds.
    pub(crate) fn learned(&self, price: f64, enforce_max_wait: bool) -> Metrics {
        Metrics::from_results(&self.simulate(&SimulationSettings::learned(price, enforce_max_wait)))
    }

    /// The daemon with `policy = "backoff"`.
    pub(crate) fn backoff(&self) -> Metrics {
        Metrics::from_results(
            &self.simulate(&SimulationSettings::backoff(SimulationSettings::DEFAULT_BACKOFF)),
        )
    }

    pub(crate) fn client(&self, client: PollingClient) -> Metrics {
        Metrics::from_results(&client.poll_unlimited(self.measured_jobs()))
    }

    pub(crate) fn oracle_distribution(&self, price: f64, enforce_max_wait: bool) -> Metrics {
        Metrics::from_results(&oracle_distribution(
            self.measured_jobs(),
            &simulation::poll_rule(price, enforce_max_wait),
        ))
    }

    pub(crate) fn oracle_end_times(&self) -> Metrics {
        let jobs = self.measured_jobs();
        Metrics::from_results(&oracle_end_times(jobs, jobs.len(), UNLIMITED_BUDGET))
    }

    /// The reference predictor, without the maximum wait.
    pub(crate) fn kernels(&self, price: f64) -> Metrics {
        let results = poll_with_kernels(&self.jobs, &simulation::poll_rule(price, false));
        Metrics::from_results(&results[self.warmup..])
    }
}

/// The mean delays of three policies that need the same number of requests per job.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DelaysAtEqualCost {
    pub(crate) requests: f64,
    pub(crate) best_existing: f64,
    pub(crate) learned_delay: f64,
    pub(crate) oracle_delay: f64,
}

impl DelaysAtEqualCost {
    /// Without the maximum wait, at the price at which each policy needs `requests` requests per job.
    pub(crate) fn at_requests(requests: f64, workload: &UnlimitedBudget) -> Self {
        Self {
            requests,
            best_existing: best_in_hindsight(workload.measured_jobs(), requests),
            learned_delay: delay_at_requests(requests, |price| workload.learned(price, false)),
            oracle_delay: delay_at_requests(requests, |price| {
                workload.oracle_distribution(price, false)
            }),
        }
    }

    /// With the maximum wait and the default price of 1 s; `requests` is what the learned policy needs.
    pub(crate) fn with_maximum_wait(workload: &UnlimitedBudget) -> Self {
        let Metrics { requests, mean_delay: learned_delay, .. } = workload.learned(1.0, true);
        Self {
            requests,
            best_existing: best_in_hindsight(workload.measured_jobs(), requests),
            learned_delay,
            oracle_delay: workload.oracle_distribution(1.0, true).mean_delay,
        }
    }

    pub(crate) fn ratio_to_best(&self) -> f64 {
        self.learned_delay / self.best_existing
    }
}

/// A workload whose jobs share a rate limit that is too low to poll all of them often.
#[derive(Debug)]
pub(crate) struct LimitedBudget {
    jobs: Vec<SimulatedJob>,
    measured: std::ops::Range<usize>,
    requests_per_minute: u32,
}

impl LimitedBudget {
    pub(crate) fn new(kind: WorkloadKind, requests_per_minute: u32, seed: u64) -> Self {
        let spec = kind.spec();
        let (running, measured) = match kind {
            WorkloadKind::DuneQueries => (20.0, 3_000..9_000),
            WorkloadKind::Mixed | WorkloadKind::AllDistinct | WorkloadKind::Drifting => {
                (500.0, 6_000..12_000)
            }
        };
        // New jobs keep arriving until the longest measured job has ended.
        let jobs = generate_jobs(&spec, 90_000, running, seed);
        Self { jobs, measured, requests_per_minute }
    }

    /// The jobs of a trace, pressed together until 500 run (fewer if the trace is short), with a limit of so many requests
    /// per job. The first and the last tenth are not measured: the first is learned from, and after the last no new
    /// jobs arrive.
    pub(crate) fn from_trace(jobs: &[SimulatedJob], requests_per_job: f64) -> Self {
        let tenth = jobs.len() / 10;
        let jobs = compress_arrivals(jobs, (tenth as f64).min(500.0));
        let minutes = jobs.last().map_or(0, |job| job.start_ms) as f64 / 60_000.0;
        let rate = requests_per_job * jobs.len() as f64 / minutes.max(1.0);
        let requests_per_minute = (rate.round() as u32).max(1);
        Self { measured: tenth..jobs.len() - tenth, jobs, requests_per_minute }
    }

    pub(crate) fn requests_per_minute(&self) -> u32 {
        self.requests_per_minute
    }

    fn metrics(&self, results: &[DetectionResult]) -> Metrics {
        Metrics::from_results(&results[self.measured.clone()])
    }

    pub(crate) fn learned(&self) -> Metrics {
        self.simulate(SimulationSettings::learned(1.0, true))
    }

    /// The daemon with `policy = "backoff"`.
    pub(crate) fn backoff(&self) -> Metrics {
        self.simulate(SimulationSettings::backoff(SimulationSettings::DEFAULT_BACKOFF))
    }

    fn simulate(&self, settings: SimulationSettings) -> Metrics {
        let until = self.measured.end;
        let settings =
            SimulationSettings { requests_per_minute: self.requests_per_minute, ..settings };
        let histories = simulation::run_simulation(&self.jobs, until, &settings);
        self.metrics(&detection_results(&self.jobs[..until], &histories[..until]))
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

/// How many gaps between two polls exceed the maximum wait, and how many gaps there are, when all
/// durations change by `factor` in the middle of the workload.
pub(crate) fn maximum_wait_violations(
    kind: WorkloadKind,
    factor: f64,
    seed: u64,
) -> (usize, usize) {
    let mut jobs = generate_jobs(&kind.spec(), 4_000, AVERAGE_RUNNING, seed);
    scale_second_half(&mut jobs, factor);
    let histories =
        simulation::run_simulation(&jobs, jobs.len(), &SimulationSettings::learned(1.0, true));
    let gaps = || jobs.iter().zip(&histories).flat_map(|(job, history)| history.poll_gaps(job));
    (gaps().filter(PollGap::exceeds_maximum_wait).count(), gaps().count())
}

/// What happens before or at the start of a thousand measured runs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scenario {
    /// No run was seen before.
    NoHistory,
    /// Three thousand runs were seen before.
    WithHistory,
    /// As `WithHistory`, and the daemon is killed and restarted when the measured runs begin.
    AfterRestart,
    /// As `WithHistory`, and all durations change by this factor when the measured runs begin.
    DurationsJump(f64),
}

impl Scenario {
    pub(crate) const ALL: [(&str, Self); 5] = [
        ("no past runs", Self::NoHistory),
        ("after 3,000 runs", Self::WithHistory),
        ("after 3,000 runs and a `kill -9`", Self::AfterRestart),
        ("after 3,000 runs, then all durations × 10", Self::DurationsJump(10.0)),
        ("after 3,000 runs, then all durations × 0.1", Self::DurationsJump(0.1)),
    ];

    /// The metrics of `learned` and of `backoff`, and the mean delay of the best intervals in hindsight
    /// that need as many requests as `learned`.
    pub(crate) fn measure(self, kind: WorkloadKind) -> (Metrics, Metrics, f64) {
        let mut jobs = generate_jobs(&kind.spec(), 6_000, AVERAGE_RUNNING, 1);
        let measured = if matches!(self, Self::NoHistory) { 0..1_000 } else { 3_000..4_000 };
        let restart = matches!(self, Self::AfterRestart).then_some(measured.start);
        if let Self::DurationsJump(factor) = self {
            scale_second_half(&mut jobs, factor);
        }
        let run = |settings: SimulationSettings| {
            let histories = simulation::run_simulation(
                &jobs,
                measured.end,
                &SimulationSettings { restart_at_job: restart, ..settings },
            );
            Metrics::from_results(&detection_results(
                &jobs[measured.clone()],
                &histories[measured.clone()],
            ))
        };
        let learned = run(SimulationSettings::learned(1.0, true));
        let best = best_in_hindsight(&jobs[measured.clone()], learned.requests);
        (learned, run(SimulationSettings::backoff(SimulationSettings::DEFAULT_BACKOFF)), best)
    }
}
