//! `jobtrack cancel`: asks the providers to stop jobs. One that is refused, or a name that is no
//! job's, does not keep the others from it.

use std::io::{self, Read};
use std::process::ExitCode;

use super::{CommandContext, EXIT_REJECTED, output, render, resolve, stdin_lines};
use crate::api::{ClientError, OnDemandResponse};
use crate::job::{InvalidName, JobRef};

const EXAMPLES: &str = "\
The provider is asked to stop the job, then how the job is; its answer is what is printed, and it may
need a while to say that the job is over: `jobtrack wait` waits for that.
Exit: 0 all were asked; 1 one was refused, is over already, or is no job.";

/// The arguments of `cancel`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CancelArgs {
    /// Numbers, or `PROVIDER/REMOTE_ID`; or - for one a line from standard input
    #[arg(value_name = "JOB", required = true)]
    jobs: Vec<String>,
}

/// Cancels the jobs, one after the other.
pub(super) async fn run(context: &CommandContext, args: CancelArgs) -> anyhow::Result<ExitCode> {
    let mut names: Vec<Result<JobRef, InvalidName>> = Vec::new();
    for name in &args.jobs {
        if name == "-" {
            let mut input = Vec::new();
            io::stdin().read_to_end(&mut input)?;
            names.extend(stdin_lines::parse_job_refs(&String::from_utf8_lossy(&input)));
        } else {
            names.push(name.parse());
        }
    }
    let mut code = ExitCode::SUCCESS;
    for name in names {
        let rejection = match name {
            Ok(name) => cancel_one(context, &name).await?.map(|why| format!("{name}: {why}")),
            Err(error) => Some(error.to_string()),
        };
        if let Some(reason) = rejection {
            output::print_notice(reason);
            code = ExitCode::from(EXIT_REJECTED);
        }
    }
    Ok(code)
}

/// Cancels one; why it was refused, if it was.
async fn cancel_one(context: &CommandContext, name: &JobRef) -> anyhow::Result<Option<String>> {
    let Some(job) = resolve::find_job(&context.client, name).await? else {
        return Ok(Some("no such job".to_owned()));
    };
    let job = match context.client.cancel(job.id).await {
        Ok(OnDemandResponse::Completed(job) | OnDemandResponse::Pending(job)) => job,
        Err(ClientError::Rejected(problem)) => return Ok(Some(problem.detail)),
        Err(error) => return Err(error.into()),
    };
    if context.json {
        output::print_json_lines(&[job])?;
    } else {
        output::print_lines(&[render::job_line(&job)])?;
    }
    Ok(None)
}
