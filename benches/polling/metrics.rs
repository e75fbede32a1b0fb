//! What is told of a policy: requests a job, and how late its end was seen.

use super::simulation::PollHistory;
use super::workload::SimulatedJob;

/// What a policy made of one job.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DetectionResult {
    pub(crate) requests: u32,
    /// From its end until that was seen, in seconds.
    pub(crate) delay: f64,
    /// How long the job took, in seconds.
    pub(crate) duration: f64,
}

impl DetectionResult {
    /// The job was seen to be over at `at`, in milliseconds, by so many requests.
    pub(crate) fn new(job: &SimulatedJob, requests: u32, at: u64) -> Self {
        Self {
            requests,
            delay: (at - job.end_ms()) as f64 / 1000.0,
            duration: job.duration_seconds(),
        }
    }
}

/// What the tracker made of each job.
pub(crate) fn detection_results(
    jobs: &[SimulatedJob],
    lives: &[PollHistory],
) -> Vec<DetectionResult> {
    let seen = |(job, life): (&SimulatedJob, &PollHistory)| {
        let requests = u32::try_from(life.poll_times.len()).expect("few looks");
        DetectionResult::new(job, requests, *life.poll_times.last().expect("it was looked at"))
    };
    jobs.iter().zip(lives).map(seen).collect()
}

/// The same of many jobs. Delays are in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Metrics {
    /// A job, on average.
    pub(crate) requests: f64,
    pub(crate) mean_delay: f64,
    pub(crate) p50_delay: f64,
    pub(crate) p95_delay: f64,
    pub(crate) p99_delay: f64,
    /// The delay as a share of the time that the job took, on average.
    pub(crate) mean_relative_delay: f64,
}

impl Metrics {
    pub(crate) fn from_results(results: &[DetectionResult]) -> Self {
        let count = results.len() as f64;
        let mean = |of: fn(&DetectionResult) -> f64| results.iter().map(of).sum::<f64>() / count;
        let mut delays: Vec<_> = results.iter().map(|seen| seen.delay).collect();
        delays.sort_unstable_by(f64::total_cmp);
        let quantile = |share: f64| delays[((count - 1.0) * share) as usize];
        Self {
            requests: mean(|seen| f64::from(seen.requests)),
            mean_delay: mean(|seen| seen.delay),
            p50_delay: quantile(0.5),
            p95_delay: quantile(0.95),
            p99_delay: quantile(0.99),
            mean_relative_delay: mean(|seen| seen.delay / seen.duration),
        }
    }
}

/// Requests a job and mean delay alone.
pub(crate) fn mean_requests_and_delay(results: &[DetectionResult]) -> (f64, f64) {
    let count = results.len() as f64;
    let requests: f64 = results.iter().map(|seen| f64::from(seen.requests)).sum();
    let delays: f64 = results.iter().map(|seen| seen.delay).sum();
    (requests / count, delays / count)
}

/// The mean delay of a policy at so many requests a job, where a higher `price` means fewer: found by
/// narrowing the price down, and between the two nearest by interpolation (both in logarithms). Infinite
/// if no price leads to so many.
pub(crate) fn delay_at_requests(
    requests: f64,
    mut metrics_at_price: impl FnMut(f64) -> Metrics,
) -> f64 {
    let mut try_at = |ln_price: f64| {
        let figures = metrics_at_price(ln_price.exp());
        (ln_price, (figures.requests / requests).ln(), figures.mean_delay.ln())
    };
    let (mut dear, mut cheap) = (try_at(3f64.ln()), try_at(0.3f64.ln()));
    while dear.1 > 0.0 && dear.0 < 12.0 {
        (cheap, dear) = (dear, try_at(dear.0 + 2.0));
    }
    while cheap.1 < 0.0 && cheap.0 > -6.0 {
        (dear, cheap) = (cheap, try_at(cheap.0 - 2.0));
    }
    if dear.1 > 0.0 || cheap.1 < 0.0 {
        return f64::INFINITY;
    }
    let mut tries = 0;
    while cheap.1 - dear.1 > 0.1 && tries < 8 {
        let share = (cheap.1 / (cheap.1 - dear.1)).clamp(0.15, 0.85);
        let middle = try_at(cheap.0 + share * (dear.0 - cheap.0));
        if middle.1 > 0.0 {
            cheap = middle;
        } else {
            dear = middle;
        }
        tries += 1;
    }
    let share = cheap.1 / (cheap.1 - dear.1).max(1e-9);
    (cheap.2 + share * (dear.2 - cheap.2)).exp()
}

/// The greatest of all; what is no number is greater than any.
pub(crate) fn worst(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().max_by(f64::total_cmp).unwrap_or(f64::NAN)
}
