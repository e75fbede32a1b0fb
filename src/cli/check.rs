//! `jobtrack check`: asks a provider whether all is well between us, and tells what to mend if not.

use std::process::ExitCode;

use super::render::sanitize;
use super::{CommandContext, EXIT_REJECTED, output};
use crate::api::ConnectionCheckResponse;
use crate::job::{FindingKind, ProviderName};

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
    let detail = &answer.finding.detail;
    let finding = match answer.finding.kind {
        FindingKind::Ok => "ok: the service accepts the credentials and answers".to_owned(),
        FindingKind::InvalidCredentials => format!("invalid credentials: {detail}"),
        FindingKind::PermissionDenied => format!("permission denied: {detail}"),
        FindingKind::WrongEndpoint => format!("wrong endpoint: {detail}"),
        FindingKind::Unreachable => format!("unreachable: {detail}"),
        FindingKind::RateLimited => format!("rate limited: {detail}"),
        FindingKind::QuotaExceeded => format!("quota exceeded: {detail}"),
        FindingKind::ServiceError => format!("service error: {detail}"),
        FindingKind::UnrecognizedAnswer => format!("unrecognized answer: {detail}"),
    };
    let advice = answer.advice.iter().map(|line| format!("  {}", sanitize(line)));
    [sanitize(&format!("{}: {finding}", answer.provider))].into_iter().chain(advice).collect()
}
