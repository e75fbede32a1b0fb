//! Waits for jobs: follows the event stream, prints each job that has reached the awaited state, and tells what
//! keeps jobs from being observed.
//!
//! Used by `wait` and by `add --wait`. The cursor of the newest event is read before the jobs, and the events after
//! it are followed, so that no end is missed in between.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::time::Duration;

use tokio::time::sleep;

use super::error_report::ErrorReport;
use super::event_follower::{EventFollower, retry_while_unavailable};
use super::failing_jobs::FailingJobSearch;
use super::problem_notices::announce_poll_problems;
use super::progress::Progress;
use super::waited_jobs::WaitedJobs;
use super::{CommandContext, forecast, stdio};
use crate::api::{ClientError, DaemonStatus, Job, ListParams};
use crate::job::{EventCursor, JobId, State};

pub(super) struct JobWaiter<'a> {
    context: &'a CommandContext,
    /// Whether nothing but errors is printed.
    quiet: bool,
    /// Borrowed by the branches of one task, and never while it waits.
    jobs: RefCell<WaitedJobs>,
    progress: Progress,
    job_count: usize,
}

impl<'a> JobWaiter<'a> {
    /// How often the progress line gets a new expected end.
    const FORECAST_INTERVAL: Duration = Duration::from_secs(5);
    /// How often an expected end is asked for that is printed once.
    const FIRST_FORECAST_INTERVAL: Duration = Duration::from_secs(30);
    /// Each forecast is a request; with more unfinished jobs no expected end is shown.
    const MAX_FORECAST_JOBS: usize = 32;
    /// Of more jobs, only those that have not succeeded are printed, and a summary.
    const MAX_PRINTED_JOBS: usize = 100;

    pub(super) fn new(
        context: &'a CommandContext,
        jobs: WaitedJobs,
        job_count: usize,
        quiet: bool,
    ) -> Self {
        let progress = Progress::new(job_count, !quiet);
        Self { context, quiet, jobs: RefCell::new(jobs), progress, job_count }
    }

    /// Waits for these jobs, which were read after `status`; returns the exit code.
    pub(super) async fn run(self, jobs: Vec<Job>, status: DaemonStatus) -> anyhow::Result<u8> {
        for job in jobs {
            let is_reached = self.jobs.borrow_mut().update(&job);
            if is_reached {
                self.print_job(&job)?;
            }
            if self.jobs.borrow().exits_early() {
                break;
            }
        }
        if !self.jobs.borrow().is_done() {
            let mut search = FailingJobSearch::new(&self.context.client, &self.jobs);
            tokio::select! {
                biased;
                done = self.follow_events(status.newest_event.clone()) => done?,
                never = announce_poll_problems(
                    &self.context.client,
                    status,
                    |status| self.jobs.borrow().awaits_provider(&status.provider),
                    async |status| search.find(status).await,
                    |notice| self.notify(notice),
                ) => match never {},
                never = self.announce_expected_end() => match never {},
            }
        }
        let jobs = self.jobs.borrow();
        if !self.prints_all() && !self.quiet {
            self.print(|| stdio::print_lines(&[jobs.summary()]))?;
        }
        Ok(jobs.exit_code())
    }

    async fn follow_events(&self, after: EventCursor) -> anyhow::Result<()> {
        let client = &self.context.client;
        let query = ListParams { after: Some(after.into()), ..ListParams::default() };
        let notify = |text: &str| self.notify(text);
        let mut follower = EventFollower::new(client, query, &notify);
        loop {
            if self.jobs.borrow().is_done() {
                return Ok(());
            }
            self.progress.update(self.jobs.borrow().awaited_states());
            let event = follower.next_event().await?;
            let candidates = self.jobs.borrow_mut().apply_event(&event);
            for id in candidates {
                let read = retry_while_unavailable(&notify, async || client.job(id).await).await;
                self.apply_read(id, read)?;
                if self.jobs.borrow().is_done() {
                    return Ok(());
                }
            }
        }
    }

    fn apply_read(&self, id: JobId, read: Result<Job, ClientError>) -> anyhow::Result<()> {
        match read {
            Ok(job) => {
                if self.jobs.borrow_mut().update(&job) {
                    self.print_job(&job)?;
                }
            }
            Err(error) if error.is_not_found() => {
                let detail = format!("job {id} was deleted; its end is not known");
                let report = ErrorReport::no_such_job(detail);
                self.progress.suspend(|| report.print_line(self.context.json));
                self.jobs.borrow_mut().remove_deleted(id);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Shows the expected end: every few seconds in the progress line, else once in a notice. Never
    /// returns.
    async fn announce_expected_end(&self) -> Infallible {
        let is_visible = self.progress.is_visible();
        if self.quiet {
            return std::future::pending().await;
        }
        loop {
            let ids: Vec<_> = self.jobs.borrow().awaited_ids().collect();
            let end = self.expected_end(&ids).await;
            self.progress.set_expected_end(end.as_deref());
            if is_visible {
                sleep(Self::FORECAST_INTERVAL).await;
                continue;
            }
            if let Some(end) = end {
                self.notify(&end);
                return std::future::pending().await;
            }
            sleep(Self::FIRST_FORECAST_INTERVAL).await;
        }
    }

    async fn expected_end(&self, ids: &[JobId]) -> Option<String> {
        if ids.len() > Self::MAX_FORECAST_JOBS {
            return None;
        }
        let mut ends = Vec::with_capacity(ids.len());
        for id in ids {
            // An error is ignored: the event stream reports an unavailable daemon.
            let forecast = self.context.client.job(*id).await.ok().and_then(|job| job.forecast);
            ends.push(forecast.and_then(|forecast| forecast.expected_remaining_s));
        }
        forecast::describe_expected_end(&ends, self.jobs.borrow().exits_after_any_job())
    }

    fn notify(&self, text: &str) {
        if !self.quiet {
            self.progress.suspend(|| self.context.print_notice(text));
        }
    }

    /// Whether a line is printed for each job.
    fn prints_all(&self) -> bool {
        self.context.json || self.job_count <= Self::MAX_PRINTED_JOBS
    }

    fn print_job(&self, job: &Job) -> io::Result<()> {
        if self.quiet || !(self.prints_all() || job.state != State::Succeeded) {
            return Ok(());
        }
        self.print(|| self.context.print_job(job))
    }

    fn print(&self, print: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match self.progress.suspend(print) {
            // The reader of our output has closed the pipe; the exit code is still the jobs' result.
            Err(error) if stdio::is_broken_pipe(&error) => Ok(()),
            printed => printed,
        }
    }
}
