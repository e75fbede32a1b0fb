//! `jobtrack forget`: deletes the learned durations of a provider; jobs and history stay.

use std::process::ExitCode;

use super::{CommandContext, stdio};
use crate::job::{ProviderName, counted};

#[derive(clap::Args)]
pub(super) struct ForgetDurationsArgs {
    /// The provider, which need not be configured any more
    provider: ProviderName,
    /// Only durations of this name, such as "query 980708"; `jobtrack show` lists the names of a
    /// job
    #[arg(long, value_name = "NAME")]
    similar_to: Option<String>,
}

pub(super) async fn run(
    context: &CommandContext,
    args: ForgetDurationsArgs,
) -> anyhow::Result<ExitCode> {
    let response =
        context.client.forget_durations(&args.provider, args.similar_to.as_deref()).await?;
    if context.json {
        stdio::print_json_lines(&[response])?;
    } else {
        let runs = counted(response.forgotten_count, "run");
        stdio::print_lines(&[format!("{}: {runs} forgotten", response.provider)])?;
    }
    Ok(ExitCode::SUCCESS)
}
