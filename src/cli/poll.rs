//! `jobtrack poll`: polls a job now and prints it.

use std::process::ExitCode;

use super::error_report::ErrorReport;
use super::{CommandContext, resolve, stdio};
use crate::api::OnDemandResponse;
use crate::job::JobRef;

#[derive(clap::Args)]
pub(super) struct PollArgs {
    /// A job number, `PROVIDER/REMOTE_ID` or `REMOTE_ID`
    job: JobRef,
}

pub(super) async fn run(context: &CommandContext, args: PollArgs) -> anyhow::Result<ExitCode> {
    let job = resolve::require_job(&context.client, &args.job).await?;
    match context.client.poll(job.id).await? {
        OnDemandResponse::Completed(job) => {
            context.print_job(&job)?;
            if let Some(error) = &job.last_poll_error {
                let report = ErrorReport::poll_failed(format!("the poll failed: {error}"));
                return Ok(ExitCode::from(report.print(context.json)));
            }
        }
        OnDemandResponse::Pending(job) if context.json => stdio::print_json_lines(&[job])?,
        OnDemandResponse::Pending(_) => {
            stdio::print_lines(&[
                "the provider has not answered yet; see `jobtrack show`".to_owned()
            ])?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
