//! What keeps jobs from being observed now: a paused provider, failing polls, a provider that is not configured
//! any more, the rate limit.
//!
//! `wait` and `watch` print a notice whenever the reason changes, `list` prints the present ones. One line for each
//! provider, however many jobs it has.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::event_follower::{SLOW_RESPONSE, slow_response_notice};
use super::failing_jobs::{FailingJob, UnfinishedJobs};
use super::render::format_seconds;
use super::stdio;
use crate::api::{Client, DaemonStatus, PauseCause, ProviderStatus};
use crate::clock::Clock;
use crate::job::{ProviderName, UtcTime};

#[derive(Debug, Clone, PartialEq, Eq)]
enum PollProblem {
    NotConfigured,
    Paused {
        reason: String,
    },
    RateLimitUsedUp,
    PollsFail {
        error: String,
    },
    JobFails(FailingJob),
    /// The rate limit allows no request for a while, for example after a start of the daemon.
    RateLimitHolds,
    /// The rate limit allows fewer requests than are due.
    ManyPollsDue,
}

impl PollProblem {
    /// A shorter wait for the rate limit is not worth a notice.
    const MIN_HOLD: Duration = Duration::from_secs(3);
    /// Nor is a shorter wait for other polls.
    const MIN_QUEUE_TIME: Duration = Duration::from_mins(1);

    /// The problem of a provider, or of a job of it.
    fn find(status: &ProviderStatus, failing: Option<FailingJob>, now: UtcTime) -> Option<Self> {
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
            Some(_) | None => failing.map(Self::JobFails).or_else(|| Self::find_delay(status, now)),
        }
    }

    fn find_delay(status: &ProviderStatus, now: UtcTime) -> Option<Self> {
        if status.due_polls > 0 && time_to_next_request(status, now) >= Self::MIN_HOLD {
            Some(Self::RateLimitHolds)
        } else {
            (status.time_of_due_polls() >= Self::MIN_QUEUE_TIME).then_some(Self::ManyPollsDue)
        }
    }

    /// Whether a notice of `other` would tell nothing new.
    fn has_reason_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::JobFails(one), Self::JobFails(other)) => one.error == other.error,
            (one, other) => one == other,
        }
    }

    fn describe(&self, status: &ProviderStatus, now: UtcTime) -> String {
        let provider = &status.provider;
        let paused_for = || {
            let until = status.pause.as_ref().map_or(now, |pause| pause.until);
            format_seconds(until.duration_since(now).as_secs_f64().ceil())
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
            Self::RateLimitHolds => {
                let time = time_to_next_request(status, now).as_secs_f64().ceil();
                let time = format_seconds(time);
                format!("the rate limit of {provider} allows the next request in {time}")
            }
            Self::ManyPollsDue => format!(
                "{} polls of {provider} are due, of which {} a minute are sent",
                status.due_polls, status.requests_per_minute
            ),
        }
    }
}

fn time_to_next_request(status: &ProviderStatus, now: UtcTime) -> Duration {
    status.next_request_at.map_or(Duration::ZERO, |at| at.duration_since(now))
}

/// The problems of which a notice was printed.
#[derive(Debug, Default)]
pub(super) struct PrintedProblems(BTreeMap<ProviderName, PrintedProblem>);

#[derive(Debug)]
struct PrintedProblem {
    problem: PollProblem,
    /// How many statuses in a row have shown no problem since.
    statuses_without: u32,
}

impl PrintedProblems {
    /// An end of a problem is reported after so many statuses without one. A provider that fails now and then
    /// causes no notice each time.
    const STATUSES_UNTIL_END: u32 = 5;

    /// The notice for a new status of a provider, `failing` being a job of it that matters.
    fn update(
        &mut self,
        status: &ProviderStatus,
        failing: Option<FailingJob>,
        now: UtcTime,
    ) -> Option<String> {
        let printed = self.0.get_mut(&status.provider);
        match (PollProblem::find(status, failing, now), printed) {
            (None, None) => None,
            (None, Some(printed)) => {
                printed.statuses_without += 1;
                if printed.statuses_without < Self::STATUSES_UNTIL_END {
                    return None;
                }
                let printed = self.0.remove(&status.provider)?;
                match printed.problem {
                    PollProblem::RateLimitUsedUp
                    | PollProblem::JobFails(_)
                    | PollProblem::RateLimitHolds
                    | PollProblem::ManyPollsDue => None,
                    PollProblem::NotConfigured
                    | PollProblem::Paused { .. }
                    | PollProblem::PollsFail { .. } => {
                        Some(format!("{} is polled again", status.provider))
                    }
                }
            }
            (Some(problem), Some(printed)) if printed.problem.has_reason_of(&problem) => {
                printed.statuses_without = 0;
                None
            }
            (Some(problem), _) => {
                let notice = problem.describe(status, now);
                let printed = PrintedProblem { problem, statuses_without: 0 };
                self.0.insert(status.provider.clone(), printed);
                Some(notice)
            }
        }
    }
}

