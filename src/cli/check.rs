//! `jobtrack check`: asks a provider whether all is well between us, and tells what to mend if not.

use std::process::ExitCode;

use super::render::sanitize;
use super::{CommandContext, EXIT_REJECTED, output};
use crate::api::ConnectionCheckResponse;
use crate::job::{Finding, ProviderName};

/// The arguments of `check`.
#[derive(clap::Args)]
pub(super) struct CheckArgs {
    /// A configured provider; one request is made, for a job that cannot exist
    provider: ProviderName,
}

/// Checks the provider.
pub(super) async fn run(context: &CommandContext, args: CheckArgs) -> anyhow::Result<ExitCode> {
    let answer = context.client.check(&args.provider).await?;
    if context.json {
        output::print_json_lines(&[&answer])?;
    } else {
        output::print_lines(&report_lines(&answer))?;
    }
    Ok(if answer.ok { ExitCode::SUCCESS } else { ExitCode::from(EXIT_REJECTED) })
}

fn report_lines(answer: &ConnectionCheckResponse) -> Vec<String> {
    let finding = match &answer.finding {
        Finding::Ok => "the service knows us and answers".to_owned(),
        Finding::InvalidCredentials(told) => format!("credentials: {told}"),
        Finding::PermissionDenied(told) => format!("permission: {told}"),
        Finding::WrongEndpoint(told) => format!("endpoint: {told}"),
        Finding::Unreachable(told) => format!("unreachable: {told}"),
        Finding::RateLimited(told) => format!("rate limit: {told}"),
        Finding::QuotaExceeded(told) => format!("quota: {told}"),
        Finding::ServiceError(told) => format!("trouble at the service: {told}"),
        Finding::UnrecognizedAnswer(told) => format!("unclear: {told}"),
    };
    let advice = answer.advice.iter().map(|line| format!("  {}", sanitize(line)));
    [sanitize(&format!("{}: {finding}", answer.provider))].into_iter().chain(advice).collect()
}
