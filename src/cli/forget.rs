//! `jobtrack forget`: makes the daemon forget how long jobs of a provider took.

use std::process::ExitCode;

use super::{CommandContext, output};
use crate::job::ProviderName;

/// The arguments of `forget`.
#[derive(clap::Args)]
pub(super) struct ForgetDurationsArgs {
    /// Whose jobs; it need not be configured any more
    provider: ProviderName,
    /// Only runs that go by this name, such as "query 980708"; `jobtrack show` tells a job's
    #[arg(long, value_name = "NAME")]
    similar_to: Option<String>,
}

/// Forgets, and tells how many runs.
pub(super) async fn run(
    context: &CommandContext,
    args: ForgetDurationsArgs,
) -> anyhow::Result<ExitCode> {
    let answer =
        context.client.forget_durations(&args.provider, args.similar_to.as_deref()).await?;
    if context.json {
        output::print_json_lines(&[answer])?;
    } else {
        let runs = if answer.forgotten_count == 1 { "run" } else { "runs" };
        output::print_lines(&[format!(
            "{}: {} {runs} forgotten",
            answer.provider, answer.forgotten_count
        )])?;
    }
    Ok(ExitCode::SUCCESS)
}
