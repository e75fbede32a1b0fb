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
        let untracked = match resolve::find_job_id(&context.client, name).await? {
            Some(id) => context.client.untrack(id).await.map(Some),
            None => Ok(None),
        };
        let job = match untracked {
            Err(ClientError::Rejected(problem)) if problem.code == "not_found" => None,
            Err(ClientError::Rejected(problem)) => {
                stdio::print_notice(format!("{name}: {}", problem.detail));
                code = ExitCode::from(EXIT_REJECTED);
                continue;
            }
            other => other?,
        };
        match job {
            Some(job) if context.json => stdio::print_json_lines(&[job])?,
            Some(job) => stdio::print_lines(&[render::job_line(&job)])?,
            None => {
                stdio::print_notice(format!("no such job: {name}"));
                code = ExitCode::from(EXIT_REJECTED);
            }
        }
    }
    Ok(code)
}
