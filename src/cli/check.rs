//! `jobtrack check`: tests a provider's address, credential and clock, and prints what to change.

use std::process::ExitCode;

use super::{CommandContext, EXIT_REJECTED, stdio};
use crate::api::ConnectionCheckResponse;
use crate::escape::escape_unprintable;
use crate::job::{FindingKind, ProviderName};

#[derive(clap::Args)]
pub(super) struct CheckArgs {
    /// A configured provider; one request is sent, for a job that does not exist
    provider: ProviderName,
}

pub(super) async fn run(context: &CommandContext, args: CheckArgs) -> anyhow::Result<ExitCode> {
    let response = context.client.check(&args.provider).await?;
    if context.json {
        stdio::print_json_lines(&[&response])?;
    } else {
        stdio::print_lines(&report_lines(&response))?;
    }
    Ok(if response.ok { ExitCode::SUCCESS } else { ExitCode::from(EXIT_REJECTED) })
}

fn report_lines(response: &ConnectionCheckResponse) -> Vec<String> {
    let detail = &response.finding.detail;
    let finding = match response.finding.kind {
        FindingKind::Ok => "ok: the provider accepts requests".to_owned(),
        FindingKind::InvalidCredentials => format!("credential rejected: {detail}"),
        FindingKind::PermissionDenied => format!("permission denied: {detail}"),
        FindingKind::WrongEndpoint => format!("wrong address: {detail}"),
        FindingKind::NameNotResolved => format!("host name not resolved: {detail}"),
        FindingKind::ProxyFailed => format!("proxy failed: {detail}"),
        FindingKind::UntrustedCertificate => format!("certificate not trusted: {detail}"),
        FindingKind::Unreachable => format!("unreachable: {detail}"),
        FindingKind::RateLimited => format!("rate limit reached: {detail}"),
        FindingKind::QuotaExceeded => format!("quota used up: {detail}"),
        FindingKind::ServiceError => format!("provider error: {detail}"),
        FindingKind::UnrecognizedAnswer => format!("unrecognized answer: {detail}"),
    };
    let advice = response.advice.iter().map(|line| format!("  {}", escape_unprintable(line)));
    [escape_unprintable(&format!("{}: {finding}", response.provider))]
        .into_iter()
        .chain(advice)
        .collect()
}
