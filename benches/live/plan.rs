//! The runs of a comparison, drawn from a seed: the same for every client.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use fastrand::Rng;

use super::support::fake_server::{JobEnd, JobScript};

/// One execution of a query.
pub struct PlannedRun {
    pub id: String,
    pub query_id: u64,
    /// From the start of the comparison.
    pub starts_after: Duration,
    pub duration: Duration,
}

/// The runs of one comparison and the rate limit of the fake server.
pub struct BenchPlan {
    /// Runs that ended before the comparison, for the daemon to learn from.
    pub past_runs: Vec<PlannedRun>,
    pub runs: Vec<PlannedRun>,
    /// Requests per minute.
    pub limit: u32,
}

impl PlannedRun {
    /// `script` extended with the run's states: pending for 5 % of its duration, then running.
    pub fn job_script(&self, script: JobScript) -> JobScript {
        let pending = self.duration.mul_f64(0.05);
        let running = self.duration.saturating_sub(pending);
        script
            .with_query_id(self.query_id)
            .pending(pending)
            .running(running)
            .ending_with(JobEnd::Completed)
    }
}

/// Many queries that start one after the other, too many to be polled often under the rate limit.
pub fn large_plan(seed: u64) -> BenchPlan {
    const QUERIES: Range<u64> = 0..60;
    const RUNS: usize = 500;
    const PAST_RUNS: usize = 6;
    /// On average; all queries start within about five minutes.
    const SECONDS_BETWEEN_STARTS: f64 = 300.0 / 500.0;

    let mut sampler = RunSampler(Rng::with_seed(seed));
    // (median in seconds, standard deviation of the logarithm) by query
    let distributions: BTreeMap<_, _> = QUERIES
        .map(|query| (query, (25.0 * sampler.standard_normal().exp(), 0.1 + 0.4 * sampler.0.f64())))
        .collect();
    let past_run_count = PAST_RUNS * distributions.len();
    let past_runs = (0..past_run_count).map(|n| {
        let query = n as u64 % QUERIES.end;
        sampler.sample_run(format!("PAST{n}"), query, Duration::ZERO, distributions[&query])
    });
    let past_runs = past_runs.collect();
    let mut starts_after = Duration::ZERO;
    let runs = (0..RUNS).map(|n| {
        starts_after +=
            Duration::from_secs_f64(-SECONDS_BETWEEN_STARTS * (1.0 - sampler.0.f64()).ln());
        let query = sampler.0.u64(QUERIES);
        sampler.sample_run(format!("RUN{n}"), query, starts_after, distributions[&query])
    });
    BenchPlan { runs: runs.collect(), past_runs, limit: 240 }
}

/// Eight queries that start together, each with `past_run_count` past runs. The rate limit allows one
/// request per query every twelve seconds.
pub fn small_plan(seed: u64, past_run_count: usize) -> BenchPlan {
    const SPREAD: f64 = 0.3;

    let mut sampler = RunSampler(Rng::with_seed(seed));
    // A generator of its own, so that the measured runs do not depend on `past_run_count`.
    let mut past_sampler = RunSampler(sampler.0.fork());
    let (mut past_runs, mut runs) = (Vec::new(), Vec::new());
    for query in 1..=8 {
        let seconds = 20.0 + 70.0 * sampler.0.f64();
        let distribution = (seconds * (SPREAD * sampler.standard_normal()).exp(), SPREAD);
        let ids = (0..past_run_count).map(|n| format!("PAST{query}X{n}"));
        past_runs
            .extend(ids.map(|id| past_sampler.sample_run(id, query, Duration::ZERO, distribution)));
        runs.push(PlannedRun {
            id: format!("RUN{query}"),
            query_id: query,
            starts_after: Duration::ZERO,
            duration: Duration::from_secs_f64(seconds),
        });
    }
    BenchPlan { past_runs, runs, limit: 40 }
}

/// Queries of three seconds, for one at a time. `query_of` returns the query of a run.
pub fn short_plan(query_of: fn(u64) -> u64) -> BenchPlan {
    const RUNS: u64 = 40;

    let run = |n| PlannedRun {
        id: format!("RUN{n}"),
        query_id: query_of(n),
        starts_after: Duration::ZERO,
        duration: Duration::from_secs(3),
    };
    BenchPlan { past_runs: Vec::new(), runs: (1..=RUNS).map(run).collect(), limit: 30 }
}

struct RunSampler(Rng);

impl RunSampler {
    /// A run with a log-normal duration: its median in seconds and the standard deviation of its logarithm.
    fn sample_run(
        &mut self,
        id: String,
        query_id: u64,
        starts_after: Duration,
        (median, spread): (f64, f64),
    ) -> PlannedRun {
        // Cut, so that the comparison takes minutes and not hours.
        let seconds = (median * (spread * self.standard_normal()).exp()).clamp(1.0, 240.0);
        PlannedRun { id, query_id, starts_after, duration: Duration::from_secs_f64(seconds) }
    }

    /// A sample of the standard normal distribution, by the Box–Muller transform.
    fn standard_normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.0.f64()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.0.f64()).cos()
    }
}
