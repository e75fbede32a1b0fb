//! `jobtrack poll`: asks the provider about a job now. That the question failed changes nothing
//! about the job, so it is told and is no failure of the command.

use std::process::ExitCode;

use super::{CommandContext, EXIT_REJECTED, output, render, resolve};
use crate::api::OnDemandResponse;
use crate::job::JobRef;

/// The arguments of `poll`.
#[derive(clap::Args)]
pub(super) struct PollArgs {
    /// A number, or `PROVIDER/REMOTE_ID`
    job: JobRef,
}

/// Polls the job.
pub(super) async fn run(context: &CommandContext, args: PollArgs) -> anyhow::Result<ExitCode> {
    let job = resolve::require_job(&context.client, &args.job).await?;
    match context.client.poll(job.id).await? {
        OnDemandResponse::Completed(job) => {
            if context.json {
                output::print_json_lines(&[&job])?;
            } else {
                output::print_lines(&[render::job_line(&job)])?;
            }
            if let Some(error) = &job.last_poll_error {
                output::print_notice(format!("the poll failed: {error}"));
                return Ok(ExitCode::from(EXIT_REJECTED));
            }
        }
        OnDemandResponse::Pending(job) if context.json => output::print_json_lines(&[job])?,
        OnDemandResponse::Pending(_) => {
            output::print_lines(&["asked; the answer is not in yet".to_owned()])?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
