//! Gives a command for each of several jobs and prints the jobs. A job that does not exist, is ambiguous or whose
//! command is rejected does not stop the others.
//!
//! Used by `cancel`, `untrack`, `pin` and `unpin`.

use super::error_report::JobErrors;
use super::{CommandContext, resolve};
use crate::api::{ClientError, Job};
use crate::job::{JobId, JobRef};

/// Gives the command for one job and prints the job as `line` writes it, or the reason why it cannot be given.
pub(super) async fn run_for_job(
    context: &CommandContext,
    name: &JobRef,
    errors: &mut JobErrors,
    line: fn(&Job) -> String,
    command: impl AsyncFnOnce(JobId) -> Result<Job, ClientError>,
) -> anyhow::Result<()> {
    let result = match resolve::find_job_id(&context.client, name).await {
        Ok(Some(id)) => command(id).await.map(Some),
        Ok(None) => Ok(None),
        Err(error) => Err(error),
    };
    match result {
        Ok(Some(job)) => context.print_job_as(&job, line)?,
        Ok(None) => errors.report_missing(name),
        Err(error) => errors.report(name, error)?,
    }
    Ok(())
}
