//! Sends jobs to the daemon in requests of up to [`AddRequest::MAX_JOBS`], and prints what became of each.
//!
//! Used by `add`. A remark that many jobs have in common is printed once, at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use super::error_report::ErrorReport;
use super::progress::AddProgress;
use super::{CommandContext, stdio};
use crate::api::{
    AddOutcome, AddRequest, AddRequestEntry, AddResponse, AddResponseEntry, ClientError,
};
use crate::clock::Clock;
use crate::escape::escape_unprintable;
use crate::job::{JobId, State, counted};

/// A larger request is split. The daemon's limit for a body is 4 MiB.
const MAX_REQUEST_BYTES: usize = 3 << 20;
/// How long a request is repeated to a daemon that is busy or closes the connection.
const RETRY_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_DELAY: Duration = Duration::from_millis(500);

pub(super) struct AddSender<'a> {
    context: &'a CommandContext,
    quiet: bool,
    progress: AddProgress,
    added: AddedJobs,
    /// The jobs that each remark concerns.
    remarks: BTreeMap<String, RemarkedJobs>,
}

/// What was added.
#[derive(Debug, Default)]
pub(super) struct AddedJobs {
    /// The jobs that are tracked now, each once.
    pub(super) ids: BTreeSet<JobId>,
    pub(super) any_rejected: bool,
}

#[derive(Debug)]
struct RemarkedJobs {
    first: String,
    count: usize,
}

impl<'a> AddSender<'a> {
    pub(super) fn new(context: &'a CommandContext, quiet: bool) -> Self {
        let (progress, added) = (AddProgress::hidden(), AddedJobs::default());
        Self { context, quiet, progress, added, remarks: BTreeMap::new() }
    }

    /// Shows the number of added jobs while they are read, if standard error is a terminal.
    pub(super) fn show_progress(&mut self) {
        self.progress = AddProgress::visible();
    }

    pub(super) fn reject_line(&mut self, number: u64, reason: &str) {
        let report = ErrorReport::invalid_line(format!("line {number} rejected: {reason}"));
        self.progress.suspend(|| report.print_line(self.context.json));
        self.added.any_rejected = true;
    }

    /// Prints the remarks, and returns what was added.
    pub(super) fn finish(self) -> AddedJobs {
        self.progress.finish();
        for (remark, RemarkedJobs { first, count }) in self.remarks {
            let rest = count - 1;
            let others = match rest {
                0 => String::new(),
                _ => format!(" and {}", counted(rest, "other")),
            };
            self.context.print_notice(&format!("{first}{others}: {remark}"));
        }
        self.added
    }

    /// Sends the jobs in one request, or in several if it would be too large.
    pub(super) async fn send_in_chunks(
        &mut self,
        jobs: Vec<AddRequestEntry>,
    ) -> anyhow::Result<()> {
        let mut pending = vec![AddRequest { jobs }];
        while let Some(mut request) = pending.pop() {
            if request.jobs.len() > 1 && serde_json::to_vec(&request)?.len() > MAX_REQUEST_BYTES {
                let rest = request.jobs.split_off(request.jobs.len() / 2);
                pending.extend([AddRequest { jobs: rest }, request]);
            } else if !request.jobs.is_empty() {
                self.send_request(&request).await?;
            }
        }
        Ok(())
    }

    async fn send_request(&mut self, request: &AddRequest) -> anyhow::Result<()> {
        let result = self.add_with_retries(request).await;
        let has_new_runs = request.jobs.iter().any(|job| job.again);
        let response = result.map_err(|error| add_retry_hint(error, has_new_runs))?;
        self.added.any_rejected |= response.jobs.iter().any(is_rejected);
        self.added.ids.extend(response.jobs.iter().filter_map(|job| job.id));
        self.progress.add(response.jobs.iter().filter(|job| !is_rejected(job)).count());
        if !self.quiet {
            response.jobs.iter().for_each(|job| self.remember_remark(job));
        }
        match self.progress.suspend(|| self.print_outcomes(response.jobs)) {
            // The reader of our output has closed the pipe; the remaining jobs are still added.
            Err(error) if stdio::is_broken_pipe(&error) => self.quiet = true,
            printed => printed?,
        }
        Ok(())
    }

