//! `jobtrack pin` and `jobtrack unpin`: whether jobs are kept whatever their age.
//!
//! A job that does not exist or is ambiguous does not stop the others.

use std::process::ExitCode;

use super::CommandContext;
use super::error_report::JobErrors;
use super::job_command::run_for_job;
use super::render::pin_line;
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
    let command = async |id| context.client.set_pinned(id, pinned).await;
    for name in &args.jobs {
        run_for_job(context, name, &mut errors, pin_line, command).await?;
    }
    Ok(errors.exit_code())
}
