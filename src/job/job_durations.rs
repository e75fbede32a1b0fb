//! How long a finished job waited and ran, and how late its end was observed.
//!
//! Pure. The store computes a [`JobDurations`] when it writes the end of a job and stores it in the
//! same transaction. Invariant: no duration is negative, because [`Duration`] has no sign. Two times in
//! the wrong order make a duration unknown, or zero if the clocks of two machines explain the order.

use std::time::Duration;

use super::answer::ProviderTimes;
use super::state::State;
use super::time::UtcTime;
use super::transition::Transition;

/// The durations of a finished job; `None` where they are unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JobDurations {
    /// From submission to start.
    pub queue: Option<Duration>,
    /// From start to end.
    pub run: Option<Duration>,
    /// From submission to end.
    pub total: Option<Duration>,
    /// From the end to the answer that reported the end.
    pub detection_delay: Option<Duration>,
    /// Upper bound of `detection_delay`, by the local clock alone.
    pub detection_delay_max: Option<Duration>,
}

impl JobDurations {
    /// Computes the durations of a job that `end`, its last transition, ended.
    ///
    /// `reported_run` is the duration of the run as the provider reports it. The provider's times
    /// take precedence: Dune's own documentation shows an answer in which the two differ.
    #[must_use]
    pub fn new(
        registered_at: UtcTime,
        times: ProviderTimes,
        reported_run: Option<Duration>,
        end: &Transition,
    ) -> Self {
        let ProviderTimes { submitted_at, started_at, ended_at, .. } = times;
        let queue = elapsed(submitted_at, started_at);
        let run = elapsed(started_at, ended_at).or(reported_run);
        let total = elapsed(submitted_at, ended_at).or_else(|| Some(queue? + run?));
        // The end of a job cannot be observed before the job is registered.
        let since = |at: UtcTime| end.observed_at.duration_since(at.max(registered_at));
        let detection_delay_max = match end.to {
            // A local decision: there is no end of the job to detect.
            State::Untracked => None,
            State::Registered
            | State::Pending
            | State::Running
            | State::Unknown
            | State::Succeeded
            | State::Failed
            | State::Cancelled
            | State::Expired
            | State::Indeterminate
            | State::Lost => Some(since(end.earliest_at.unwrap_or(registered_at))),
        };
        // If the provider's clock is behind the local clock, the difference would exceed the bound.
        let detection_delay = end
            .occurred_at
            .map(since)
            .map(|delay| detection_delay_max.map_or(delay, |max| delay.min(max)));
        Self { queue, run, total, detection_delay, detection_delay_max }
    }
}