    /// The daemon may have been restarted, or have closed the connection for another one because it received the
    /// request slowly. Adding a job twice is safe, but for a new run: it may have been added, and have ended since.
    async fn add_with_retries(&self, request: &AddRequest) -> Result<AddResponse, ClientError> {
        let clock = Clock::start();
        let begin = clock.monotonic_now();
        let in_time = || clock.monotonic_now().duration_since(begin) < RETRY_TIMEOUT;
        let is_repeatable = !request.jobs.iter().any(|job| job.again);
        let mut is_first = true;
        loop {
            let result = self.context.client.add(request).await;
            let retry = match &result {
                Err(ClientError::ConnectionLost(_)) => is_repeatable && (is_first || in_time()),
                Err(ClientError::Rejected(problem)) => problem.code == "busy" && in_time(),
                Ok(_)
                | Err(
                    ClientError::NoDaemon(_)
                    | ClientError::Busy(_)
                    | ClientError::Setup(_)
                    | ClientError::InvalidResponse(_),
                ) => false,
            };
            if !retry {
                return result;
            }
            if !std::mem::take(&mut is_first) {
                tokio::time::sleep(RETRY_DELAY).await;
            }
        }
    }

    /// Remembers what the user should know of a job that was not rejected.
    fn remember_remark(&mut self, job: &AddResponseEntry) {
        let remark = if let Some(warning) = &job.warning {
            format!("warning: {warning}")
        } else if job.outcome == AddOutcome::Existing && job.state.is_some_and(State::is_terminal) {
            "has ended and is not polled; if the service runs the same ID again, add it with --again".to_owned()
        } else {
            return;
        };
        let name = || escape_unprintable(&format!("{}/{}", job.provider, job.remote_id));
        let remarked = || RemarkedJobs { first: name(), count: 0 };
        self.remarks.entry(remark).or_insert_with(remarked).count += 1;
    }

    fn print_outcomes(&self, mut jobs: Vec<AddResponseEntry>) -> io::Result<()> {
        if self.quiet {
            jobs.retain(is_rejected);
        }
        if self.context.json {
            return stdio::print_json_lines(&jobs);
        }
        let mut lines = Vec::new();
        for job in &jobs {
            let name = escape_unprintable(&format!("{}/{}", job.provider, job.remote_id));
            let id = job.id.map_or_else(|| "-".to_owned(), |id| id.to_string());
            match job.outcome {
                AddOutcome::Added => lines.push(format!("{id} {name} added")),
                AddOutcome::Existing => lines.push(format!("{id} {name} existing")),
                AddOutcome::Rejected => {
                    let reason = job.error.as_deref().unwrap_or("unknown reason");
                    stdio::print_stderr_line(format!("{id} {name} rejected: {reason}"));
                }
            }
        }
        stdio::print_lines(&lines)
    }
}

fn is_rejected(job: &AddResponseEntry) -> bool {
    job.outcome == AddOutcome::Rejected
}

/// Adds advice to an error after which some jobs may have been added.
fn add_retry_hint(error: ClientError, has_new_runs: bool) -> anyhow::Error {
    let outcome_unknown = match &error {
        ClientError::ConnectionLost(_) => true,
        ClientError::Rejected(problem) => problem.code == "busy",
        ClientError::NoDaemon(_)
        | ClientError::Busy(_)
        | ClientError::Setup(_)
        | ClientError::InvalidResponse(_) => false,
    };
    let error = anyhow::Error::from(error);
    if outcome_unknown {
        error.context(if has_new_runs {
            "some jobs may have been added; see `jobtrack list --all` before you repeat the command: \
             --again would add their runs twice"
        } else {
            "some jobs may not have been added; adding them again is safe"
        })
    } else {
        error
    }
}
