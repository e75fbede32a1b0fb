//! `jobtrack untrack`: stops tracking jobs; their history is kept.
//!
//! A job that does not exist does not stop the others.

use std::process::ExitCode;

use super::{CommandContext, EXIT_REJECTED, render, resolve, stdio};
use crate::api::ClientError;
use crate::job::JobRef;

#[derive(clap::Args)]
pub(super) struct UntrackArgs {
    /// Job numbers or `PROVIDER/REMOTE_ID`
    #[arg(value_name = "JOB", required = true)]
    jobs: Vec<JobRef>,
}

pub(super) async fn run(context: &CommandContext, args: UntrackArgs) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for name in &args.jobs {
        let Some(job) = resolve::find_job(&context.client, name).await? else {
            stdio::print_notice(format!("no such job: {name}"));
            code = ExitCode::from(EXIT_REJECTED);
            continue;
        };
        match context.client.untrack(job.id).await {
            Ok(job) if context.json => stdio::print_json_lines(&[job])?,
            Ok(job) => stdio::print_lines(&[render::job_line(&job)])?,
            Err(ClientError::Rejected(problem)) => {
                stdio::print_notice(format!("{name}: {}", problem.detail));
                code = ExitCode::from(EXIT_REJECTED);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(code)
}
