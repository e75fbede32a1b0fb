//! `jobtrack cancel`: asks the providers to cancel jobs, one after the other.
//!
//! A job that does not exist or cannot be cancelled does not stop the others.

use std::process::ExitCode;

use super::job_args::{JobArg, read_job_refs};
use super::{CommandContext, EXIT_REJECTED, render, resolve, stdio};
use crate::api::{ClientError, OnDemandResponse};
use crate::job::JobRef;

const EXAMPLES: &str = "\
Asks the provider to cancel the job, then polls the job and prints its state. The provider may
need a while until the job has ended; `jobtrack wait` waits for that.
Exit: 0 all cancellations were accepted, 1 one was rejected (also if the job is finished or does
not exist), 2 usage, 69 no daemon.";

#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct CancelArgs {
    /// Job numbers or `PROVIDER/REMOTE_ID`, or - to read one per line from standard input
    #[arg(value_name = "JOB", required = true)]
    jobs: Vec<JobArg>,
}

pub(super) async fn run(context: &CommandContext, args: CancelArgs) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for job_ref in read_job_refs(&args.jobs)? {
        let rejection = match job_ref {
            Ok(job_ref) => {
                cancel_one(context, &job_ref).await?.map(|reason| format!("{job_ref}: {reason}"))
            }
            Err(error) => Some(error.to_string()),
        };
        if let Some(reason) = rejection {
            stdio::print_notice(reason);
            code = ExitCode::from(EXIT_REJECTED);
        }
    }
    Ok(code)
}

/// Cancels one job and prints it; returns the reason if it was rejected.
async fn cancel_one(context: &CommandContext, job_ref: &JobRef) -> anyhow::Result<Option<String>> {
    let no_such_job = || Ok(Some("no such job".to_owned()));
    let Some(id) = resolve::find_job_id(&context.client, job_ref).await? else {
        return no_such_job();
    };
    let job = match context.client.cancel(id).await {
        Ok(OnDemandResponse::Completed(job) | OnDemandResponse::Pending(job)) => job,
        Err(ClientError::Rejected(problem)) if problem.code == "not_found" => return no_such_job(),
        Err(ClientError::Rejected(problem)) => return Ok(Some(problem.detail)),
        Err(error) => return Err(error.into()),
    };
    if context.json {
        stdio::print_json_lines(&[job])?;
    } else {
        stdio::print_lines(&[render::job_line(&job)])?;
    }
    Ok(None)
}
