//! `jobtrack poll`: asks the provider about a job now. That the question failed changes nothing
//! about the job, so it is told and is no failure of the command.

use std::process::ExitCode;

use super::{Context, REFUSED, output, render, resolve};
use crate::api::Polled;
use crate::job::JobRef;

/// The arguments of `poll`.
#[derive(clap::Args)]
pub(super) struct Args {
    /// A number, or `PROVIDER/REMOTE_ID`
    job: JobRef,
}

/// Polls the job.
pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<ExitCode> {
    let job = resolve::require(&context.client, &args.job).await?;
    match context.client.poll(job.id).await? {
        Polled::Answered(job) => {
            if context.json {
                output::print_json(&[&job])?;
            } else {
                output::print(&[render::job_line(&job)])?;
            }
            if let Some(why) = &job.last_poll_error {
                output::note(format!("the poll failed: {why}"));
                return Ok(ExitCode::from(REFUSED));
            }
        }
        Polled::Pending(job) if context.json => output::print_json(&[job])?,
        Polled::Pending(_) => output::print(&["asked; the answer is not in yet".to_owned()])?,
    }
    Ok(ExitCode::SUCCESS)
}
