//! The jobs of the stream: their ids and their lives, which follow from a seed and the job's number.
//!
//! All pollers track the same jobs. A job that ends is replaced by the job with the next number.

use std::time::Duration;

const SEED: u64 = 1;
const QUERIES: u64 = 60;
const MEDIAN: Duration = Duration::from_secs(8);
/// The standard deviation of the logarithm of a duration.
const SPREAD: f64 = 0.5;
/// The part of its life that a job is pending.
const PENDING_PART: f64 = 0.3;

/// The life of one job, from its submission.
pub struct Life {
    pub query_id: u64,
    pub starts_after: Duration,
    pub ends_after: Duration,
    /// How old the job is at its first poll. Zero, except for the jobs that exist at the beginning, whose
    /// ages are those of a stream that has been running for long.
    pub age_at_first_poll: Duration,
}

/// How many unfinished jobs there are at this rate: so many that a job is polled every 2.5 s, some four
/// times in its life.
pub fn unfinished_jobs(rate: u32) -> u64 {
    u64::from(rate) * 5 / 2
}

/// The id of a job, in the form of Dune's execution ids.
pub fn remote_id(number: u64) -> String {
    format!("01{number:024}")
}

/// The number of the job with this id.
pub fn job_number(remote_id: &str) -> Option<u64> {
    remote_id.strip_prefix("01")?.parse().ok()
}

/// The life of a job of a stream that began with `initial_jobs`.
pub fn life(number: u64, initial_jobs: u64) -> Life {
    let mut rng = fastrand::Rng::with_seed(SEED.wrapping_mul(0x9e37_79b9).wrapping_add(number));
    // The Box–Muller transform.
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    let normal = radius * (std::f64::consts::TAU * rng.f64()).cos();
    let ends_after = MEDIAN.mul_f64((SPREAD * normal).exp());
    let elapsed_part = if number < initial_jobs { rng.f64() } else { 0.0 };
    Life {
        query_id: 980_000 + number % QUERIES,
        starts_after: ends_after.mul_f64(PENDING_PART),
        ends_after,
        age_at_first_poll: ends_after.mul_f64(elapsed_part),
    }
}
