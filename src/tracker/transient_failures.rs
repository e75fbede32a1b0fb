//! Transient failures of a provider's requests (time-outs, broken connections, 5xx), and when to probe it.
//!
//! Used by the circuit breaker. After failures of three jobs or list requests with no success between them, due
//! jobs are polled one at a time, at intervals that grow. Further failures of one job are no evidence about others: the job is
//! polled at growing intervals of its own.

use std::time::Duration;

use crate::job::{ClockReading, JobId, MonotonicTime};

use super::failure_streak::FailureStreak;
use super::pause_durations::probe_interval;

#[derive(Debug, Default)]
pub(super) struct TransientFailures {
    streak: FailureStreak,
    /// The jobs with which the streak began.
    failed_jobs: Vec<JobId>,
    next_probe_at: MonotonicTime,
}

impl TransientFailures {
    /// Failures of different jobs, or of list requests, from which one request at a time is sent.
    const REPEATED: u32 = 3;

    /// Whether only one request at a time may be sent.
    pub(super) fn are_repeated(&self) -> bool {
        self.streak.count >= Self::REPEATED
    }

    /// No due job is polled before this time.
    pub(super) fn next_probe_at(&self) -> MonotonicTime {
        self.next_probe_at
    }

    /// Records a failure of a poll of `job`, or of a request about no single job. The interval between two probes
    /// grows to `max_interval`, or to a minute if that is shorter.
    pub(super) fn record(
        &mut self,
        job: Option<JobId>,
        max_interval: Duration,
        sent_at: MonotonicTime,
        now: ClockReading,
    ) {
        let is_known = job.is_some_and(|job| self.failed_jobs.contains(&job));
        if is_known && !self.are_repeated() {
            return;
        }
        if !self.streak.extend(sent_at, now.monotonic) {
            return;
        }
        match self.streak.count.checked_sub(Self::REPEATED) {
            None => self.failed_jobs.extend(job),
            Some(probes) => {
                let interval = probe_interval(probes, now.jitter).min(max_interval);
                self.next_probe_at = now.monotonic.plus(interval);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::UtcTime;

    const MINUTE: Duration = Duration::from_mins(1);

    fn at(seconds: u64) -> MonotonicTime {
        MonotonicTime::from_millis(seconds * 1000)
    }

    fn fail(failures: &mut TransientFailures, job: i64, max_interval: Duration, seconds: u64) {
        let utc = UtcTime::from_millis(0);
        let now = ClockReading { monotonic: at(seconds), utc, jitter: 0.5 };
        failures.record(Some(JobId(job)), max_interval, at(seconds), now);
    }

    #[test]
    fn repeated_transient_failures_space_the_probes() {
        let mut failures = TransientFailures::default();
        for (job, (seconds, ready)) in
            (1..).zip([(1, 0), (2, 0), (3, 4), (4, 6), (6, 10), (10, 18)])
        {
            fail(&mut failures, job, MINUTE, seconds);
            assert_eq!(failures.next_probe_at(), at(ready), "{seconds}");
        }
        fail(&mut failures, 7, Duration::from_secs(2), 18);
        assert_eq!(failures.next_probe_at(), at(20));
    }

    #[test]
    fn fault_39_failures_of_one_or_two_jobs_space_no_polls_of_other_jobs() {
        let mut failures = TransientFailures::default();
        for seconds in 1..20 {
            fail(&mut failures, 1 + i64::from(seconds % 2 == 0), MINUTE, seconds);
            assert_eq!((failures.are_repeated(), failures.next_probe_at()), (false, at(0)));
        }
        fail(&mut failures, 3, MINUTE, 20);
        assert_eq!((failures.are_repeated(), failures.next_probe_at()), (true, at(21)));
        fail(&mut failures, 1, MINUTE, 21);
        assert_eq!(failures.next_probe_at(), at(23), "every probe that fails counts");
    }
}
