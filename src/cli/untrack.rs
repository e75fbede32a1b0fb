//! `jobtrack untrack`: stops tracking jobs; their history is kept.
//!
//! A job that does not exist does not stop the others.

use std::process::ExitCode;

use super::error_report::JobErrors;
use super::{CommandContext, resolve};
use crate::api::ClientError;
use crate::job::JobRef;

#[derive(clap::Args)]
pub(super) struct UntrackArgs {
    /// Job numbers or `PROVIDER/REMOTE_ID`
    #[arg(value_name = "JOB", required = true)]
    jobs: Vec<JobRef>,
}

pub(super) async fn run(context: &CommandContext, args: UntrackArgs) -> anyhow::Result<ExitCode> {
    let mut errors = JobErrors::new(context.json);
    for name in &args.jobs {
        let untracked = match resolve::find_job_id(&context.client, name).await? {
            Some(id) => context.client.untrack(id).await.map(Some),
            None => Ok(None),
        };
        match untracked {
            Ok(Some(job)) => context.print_job(&job)?,
            Ok(None) => errors.report_missing(name),
            Err(ClientError::Rejected(problem)) if problem.code == "not_found" => {
                errors.report_missing(name);
            }
            Err(ClientError::Rejected(problem)) => errors.report_rejected(name, &problem),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(errors.exit_code())
}
