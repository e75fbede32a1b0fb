//! `jobtrack cancel`: asks the providers to cancel jobs, one after the other.
//!
//! A job that does not exist, is ambiguous or cannot be cancelled does not stop the others.

use std::process::ExitCode;

use super::CommandContext;
use super::error_report::JobErrors;
use super::job_args::{JobArg, read_job_refs};
use super::job_command::run_for_job;
use super::render::job_line;
use crate::api::OnDemandResponse;

const EXAMPLES: &str = "\
Asks the provider to cancel the job, then polls the job and prints its state. The provider may
need a while until the job has ended; `jobtrack wait` waits for that.
Exit: 0 all cancellations were accepted, 1 one was rejected (also if the job is finished), 2 usage, or
several providers have a job REMOTE_ID, 4 no such job, 69 no daemon.";

#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct CancelArgs {
    /// Job numbers, `PROVIDER/REMOTE_ID` or `REMOTE_ID`, or - to read one per line from standard input
    #[arg(value_name = "JOB", required = true)]
    jobs: Vec<JobArg>,
}

pub(super) async fn run(context: &CommandContext, args: CancelArgs) -> anyhow::Result<ExitCode> {
    let mut errors = JobErrors::new(context.json);
    let cancel = async |id| match context.client.cancel(id).await? {
        OnDemandResponse::Completed(job) | OnDemandResponse::Pending(job) => Ok(job),
    };
    for job_ref in read_job_refs(&args.jobs)? {
        match job_ref {
            Ok(job_ref) => run_for_job(context, &job_ref, &mut errors, job_line, cancel).await?,
            Err(error) => errors.report_missing(error),
        }
    }
    Ok(errors.exit_code())
}
