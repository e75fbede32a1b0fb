//! Jobs of a trace: real durations, in a CSV file with the columns `likeness` (the number of a similarity key),
//! `start_s` and `duration_s`.
//!
//! `just bench-polling --trace FILE` measures the policies on them, as the made-up workloads of `workload`.

use std::fs;
use std::path::Path;

use super::workload::SimulatedJob;

/// Shorter durations are raised to this, in seconds.
const MIN_SECONDS: f64 = 0.001;

/// Reads the jobs, in the order of their starts.
pub(crate) fn read_trace(path: &Path) -> Vec<SimulatedJob> {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut lines = text.lines();
    let header = lines.next();
    assert_eq!(header, Some("likeness,start_s,duration_s"), "{}: the first line", path.display());
    let jobs = lines.enumerate().map(|(index, line)| {
        parse_job(line).unwrap_or_else(|| {
            panic!("{}:{}: not a key, a start and a duration", path.display(), index + 2)
        })
    });
    let mut jobs: Vec<_> = jobs.collect();
    jobs.sort_by_key(|job| job.start_ms);
    jobs
}

fn parse_job(line: &str) -> Option<SimulatedJob> {
    let mut columns = line.split(',');
    let similarity_key = columns.next()?.parse().ok()?;
    let mut seconds = || columns.next()?.parse::<f64>().ok().filter(|seconds| *seconds >= 0.0);
    let (start, duration) = (seconds()?, seconds()?);
    Some(SimulatedJob {
        start_ms: (start * 1000.0) as u64,
        duration_ms: (duration.max(MIN_SECONDS) * 1000.0) as u64,
        similarity_key,
        distribution: None,
    })
}

/// The jobs closer together, so that on average `running` of them run at the same time.
pub(crate) fn compress_arrivals(jobs: &[SimulatedJob], running: f64) -> Vec<SimulatedJob> {
    let total: f64 = jobs.iter().map(SimulatedJob::duration_seconds).sum();
    let span = jobs.last().map_or(0.0, |job| job.start_ms as f64 / 1000.0);
    let factor = (total / running / span.max(1.0)).min(1.0);
    let compress = |job: &SimulatedJob| SimulatedJob {
        start_ms: (job.start_ms as f64 * factor) as u64,
        ..job.clone()
    };
    jobs.iter().map(compress).collect()
}