/// Passes to `notify` what keeps jobs from being observed, whenever that changes; `is_awaited` selects the
/// providers that matter, and `find_failing_job` finds a job that matters of such a provider. `status` was read
/// before. Never returns.
pub(super) async fn announce_poll_problems(
    client: &Client,
    status: DaemonStatus,
    is_awaited: impl Fn(&ProviderStatus) -> bool,
    mut find_failing_job: impl AsyncFnMut(&ProviderStatus) -> Option<FailingJob>,
    notify: impl Fn(&str),
) -> Infallible {
    const INTERVAL: Duration = Duration::from_secs(2);
    let clock = Clock::start();
    let mut printed = PrintedProblems::default();
    let mut status = Some(status);
    let (mut is_answering, mut is_writable) = (true, true);
    loop {
        if let Some(status) = &status
            && status.write_error.is_none() != is_writable
        {
            is_writable = status.write_error.is_none();
            notify(&status.write_error.as_ref().map_or_else(
                || "changes are written again".to_owned(),
                |error| format!("changes are reported when they can be written: {error}"),
            ));
        }
        let providers = status.take().map_or_else(Vec::new, |status| status.providers);
        for status in providers.iter().filter(|status| is_awaited(status)) {
            let failing = find_failing_job(status).await;
            if let Some(notice) = printed.update(status, failing, clock.utc_now()) {
                notify(&notice);
            }
        }
        sleep(INTERVAL).await;
        match timeout(SLOW_RESPONSE, client.status()).await {
            Ok(Ok(new)) => {
                is_answering = true;
                status = Some(new);
            }
            // The event stream reports an unavailable daemon.
            Ok(Err(_)) => {}
            Err(_) => {
                if std::mem::take(&mut is_answering) {
                    notify(&slow_response_notice());
                }
            }
        }
    }
}

/// Prints the present problems of these jobs' providers.
pub(super) fn print_present_problems(
    providers: &[ProviderStatus],
    jobs: &UnfinishedJobs,
    now: UtcTime,
) {
    let concerned = |status: &&ProviderStatus| jobs.has_job_of(&status.provider);
    for status in providers.iter().filter(concerned) {
        let failing = jobs.failing_job(&status.provider);
        let notice = PrintedProblems::default().update(status, failing, now);
        notice.into_iter().for_each(stdio::print_notice);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::JobId;
    use serde_json::{Value, json};

    /// A status of `dune` with these fields.
    fn status(fields: Value) -> ProviderStatus {
        let mut status = json!({
            "provider": "dune", "kind": "dune", "active_jobs": 3, "due_polls": 0, "max_overdue_s": 0.0,
            "in_flight": 0, "requests_last_minute": 1, "requests_per_minute": 30,
            "consecutive_failures": 0, "pause": null,
        });
        let Value::Object(fields) = fields else { panic!("an object") };
        status.as_object_mut().expect("an object").extend(fields);
        serde_json::from_value(status).expect("a status")
    }

    fn paused(seconds: u64, reason: &str) -> ProviderStatus {
        let until = UtcTime::from_millis(0).plus(Duration::from_secs(seconds));
        status(json!({"pause": {"until": until, "reason": reason}}))
    }

    fn notice(printed: &mut PrintedProblems, status: &ProviderStatus) -> Option<String> {
        printed.update(status, None, UtcTime::from_millis(0))
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
            let notice = PrintedProblems::default().update(&status, failing, now);
            assert_eq!(notice.as_deref(), expected);
        }
    }

    #[test]
    fn a_long_wait_for_the_rate_limit_is_told_once() {
        let now = UtcTime::from_millis(0);
        let held = |due_polls: u64, seconds: u64| {
            let next_request_at = now.plus(Duration::from_secs(seconds));
            status(json!({"due_polls": due_polls, "next_request_at": next_request_at}))
        };
        let mut printed = PrintedProblems::default();
        assert!(notice(&mut printed, &held(1, 2)).is_none(), "too short");
        assert!(notice(&mut printed, &held(0, 14)).is_none(), "no poll waits");
        let text = notice(&mut printed, &held(1, 14));
        let expected = "the rate limit of dune allows the next request in 14 s";
        assert_eq!(text.as_deref(), Some(expected));
        assert!(notice(&mut printed, &held(1, 12)).is_none());
        let text = notice(&mut PrintedProblems::default(), &held(900, 2));
        let expected = "900 polls of dune are due, of which 30 a minute are sent";
        assert_eq!(text.as_deref(), Some(expected));
        for _ in 0..PrintedProblems::STATUSES_UNTIL_END {
            assert!(notice(&mut printed, &held(0, 0)).is_none(), "its end is not worth a notice");
        }
    }

    #[test]
    fn a_notice_is_repeated_only_when_its_reason_changes() {
        let mut printed = PrintedProblems::default();
        assert!(notice(&mut printed, &paused(55, "HTTP 401")).is_some());
        assert!(notice(&mut printed, &paused(53, "HTTP 401")).is_none());
        assert!(notice(&mut printed, &paused(300, "HTTP 403")).is_some());
        for _ in 1..PrintedProblems::STATUSES_UNTIL_END {
            assert!(notice(&mut printed, &status(json!({}))).is_none());
        }
        assert!(notice(&mut printed, &paused(55, "HTTP 403")).is_none(), "too short a break");
        for _ in 1..PrintedProblems::STATUSES_UNTIL_END {
            assert!(notice(&mut printed, &status(json!({}))).is_none());
        }
        let end = notice(&mut printed, &status(json!({})));
        assert_eq!(end.as_deref(), Some("dune is polled again"));
        assert!(notice(&mut printed, &paused(55, "HTTP 403")).is_some());
    }
}
