//! `jobtrack cancel`: asks the providers to cancel jobs, one after the other.
//!
//! A job that does not exist, is ambiguous or cannot be cancelled does not stop the others.

use std::process::ExitCode;

use super::error_report::JobErrors;
use super::job_args::{JobArg, read_job_refs};
use super::{CommandContext, resolve};
use crate::api::OnDemandResponse;
use crate::job::JobRef;

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
    for job_ref in read_job_refs(&args.jobs)? {
        match job_ref {
            Ok(job_ref) => cancel_one(context, &job_ref, &mut errors).await?,
            Err(error) => errors.report_missing(error),
        }
    }
    Ok(errors.exit_code())
}

/// Cancels one job and prints it, or the reason why it is not cancelled.
async fn cancel_one(
    context: &CommandContext,
    job_ref: &JobRef,
    errors: &mut JobErrors,
) -> anyhow::Result<()> {
    let cancelled = match resolve::find_job_id(&context.client, job_ref).await {
        Ok(Some(id)) => context.client.cancel(id).await.map(Some),
        Ok(None) => Ok(None),
        Err(error) => Err(error),
    };
    match cancelled {
        Ok(Some(OnDemandResponse::Completed(job) | OnDemandResponse::Pending(job))) => {
            context.print_job(&job)?;
        }
        Ok(None) => errors.report_missing(job_ref),
        Err(error) => errors.report(job_ref, error)?,
    }
    Ok(())
}
