//! The figures by which policies are compared: requests per job, and the delay between a job's end and
//! the request that detects it.
//!
//! Shared by the benchmark and by `tests/pure/polling`.

use super::simulation::PollHistory;
use super::workload::SimulatedJob;

/// How one job's end was detected.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DetectionResult {
    pub(crate) requests: u32,
    /// From the job's end to the request that detected it, in seconds.
    pub(crate) delay: f64,
    /// The job's duration, in seconds.
    pub(crate) duration: f64,
}

impl DetectionResult {
    /// `detected_at` is in milliseconds of the simulation.
    pub(crate) fn new(job: &SimulatedJob, requests: u32, detected_at: u64) -> Self {
        Self {
            requests,
            delay: (detected_at - job.end_ms()) as f64 / 1000.0,
            duration: job.duration_seconds(),
        }
    }
}

/// One result per job. The last poll of each history is the one that detected the end.
pub(crate) fn detection_results(
    jobs: &[SimulatedJob],
    histories: &[PollHistory],
) -> Vec<DetectionResult> {
    let result = |(job, history): (&SimulatedJob, &PollHistory)| {
        let requests = u32::try_from(history.poll_times.len()).expect("few polls");
        DetectionResult::new(job, requests, *history.poll_times.last().expect("it was polled"))
    };
    jobs.iter().zip(histories).map(result).collect()
}

/// Averages and quantiles over many jobs. Delays are in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Metrics {
    /// Mean number of requests per job.
    pub(crate) requests: f64,
    pub(crate) mean_delay: f64,
    pub(crate) p50_delay: f64,
    pub(crate) p95_delay: f64,
    pub(crate) p99_delay: f64,
    /// Mean of delay / duration.
    pub(crate) mean_relative_delay: f64,
}

impl Metrics {
    pub(crate) fn from_results(results: &[DetectionResult]) -> Self {
        let count = results.len() as f64;
        let mean =
            |value: fn(&DetectionResult) -> f64| results.iter().map(value).sum::<f64>() / count;
        let mut delays: Vec<_> = results.iter().map(|result| result.delay).collect();
        delays.sort_unstable_by(f64::total_cmp);
        let quantile = |fraction: f64| delays[((count - 1.0) * fraction) as usize];
        Self {
            requests: mean(|result| f64::from(result.requests)),
            mean_delay: mean(|result| result.delay),
            p50_delay: quantile(0.5),
            p95_delay: quantile(0.95),
            p99_delay: quantile(0.99),
            mean_relative_delay: mean(|result| result.delay / result.duration),
        }
    }
}

/// The two means alone, without sorting: [`Metrics::from_results`] is too slow for a search.
pub(crate) fn mean_requests_and_delay(results: &[DetectionResult]) -> (f64, f64) {
    let count = results.len() as f64;
    let requests: f64 = results.iter().map(|result| f64::from(result.requests)).sum();
    let delays: f64 = results.iter().map(|result| result.delay).sum();
    (requests / count, delays / count)
}

/// The mean delay of a policy at the price at which it needs `requests` requests per job.
///
/// A higher price means fewer requests. The price is narrowed down by bisection, and the delay is
/// interpolated between the two nearest prices, both in logarithms. Infinite if no price fits.
pub(crate) fn delay_at_requests(
    requests: f64,
    mut metrics_at_price: impl FnMut(f64) -> Metrics,
) -> f64 {
    // (logarithms of the price, of the ratio of requests, and of the delay)
    let mut try_at = |ln_price: f64| {
        let metrics = metrics_at_price(ln_price.exp());
        (ln_price, (metrics.requests / requests).ln(), metrics.mean_delay.ln())
    };
    let (mut high, mut low) = (try_at(3f64.ln()), try_at(0.3f64.ln()));
    while high.1 > 0.0 && high.0 < 12.0 {
        (low, high) = (high, try_at(high.0 + 2.0));
    }
    while low.1 < 0.0 && low.0 > -6.0 {
        (high, low) = (low, try_at(low.0 - 2.0));
    }
    if high.1 > 0.0 || low.1 < 0.0 {
        return f64::INFINITY;
    }
    let mut attempts = 0;
    while low.1 - high.1 > 0.1 && attempts < 8 {
        let fraction = (low.1 / (low.1 - high.1)).clamp(0.15, 0.85);
        let middle = try_at(low.0 + fraction * (high.0 - low.0));
        if middle.1 > 0.0 {
            low = middle;
        } else {
            high = middle;
        }
        attempts += 1;
    }
    let fraction = low.1 / (low.1 - high.1).max(1e-9);
    (low.2 + fraction * (high.2 - low.2)).exp()
}

/// The largest value; NaN counts as larger than any number.
pub(crate) fn worst(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().max_by(f64::total_cmp).unwrap_or(f64::NAN)
}
