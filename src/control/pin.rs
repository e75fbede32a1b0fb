//! Handlers of `PUT` and `DELETE /v1/jobs/{id}/pin`: whether a job is kept whatever its age.
//!
//! They send a command to the scheduler, which hands it to the writer, then read the job from the database. The
//! tracker does not know which jobs are pinned.

use axum::Json;
use axum::extract::State;

use crate::api::Job;
use crate::job::{AuditOutcome, AuditTarget};
use crate::store::SetPinned;

use super::app_state::AppState;
use super::audit::{CommandAudit, run_to_end};
use super::error::ApiError;
use super::extract::PathText;
use super::jobs::{find_job, find_job_by_path};

/// `PUT /v1/jobs/{id}/pin`
pub(super) async fn pin(
    State(app): State<AppState>,
    audit: CommandAudit,
    id: PathText,
) -> Result<Json<Job>, ApiError> {
    set_pinned(app, audit, id, true).await
}

/// `DELETE /v1/jobs/{id}/pin`
pub(super) async fn unpin(
    State(app): State<AppState>,
    audit: CommandAudit,
    id: PathText,
) -> Result<Json<Job>, ApiError> {
    set_pinned(app, audit, id, false).await
}

async fn set_pinned(
    app: AppState,
    audit: CommandAudit,
    id: PathText,
    pinned: bool,
) -> Result<Json<Job>, ApiError> {
    let job = audit.require(find_job_by_path(&app, id).await).await?;
    let Job { id, provider, remote_id, .. } = &job;
    let audit = audit.concerning(AuditTarget::Job {
        id: *id,
        provider: provider.clone(),
        remote_id: remote_id.clone(),
    });
    if job.pinned == pinned {
        let detail = if pinned { "the job was pinned already" } else { "the job was not pinned" };
        audit.record(AuditOutcome::Unchanged, detail).await;
        return Ok(Json(job));
    }
    let set = SetPinned { job: job.id, pinned, audit: Some(audit.entry()) };
    let handle = app.handle.clone();
    run_to_end(&app, async move { handle.set_pinned(set).await }).await??;
    find_job(&app, job.id).await.map(Json)
}