fn elapsed(from: Option<UtcTime>, to: Option<UtcTime>) -> Option<Duration> {
    /// The clocks of one provider's machines differ by less than this.
    const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(1);
    let (from, to) = (from?, to?);
    (from.duration_since(to) < MAX_CLOCK_DIFFERENCE).then(|| to.duration_since(from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Evidence;

    /// All times and durations are in seconds.
    struct Case {
        name: &'static str,
        registered_at: i64,
        submitted_at: Option<i64>,
        started_at: Option<i64>,
        ended_at: Option<i64>,
        reported_run: Option<u64>,
        end: State,
        earliest_at: Option<i64>,
        /// queue, run, total, detection delay and its bound.
        expected: [Option<u64>; 5],
    }

    const COMPLETE: Case = Case {
        name: "all times are known",
        registered_at: 10,
        submitted_at: Some(8),
        started_at: Some(11),
        ended_at: Some(90),
        reported_run: None,
        end: State::Succeeded,
        earliest_at: Some(80),
        expected: [Some(3), Some(79), Some(82), Some(10), Some(20)],
    };

    const CASES: [Case; 13] = [
        COMPLETE,
        Case {
            name: "no time is known",
            submitted_at: None,
            started_at: None,
            ended_at: None,
            earliest_at: None,
            expected: [None, None, None, None, Some(90)],
            ..COMPLETE
        },
        Case {
            name: "only the duration of the run is reported",
            submitted_at: None,
            started_at: None,
            ended_at: None,
            reported_run: Some(70),
            expected: [None, Some(70), None, None, Some(20)],
            ..COMPLETE
        },
        Case {
            name: "the end and the duration of the run are reported",
            submitted_at: None,
            started_at: None,
            reported_run: Some(70),
            expected: [None, Some(70), None, Some(10), Some(20)],
            ..COMPLETE
        },
        Case {
            name: "times take precedence over a reported duration",
            reported_run: Some(1),
            ..COMPLETE
        },
        Case {
            name: "wait and reported run add up to the total",
            ended_at: None,
            reported_run: Some(70),
            expected: [Some(3), Some(70), Some(73), None, Some(20)],
            ..COMPLETE
        },
        Case {
            name: "the job never started",
            started_at: None,
            expected: [None, None, Some(82), Some(10), Some(20)],
            ..COMPLETE
        },
        Case {
            name: "times in the wrong order are unknown durations",
            submitted_at: Some(12),
            started_at: Some(11),
            ended_at: Some(10),
            expected: [None, None, None, Some(20), Some(20)],
            ..COMPLETE
        },
        Case {
            name: "the job ended before it was registered",
            registered_at: 95,
            earliest_at: None,
            expected: [Some(3), Some(79), Some(82), Some(5), Some(5)],
            ..COMPLETE
        },
        Case {
            name: "the provider's clock is ahead",
            ended_at: Some(105),
            expected: [Some(3), Some(94), Some(97), Some(0), Some(20)],
            ..COMPLETE
        },
        Case {
            name: "the provider's clock is behind",
            ended_at: Some(70),
            expected: [Some(3), Some(59), Some(62), Some(20), Some(20)],
            ..COMPLETE
        },
        Case {
            name: "the job was untracked",
            ended_at: None,
            end: State::Untracked,
            expected: [Some(3), None, None, None, None],
            ..COMPLETE
        },
        Case {
            name: "the job was lost",
            ended_at: None,
            end: State::Lost,
            expected: [Some(3), None, None, None, Some(20)],
            ..COMPLETE
        },
    ];

    #[test]
    fn fault_45_a_start_just_before_the_submission_is_no_wait() {
        let at = |ms: i64| Some(UtcTime::from_millis(1_800_000_000_000 + ms));
        assert_eq!(elapsed(at(8), at(0)), Some(Duration::ZERO));
        assert_eq!(elapsed(at(999), at(0)), Some(Duration::ZERO));
        assert_eq!(elapsed(at(1000), at(0)), None);
        assert_eq!(elapsed(at(0), at(8)), Some(Duration::from_millis(8)));
    }

    #[test]
    fn durations_are_computed_from_times_or_reported_durations() {
        let at = |seconds: i64| UtcTime::from_millis(seconds * 1000);
        for case in CASES {
            let times = ProviderTimes {
                submitted_at: case.submitted_at.map(at),
                started_at: case.started_at.map(at),
                ended_at: case.ended_at.map(at),
                expires_at: None,
            };
            let end = Transition {
                from: Some(State::Running),
                to: case.end,
                provider_state: None,
                evidence: Evidence::Observed,
                occurred_at: times.ended_at,
                observed_at: at(100),
                earliest_at: case.earliest_at.map(at),
                message: None,
            };
            let reported_run = case.reported_run.map(Duration::from_secs);
            let found = JobDurations::new(at(case.registered_at), times, reported_run, &end);
            let [queue, run, total, detection_delay, detection_delay_max] =
                case.expected.map(|seconds| seconds.map(Duration::from_secs));
            let expected = JobDurations { queue, run, total, detection_delay, detection_delay_max };
            assert_eq!(found, expected, "{}", case.name);
        }
    }
}
