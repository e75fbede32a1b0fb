//! What keeps jobs of a provider from being observed now: a pause, failing polls, a provider that is not configured
//! any more, the rate limit.
//!
//! Pure: found in the status of a provider, for `problem_notices`.

use std::time::Duration;

use super::failing_jobs::FailingJob;
use crate::api::{PauseCause, ProviderStatus};
use crate::job::{UtcTime, counted, format_duration};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PollProblem {
    NotConfigured,
    Paused { reason: String },
    RateLimitUsedUp,
    PollsFail { error: String },
    JobFails(FailingJob),
}

impl PollProblem {
    /// The problem of a provider, or of a job of it.
    pub(super) fn find(status: &ProviderStatus, failing: Option<FailingJob>) -> Option<Self> {
        if status.kind.is_none() {
            return Some(Self::NotConfigured);
        }
        if let Some(pause) = &status.pause {
            return Some(match pause.cause {
                PauseCause::Rejection => Self::Paused { reason: pause.reason.clone() },
                PauseCause::RateLimit => Self::RateLimitUsedUp,
            });
        }
        match &status.last_failed_poll {
            Some(failed) if status.consecutive_failures > 0 => {
                Some(Self::PollsFail { error: failed.error.clone() })
            }
            Some(_) | None => failing.map(Self::JobFails),
        }
    }

    /// Whether a notice of `other` would tell nothing new.
    pub(super) fn has_reason_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::JobFails(one), Self::JobFails(other)) => one.error == other.error,
            (one, other) => one == other,
        }
    }

    pub(super) fn describe(&self, status: &ProviderStatus, now: UtcTime) -> String {
        let provider = &status.provider;
        let paused_for = || {
            let until = status.pause.as_ref().map_or(now, |pause| pause.until);
            format_duration(in_whole_seconds(until.duration_since(now)))
        };
        match self {
            Self::NotConfigured => format!(
                "{provider} is not configured any more, and its jobs are not polled; add \
                 [providers.{provider}] to the configuration and run: jobtrack reload"
            ),
            Self::Paused { reason } => format!(
                "{provider} is paused for {}: {reason}; run: jobtrack check {provider}",
                paused_for()
            ),
            Self::RateLimitUsedUp => format!(
                "{provider} is paused for {}: the rate limit that it reports is used up",
                paused_for()
            ),
            Self::PollsFail { error } if status.consecutive_failures == 1 => {
                format!("the last poll of {provider} failed and is repeated: {error}")
            }
            Self::PollsFail { error } => format!(
                "the last {} polls of {provider} failed: {error}; run: jobtrack check {provider}",
                status.consecutive_failures
            ),
            Self::JobFails(FailingJob { job, error }) => {
                format!("the last poll of job {job} failed: {error}; run: jobtrack show {job}")
            }
        }
    }
}

/// Why due polls of a provider wait for the rate limit, if the wait is long. This is no problem: polls are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RateLimitWait {
    /// No request is allowed for a while, for example after a crash of the daemon.
    NoRequestYet,
    /// More polls are due than requests are allowed.
    ManyPollsDue,
}

impl RateLimitWait {
    /// A shorter wait for the next request is not worth a notice.
    const MIN_HOLD: Duration = Duration::from_secs(3);
    /// Nor is a shorter wait for other polls.
    const MIN_QUEUE_TIME: Duration = Duration::from_mins(1);

    pub(super) fn find(status: &ProviderStatus, now: UtcTime) -> Option<Self> {
        if status.due_polls > 0 && time_to_next_request(status, now) >= Self::MIN_HOLD {
            return Some(Self::NoRequestYet);
        }
        let is_long = status.due_polls > 1 && status.time_of_due_polls() >= Self::MIN_QUEUE_TIME;
        is_long.then_some(Self::ManyPollsDue)
    }

    pub(super) fn describe(self, status: &ProviderStatus, now: UtcTime) -> String {
        let provider = &status.provider;
        match self {
            Self::NoRequestYet => {
                let time = format_duration(in_whole_seconds(time_to_next_request(status, now)));
                format!("the rate limit of {provider} allows the next request in {time}")
            }
            Self::ManyPollsDue => format!(
                "{} of {provider} are due, and its rate limit is {} a minute",
                counted(status.due_polls, "poll"),
                counted(status.requests_per_minute, "request")
            ),
        }
    }
}

fn in_whole_seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX))
}

fn time_to_next_request(status: &ProviderStatus, now: UtcTime) -> Duration {
    status.next_request_at.map_or(Duration::ZERO, |at| at.duration_since(now))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::job::JobId;
    use serde_json::{Value, json};

    /// A status of `dune` with these fields.
    pub(in crate::cli) fn status(fields: Value) -> ProviderStatus {
        let mut status = json!({
            "provider": "dune", "kind": "dune", "active_jobs": 3, "due_polls": 0, "max_overdue_s": 0.0,
            "in_flight": 0, "requests_last_minute": 1, "requests_per_minute": 30,
            "consecutive_failures": 0, "pause": null,
        });
        let Value::Object(fields) = fields else { panic!("an object") };
        status.as_object_mut().expect("an object").extend(fields);
        serde_json::from_value(status).expect("a status")
    }

    pub(in crate::cli) fn paused(seconds: u64, reason: &str) -> ProviderStatus {
        let until = UtcTime::from_millis(0).plus(Duration::from_secs(seconds));
        status(json!({"pause": {"until": until, "reason": reason}}))
    }

    #[test]
    fn each_problem_is_described_with_what_to_do() {
        let failed = |failures: u32| {
            let failed = json!({"job_id": 18, "at": "2026-11-26T12:00:00Z", "error": "HTTP 404"});
            status(json!({"last_failed_poll": failed, "consecutive_failures": failures}))
        };
        let cases = [
            (status(json!({})), false, None),
            (
                status(json!({"kind": null})),
                true,
                Some(
                    "dune is not configured any more, and its jobs are not polled; add [providers.dune] to the configuration and run: jobtrack reload",
                ),
            ),
            (
                paused(55, "HTTP 401: invalid API Key"),
                true,
                Some(
                    "dune is paused for 55 s: HTTP 401: invalid API Key; run: jobtrack check dune",
                ),
            ),
            (
                failed(0),
                true,
                Some("the last poll of job 17 failed: HTTP 404; run: jobtrack show 17"),
            ),
            (failed(0), false, None),
            (failed(1), true, Some("the last poll of dune failed and is repeated: HTTP 404")),
            (
                failed(4),
                true,
                Some("the last 4 polls of dune failed: HTTP 404; run: jobtrack check dune"),
            ),
        ];
        for (status, has_failing_job, expected) in cases {
            let failing = FailingJob { job: JobId(17), error: "HTTP 404".to_owned() };
            let failing = has_failing_job.then_some(failing);
            let now = UtcTime::from_millis(0);
            let problem = PollProblem::find(&status, failing);
            let text = problem.map(|problem| problem.describe(&status, now));
            assert_eq!(text.as_deref(), expected);
        }
    }
}
