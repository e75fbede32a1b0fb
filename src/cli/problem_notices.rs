//! Notices of what keeps jobs from being observed.
//!
//! `wait` and `watch` print a notice whenever the reason changes, `list` prints the present ones. One line for each
//! provider, however many jobs it has.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::event_follower::{SLOW_RESPONSE, slow_response_notice};
use super::failing_jobs::{FailingJob, UnfinishedJobs};
use super::poll_problem::{PollProblem, RateLimitWait};
use crate::api::{Client, DaemonStatus, ProviderStatus};
use crate::clock::Clock;
use crate::job::{ProviderName, UtcTime};

/// The problems of which a notice was printed.
#[derive(Debug, Default)]
pub(super) struct PrintedProblems {
    problems: BTreeMap<ProviderName, PrintedProblem>,
    /// Each is told once: it comes and goes with the number of jobs.
    waits: BTreeSet<(ProviderName, RateLimitWait)>,
}

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
        let printed = self.problems.get_mut(&status.provider);
        match (PollProblem::find(status, failing), printed) {
            (None, None) => {
                let wait = RateLimitWait::find(status, now)?;
                let is_new = self.waits.insert((status.provider.clone(), wait));
                is_new.then(|| wait.describe(status, now))
            }
            (None, Some(printed)) => {
                printed.statuses_without += 1;
                if printed.statuses_without < Self::STATUSES_UNTIL_END {
                    return None;
                }
                let printed = self.problems.remove(&status.provider)?;
                match printed.problem {
                    PollProblem::RateLimitUsedUp | PollProblem::JobFails(_) => None,
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
                self.problems.insert(status.provider.clone(), printed);
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

/// The notices of the present problems of these jobs' providers.
pub(super) fn present_problems(
    providers: &[ProviderStatus],
    jobs: &UnfinishedJobs,
    now: UtcTime,
) -> Vec<String> {
    let concerned = providers.iter().filter(|status| jobs.has_job_of(&status.provider));
    let notices = concerned.filter_map(|status| {
        let failing = jobs.failing_job(&status.provider);
        PrintedProblems::default().update(status, failing, now)
    });
    notices.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::poll_problem::tests::{paused, status};
    use serde_json::json;

    fn notice(printed: &mut PrintedProblems, status: &ProviderStatus) -> Option<String> {
        printed.update(status, None, UtcTime::from_millis(0))
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
        let expected = "900 polls of dune are due, and its rate limit is 30 requests a minute";
        assert_eq!(text.as_deref(), Some(expected));
        for _ in 0..PrintedProblems::STATUSES_UNTIL_END {
            assert!(notice(&mut printed, &held(0, 0)).is_none(), "its end is not worth a notice");
        }
        assert!(notice(&mut printed, &held(1, 14)).is_none());
        assert!(notice(&mut printed, &paused(55, "HTTP 401")).is_some());
        for _ in 1..PrintedProblems::STATUSES_UNTIL_END {
            assert!(notice(&mut printed, &held(900, 0)).is_none());
        }
        let end = notice(&mut printed, &held(900, 0));
        assert_eq!(end.as_deref(), Some("dune is polled again"), "a wait replaces no problem");
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
