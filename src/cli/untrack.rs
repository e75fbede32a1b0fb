//! `jobtrack untrack`: stops tracking jobs; their history is kept.
//!
//! A job that does not exist or is ambiguous does not stop the others.

use std::process::ExitCode;

use super::error_report::JobErrors;
use super::{CommandContext, resolve};
use crate::job::JobRef;

#[derive(clap::Args)]
pub(super) struct UntrackArgs {
    /// Job numbers, `PROVIDER/REMOTE_ID` or `REMOTE_ID`
    #[arg(value_name = "JOB", required = true)]
    jobs: Vec<JobRef>,
}

pub(super) async fn run(context: &CommandContext, args: UntrackArgs) -> anyhow::Result<ExitCode> {
    let mut errors = JobErrors::new(context.json);
    for name in &args.jobs {
        let untracked = match resolve::find_job_id(&context.client, name).await {
            Ok(Some(id)) => context.client.untrack(id).await.map(Some),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        match untracked {
            Ok(Some(job)) => context.print_job(&job)?,
            Ok(None) => errors.report_missing(name),
            Err(error) => errors.report(name, error)?,
        }
    }
    Ok(errors.exit_code())
}
