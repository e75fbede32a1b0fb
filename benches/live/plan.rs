//! What is run: the same for all who are compared, from a seed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use fastrand::Rng;

use super::support::fake_server::{JobEnd, JobScript};

/// One execution of a query.
pub struct PlannedRun {
    pub id: String,
    pub query_id: u64,
    /// Counted from the begin of the comparison.
    pub starts_after: Duration,
    pub duration: Duration,
}

/// A comparison.
pub struct BenchPlan {
    /// Runs that were over before.
    pub past_runs: Vec<PlannedRun>,
    pub runs: Vec<PlannedRun>,
    /// The requests that the service allows in a minute.
    pub limit: u32,
}

impl PlannedRun {
    /// Its life, from the begin of this one.
    pub fn job_script(&self, begun: JobScript) -> JobScript {
        let pending = self.duration.mul_f64(0.05);
        let running = self.duration.saturating_sub(pending);
        begun
            .with_query_id(self.query_id)
            .pending(pending)
            .running(running)
            .ending_with(JobEnd::Completed)
    }
}

/// Many queries that come one by one, more than the limit allows to be asked often.
pub fn large_plan(seed: u64) -> BenchPlan {
    const QUERIES: Range<u64> = 0..60;
    const RUNS: usize = 500;
    const PAST_RUNS: usize = 6;
    /// Mean time between two arrivals: five minutes for all.
    const SECONDS_BETWEEN_STARTS: f64 = 300.0 / 500.0;

    let mut dice = RunSampler(Rng::with_seed(seed));
    let kinds: BTreeMap<_, _> = QUERIES
        .map(|query| (query, (25.0 * dice.standard_normal().exp(), 0.1 + 0.4 * dice.0.f64())))
        .collect();
    let past = PAST_RUNS * kinds.len();
    let past = (0..past).map(|n| {
        let query = n as u64 % QUERIES.end;
        dice.sample_run(format!("PAST{n}"), query, Duration::ZERO, kinds[&query])
    });
    let past = past.collect();
    let mut arrives = Duration::ZERO;
    let runs = (0..RUNS).map(|n| {
        arrives += Duration::from_secs_f64(-SECONDS_BETWEEN_STARTS * (1.0 - dice.0.f64()).ln());
        let query = dice.0.u64(QUERIES);
        dice.sample_run(format!("RUN{n}"), query, arrives, kinds[&query])
    });
    BenchPlan { runs: runs.collect(), past_runs: past, limit: 240 }
}

/// Eight queries at once, each with so many runs before, and one request in twelve seconds for each.
pub fn small_plan(seed: u64, past_runs: usize) -> BenchPlan {
    const SPREAD: f64 = 0.3;

    let mut dice = RunSampler(Rng::with_seed(seed));
    // The runs are the same whatever was before them.
    let mut history = RunSampler(dice.0.fork());
    let (mut past, mut runs) = (Vec::new(), Vec::new());
    for query in 1..=8 {
        let lasts = 20.0 + 70.0 * dice.0.f64();
        let kind = (lasts * (SPREAD * dice.standard_normal()).exp(), SPREAD);
        let ids = (0..past_runs).map(|n| format!("PAST{query}X{n}"));
        past.extend(ids.map(|id| history.sample_run(id, query, Duration::ZERO, kind)));
        let (id, lasts) = (format!("RUN{query}"), Duration::from_secs_f64(lasts));
        runs.push(PlannedRun {
            id,
            query_id: query,
            starts_after: Duration::ZERO,
            duration: lasts,
        });
    }
    BenchPlan { past_runs: past, runs, limit: 40 }
}

struct RunSampler(Rng);

impl RunSampler {
    /// A run of a query with this median, in seconds, and this spread of its logarithm.
    fn sample_run(
        &mut self,
        id: String,
        query: u64,
        arrives: Duration,
        kind: (f64, f64),
    ) -> PlannedRun {
        let (median, spread) = kind;
        // Cut, so that the comparison ends in minutes.
        let lasts = (median * (spread * self.standard_normal()).exp()).clamp(1.0, 240.0);
        PlannedRun {
            id,
            query_id: query,
            starts_after: arrives,
            duration: Duration::from_secs_f64(lasts),
        }
    }

    /// Of mean 0 and spread 1 (Box and Muller).
    fn standard_normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.0.f64()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.0.f64()).cos()
    }
}
