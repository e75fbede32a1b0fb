//! `jobtrack forget`: makes the daemon forget how long jobs of a provider took.

use std::process::ExitCode;

use super::{Context, output};
use crate::job::ProviderName;

/// The arguments of `forget`.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Whose jobs; it need not be configured any more
    provider: ProviderName,
    /// Only runs that go by this name, such as "query 980708"; `jobtrack show` tells a job's
    #[arg(long, value_name = "NAME")]
    like: Option<String>,
}

/// Forgets, and tells how many runs.
pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<ExitCode> {
    let answer = context.client.forget(&args.provider, args.like.as_deref()).await?;
    if context.json {
        output::print_json(&[answer])?;
    } else {
        let runs = if answer.forgotten == 1 { "run" } else { "runs" };
        output::print(&[format!("{}: {} {runs} forgotten", answer.provider, answer.forgotten)])?;
    }
    Ok(ExitCode::SUCCESS)
}
