//! How long requests pause after rejections and failures.
//!
//! Pure functions of counts, called by the circuit breaker, the list requests and the connection checks.

use std::time::Duration;

use crate::job::escalating_pause;

/// The pause of jobs that were not rejected, after this many rejections of different jobs with no
/// success between them. After the first, another job is tried at once.
pub(super) fn regular_job_pause(rejected_jobs: u32) -> Option<Duration> {
    (rejected_jobs >= 2).then(|| escalating_pause(rejected_jobs - 1))
}

/// The pause of rejected jobs after this many consecutive rejections.
pub(super) fn retry_pause(rejections: u32) -> Option<Duration> {
    (rejections >= 1).then(|| escalating_pause(rejections))
}

/// `Retry-After`, clamped to one second to one hour.
pub(super) fn clamp_retry_after(retry_after: Duration) -> Duration {
    retry_after.clamp(Duration::from_secs(1), Duration::from_hours(1))
}

/// The pause after consecutive rejections because of the rate limit. `Retry-After` shortens the growing
/// pause only after the first.
pub(super) fn rate_limit_pause(
    consecutive_rejections: u32,
    retry_after: Option<Duration>,
    jitter: f64,
) -> Duration {
    let exponent = consecutive_rejections.saturating_sub(1).min(6);
    let exponential = Duration::from_secs(5) * 2u32.pow(exponent);
    let own_pause = exponential.min(Duration::from_mins(5)).mul_f64(1.0 + 0.2 * jitter);
    match retry_after.map(clamp_retry_after) {
        Some(retry_after) if consecutive_rejections <= 1 => retry_after,
        Some(retry_after) => retry_after.max(own_pause),
        None => own_pause,
    }
}

/// The interval between two probes of a failing provider; `probes` have failed so far. `jitter` is in
/// `0.0..1.0`.
pub(super) fn probe_interval(probes: u32, jitter: f64) -> Duration {
    let interval = Duration::from_secs(1 << probes.min(6)).min(Duration::from_mins(1));
    interval.mul_f64(1.0 + 0.2 * (jitter - 0.5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_limit_pauses_grow_and_retry_after_is_clamped() {
        let secs = Duration::from_secs;
        // (consecutive rejections, Retry-After, expected pause)
        let cases = [
            (1, None, secs(5)),
            (2, None, secs(10)),
            (50, None, secs(300)),
            (1, Some(secs(0)), secs(1)),
            (1, Some(secs(2)), secs(2)),
            (1, Some(secs(999_999)), secs(3600)),
            (3, Some(secs(2)), secs(20)),
        ];
        for (rejections, retry_after, expected) in cases {
            assert_eq!(rate_limit_pause(rejections, retry_after, 0.0), expected, "{rejections}");
        }
    }

    #[test]
    fn pauses_after_rejections_grow_to_half_an_hour() {
        let minutes = |pause: Option<Duration>| pause.map_or(0, |pause| pause.as_secs() / 60);
        let new_jobs = [0, 1, 2, 3, 4, 5, 900].map(|count| minutes(regular_job_pause(count)));
        assert_eq!(new_jobs, [0, 0, 1, 5, 15, 30, 30]);
        let retries = [0, 1, 2, 3, 4, 900].map(|count| minutes(retry_pause(count)));
        assert_eq!(retries, [0, 1, 5, 15, 30, 30]);
        let probes = [0, 1, 2, 5, 6, 900].map(|count| probe_interval(count, 0.5).as_secs());
        assert_eq!(probes, [1, 2, 4, 32, 60, 60]);
    }
}
