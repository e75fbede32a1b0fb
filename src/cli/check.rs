//! `jobtrack check`: asks a provider whether all is well between us, and tells what to mend if not.

use std::process::ExitCode;

use super::render::plain;
use super::{Context, REFUSED, output};
use crate::api::CheckAnswer;
use crate::job::{Finding, ProviderName};

/// The arguments of `check`.
#[derive(clap::Args)]
pub(super) struct Args {
    /// A configured provider; one request is made, for a job that cannot exist
    provider: ProviderName,
}

/// Checks the provider.
pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<ExitCode> {
    let answer = context.client.check(&args.provider).await?;
    if context.json {
        output::print_json(&[&answer])?;
    } else {
        output::print(&lines(&answer))?;
    }
    Ok(if answer.well { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
}

fn lines(answer: &CheckAnswer) -> Vec<String> {
    let found = match &answer.finding {
        Finding::Well => "the service knows us and answers".to_owned(),
        Finding::Credentials(told) => format!("credentials: {told}"),
        Finding::Permission(told) => format!("permission: {told}"),
        Finding::Endpoint(told) => format!("endpoint: {told}"),
        Finding::Unreachable(told) => format!("unreachable: {told}"),
        Finding::RateLimited(told) => format!("rate limit: {told}"),
        Finding::Quota(told) => format!("quota: {told}"),
        Finding::Trouble(told) => format!("trouble at the service: {told}"),
        Finding::Unclear(told) => format!("unclear: {told}"),
    };
    let advice = answer.advice.iter().map(|line| format!("  {}", plain(line)));
    [plain(&format!("{}: {found}", answer.provider))].into_iter().chain(advice).collect()
}
