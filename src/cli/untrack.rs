//! `jobtrack untrack`: stops tracking jobs; their history stays. A name that is no job's does not
//! keep the others from it.

use std::process::ExitCode;

use super::{Context, REFUSED, output, render, resolve};
use crate::api::ClientError;
use crate::job::JobRef;

/// The arguments of `untrack`.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Numbers, or `PROVIDER/REMOTE_ID`
    #[arg(value_name = "JOB", required = true)]
    jobs: Vec<JobRef>,
}

/// Untracks the jobs.
pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for name in &args.jobs {
        let Some(job) = resolve::find(&context.client, name).await? else {
            output::note(format!("no such job: {name}"));
            code = ExitCode::from(REFUSED);
            continue;
        };
        match context.client.untrack(job.id).await {
            Ok(job) if context.json => output::print_json(&[job])?,
            Ok(job) => output::print(&[render::job_line(&job)])?,
            Err(ClientError::Refused(problem)) => {
                output::note(format!("{name}: {}", problem.detail));
                code = ExitCode::from(REFUSED);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(code)
}
