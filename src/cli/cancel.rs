//! `jobtrack cancel`: asks the providers to stop jobs. One that is refused, or a name that is no
//! job's, does not keep the others from it.

use std::io::{self, Read};
use std::process::ExitCode;

use super::{Context, REFUSED, lines, output, render, resolve};
use crate::api::{ClientError, Polled};
use crate::job::{InvalidName, JobRef};

const EXAMPLES: &str = "\
The provider is asked to stop the job, then how the job is; its answer is what is printed, and it may
need a while to say that the job is over: `jobtrack wait` waits for that.
Exit: 0 all were asked; 1 one was refused, is over already, or is no job.";

/// The arguments of `cancel`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Numbers, or `PROVIDER/REMOTE_ID`; or - for one a line from standard input
    #[arg(value_name = "JOB", required = true)]
    jobs: Vec<String>,
}

/// Cancels the jobs, one after the other.
pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<ExitCode> {
    let mut names: Vec<Result<JobRef, InvalidName>> = Vec::new();
    for name in &args.jobs {
        if name == "-" {
            let mut input = Vec::new();
            io::stdin().read_to_end(&mut input)?;
            names.extend(lines::job_names(&String::from_utf8_lossy(&input)));
        } else {
            names.push(name.parse());
        }
    }
    let mut code = ExitCode::SUCCESS;
    for name in names {
        let refused = match name {
            Ok(name) => cancel(context, &name).await?.map(|why| format!("{name}: {why}")),
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = refused {
            output::note(why);
            code = ExitCode::from(REFUSED);
        }
    }
    Ok(code)
}

/// Cancels one; why it was refused, if it was.
async fn cancel(context: &Context, name: &JobRef) -> anyhow::Result<Option<String>> {
    let Some(job) = resolve::find(&context.client, name).await? else {
        return Ok(Some("no such job".to_owned()));
    };
    let job = match context.client.cancel(job.id).await {
        Ok(Polled::Answered(job) | Polled::Pending(job)) => job,
        Err(ClientError::Refused(problem)) => return Ok(Some(problem.detail)),
        Err(error) => return Err(error.into()),
    };
    if context.json {
        output::print_json(&[job])?;
    } else {
        output::print(&[render::job_line(&job)])?;
    }
    Ok(None)
}
