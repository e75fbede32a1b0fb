//! `jobtrack cancel`: asks the providers to cancel jobs, one after the other.
//!
//! A job that does not exist or cannot be cancelled does not stop the others.

use std::process::ExitCode;

use super::error_report::JobErrors;
use super::job_args::{JobArg, read_job_refs};
use super::{CommandContext, resolve};
use crate::api::{ClientError, OnDemandResponse};
use crate::job::JobRef;

const EXAMPLES: &str = "\
Asks the provider to cancel the job, then polls the job and prints its state. The provider may
need a while until the job has ended; `jobtrack wait` waits for that.
Exit: 0 all cancellations were accepted, 1 one was rejected (also if the job is finished), 2 usage,
4 no such job, 69 no daemon.";

#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct CancelArgs {
    /// Job numbers or `PROVIDER/REMOTE_ID`, or - to read one per line from standard input
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
    let Some(id) = resolve::find_job_id(&context.client, job_ref).await? else {
        errors.report_missing(job_ref);
        return Ok(());
    };
    match context.client.cancel(id).await {
        Ok(OnDemandResponse::Completed(job) | OnDemandResponse::Pending(job)) => {
            context.print_job(&job)?;
        }
        Err(ClientError::Rejected(problem)) if problem.code == "not_found" => {
            errors.report_missing(job_ref);
        }
        Err(ClientError::Rejected(problem)) => errors.report_rejected(job_ref, &problem),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
