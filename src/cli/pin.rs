//! `jobtrack pin` and `jobtrack unpin`: whether jobs are kept whatever their age.
//!
//! A job that does not exist or is ambiguous does not stop the others.

use std::process::ExitCode;

use super::error_report::JobErrors;
use super::{CommandContext, resolve};
use crate::job::JobRef;

#[derive(clap::Args)]
pub(super) struct PinArgs {
    /// Job numbers, `PROVIDER/REMOTE_ID` or `REMOTE_ID`
    #[arg(value_name = "JOB", required = true)]
    jobs: Vec<JobRef>,
}

pub(super) async fn run(
    context: &CommandContext,
    args: PinArgs,
    pinned: bool,
) -> anyhow::Result<ExitCode> {
    let mut errors = JobErrors::new(context.json);
    for name in &args.jobs {
        let changed = match resolve::find_job_id(&context.client, name).await {
            Ok(Some(id)) => context.client.set_pinned(id, pinned).await.map(Some),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        match changed {
            Ok(Some(job)) => context.print_job(&job)?,
            Ok(None) => errors.report_missing(name),
            Err(error) => errors.report(name, error)?,
        }
    }
    Ok(errors.exit_code())
}
