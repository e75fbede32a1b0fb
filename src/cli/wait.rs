//! `jobtrack wait`: waits until jobs have ended or run; the exit code is their result.
//!
//! This file finds the jobs; `job_waiter` waits for them.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use super::error_report::{ErrorReport, JobErrors};
use super::event_follower::retry_while_unavailable;
use super::job_args::{JobArg, read_job_refs};
use super::job_waiter::JobWaiter;
use super::resolve::{self, FoundJobs};
use super::waited_jobs::{AwaitedState, EarlyExit, WaitedJobs};
use super::{CommandContext, EXIT_NO_SUCH_JOB, EXIT_UNAVAILABLE, EXIT_USAGE};
use crate::api::DaemonStatus;
use crate::job::{InvalidText, JobId, JobRef, parse_label};

const EXAMPLES: &str = "\
Examples:
  jobtrack wait 17 dune/01GBM4W2N0NMCGPZYW8AYK4YF1 --timeout 2h
  jobtrack wait --label batch=nightly && echo all succeeded
  jobtrack add dune - --label batch=7 < ids && jobtrack wait --label batch=7
Prints on standard error the expected end, if similar runs are known, and what keeps jobs from
being polled. Of more than 100 jobs, only those that did not succeed are printed, and a summary.
Exit: 0 all succeeded; 1 one failed, was cancelled or expired; 2 usage, or several providers
have a job REMOTE_ID; 3 one is indeterminate, lost or untracked; 4 no such job, or one was deleted; 69 the
daemon was unavailable for a minute, or another error; 124 timeout.";

/// Shorter timeouts are extended to this, so that `--timeout 0s` tests whether the jobs have ended.
const MIN_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct WaitArgs {
    /// Job numbers, `PROVIDER/REMOTE_ID` or `REMOTE_ID`, or - to read one per line from standard input
    #[arg(value_name = "JOB", required_unless_present = "labels")]
    jobs: Vec<JobArg>,
    /// All jobs with this label, finished ones included; if repeated, all labels must match
    #[arg(long = "label", value_name = "K=V", value_parser = parse_label, conflicts_with = "jobs")]
    labels: Vec<(String, String)>,
    /// Stop waiting after this time and exit with 124
    #[arg(long, value_name = "DUR", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// Wait only until one of the jobs has ended
    #[arg(long)]
    any: bool,
    /// Wait only until one of the jobs has ended without success
    #[arg(long, conflicts_with = "any")]
    fail_fast: bool,
    /// What to wait for
    #[arg(long = "for", value_name = "WHAT", value_enum, default_value = "end")]
    awaited_state: AwaitedState,
    /// Print errors only; the exit code is the result
    #[arg(short, long)]
    quiet: bool,
}

/// The options of a wait that begins with another command.
#[derive(Debug, Clone, Copy)]
pub(super) struct WaitRequest {
    pub(super) timeout: Option<Duration>,
    pub(super) quiet: bool,
}

pub(super) async fn run(context: &CommandContext, args: WaitArgs) -> anyhow::Result<ExitCode> {
    // Before the time for --timeout begins.
    let names = read_job_refs(&args.jobs).context("cannot read standard input");
    let waiting = async { wait_for_jobs(context, &args, names?).await };
    Ok(with_timeout(context, args.timeout, args.awaited_state, waiting).await)
}

/// Waits for the end of jobs that were added after `status` was read.
pub(super) async fn wait_for_ids(
    context: &CommandContext,
    ids: BTreeSet<JobId>,
    status: DaemonStatus,
    request: WaitRequest,
) -> ExitCode {
    let waiting = async {
        let notify = |text: &str| {
            if !request.quiet {
                context.print_notice(text);
            }
        };
        let mut jobs = Vec::with_capacity(ids.len());
        for id in ids {
            let read = async || context.client.job(id).await;
            jobs.push(retry_while_unavailable(&notify, read).await?);
        }
        let waited = WaitedJobs::new(AwaitedState::End, EarlyExit::Never);
        let job_waiter = JobWaiter::new(context, waited, jobs.len(), request.quiet);
        Ok(ExitCode::from(Box::pin(job_waiter.run(jobs, status)).await?))
    };
    with_timeout(context, request.timeout, AwaitedState::End, waiting).await
}

/// An error that has exit code 1 in other commands exits with [`EXIT_UNAVAILABLE`], because 1 is a result of jobs.
async fn with_timeout(
    context: &CommandContext,
    limit: Option<Duration>,
    awaited_state: AwaitedState,
    waiting: impl Future<Output = anyhow::Result<ExitCode>>,
) -> ExitCode {
    let result = match limit.map(|limit| limit.max(MIN_TIMEOUT)) {
        None => waiting.await,
        Some(limit) => tokio::time::timeout(limit, waiting).await.unwrap_or_else(|_| {
            let report = ErrorReport::timed_out(match awaited_state {
                AwaitedState::Running => "timeout: not all jobs run or have ended",
                AwaitedState::End => "timeout: not all jobs have ended",
            });
            Ok(ExitCode::from(report.print_line(context.json)))
        }),
    };
    result.unwrap_or_else(|error| {
        let code = ErrorReport::of(&error).print(context.json);
        let is_kept = [EXIT_USAGE, EXIT_NO_SUCH_JOB].contains(&code);
        ExitCode::from(if is_kept { code } else { EXIT_UNAVAILABLE })
    })
}

async fn wait_for_jobs(
    context: &CommandContext,
    args: &WaitArgs,
    names: Vec<Result<JobRef, InvalidText>>,
) -> anyhow::Result<ExitCode> {
    let client = &context.client;
    let notify = |text: &str| {
        if !args.quiet {
            context.print_notice(text);
        }
    };
    let status = retry_while_unavailable(&notify, async || client.status().await).await?;
    let FoundJobs { jobs, missing } = if args.labels.is_empty() {
        retry_while_unavailable(&notify, async || resolve::find_jobs(client, &names).await).await?
    } else {
        let find = async || resolve::find_jobs_by_labels(client, &args.labels).await;
        let jobs = retry_while_unavailable(&notify, find).await?;
        FoundJobs { jobs, missing: Vec::new() }
    };
    if !missing.is_empty() || jobs.is_empty() {
        let mut errors = JobErrors::new(context.json);
        if missing.is_empty() {
            errors.report_missing("standard input is empty, or no job has these labels");
        }
        for name in &missing {
            errors.report_missing(name);
        }
        return Ok(errors.exit_code());
    }
    let waited = WaitedJobs::new(args.awaited_state, args.early_exit());
    let job_waiter = JobWaiter::new(context, waited, jobs.len(), args.quiet);
    Ok(ExitCode::from(Box::pin(job_waiter.run(jobs, status)).await?))
}

impl WaitArgs {
    fn early_exit(&self) -> EarlyExit {
        if self.any {
            EarlyExit::AnyJob
        } else if self.fail_fast {
            EarlyExit::AnyFailure
        } else {
            EarlyExit::Never
        }
    }
}
