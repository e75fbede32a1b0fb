//! Handlers of `GET /v1/jobs` and `/v1/jobs/{id}/…`: list, show, untrack, poll, cancel.
//!
//! A handler sends one command to the scheduler, then reads the job from the database.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use crate::api::Job;
use crate::job::{AuditOutcome, AuditTarget, JobId, StoredJob};
use crate::scheduler::CommandError;

use super::app_state::AppState;
use super::audit::{CommandAudit, run_to_end, until_shutdown};
use super::connection_limiter::ConnectionPermit;
use super::error::ApiError;
use super::extract::{PathText, QueryParams};
use super::list_response::list_response;
use super::provider_filter::ensure_known;
use super::row_pages::JobPages;
use super::turn_reader::{ReadPurpose, TurnReader};

/// `GET /v1/jobs`
pub(super) async fn list(
    State(app): State<AppState>,
    Extension(connection): Extension<Arc<ConnectionPermit>>,
    params: QueryParams,
) -> Result<Response, ApiError> {
    let filter = params.job_filter()?;
    // Without a result, a job that is named exactly does not exist, whatever its provider.
    if filter.remote_id.is_none() {
        ensure_known(&app, &connection, filter.provider.as_ref()).await?;
    }
    let limit = filter.limit;
    let reader = TurnReader::new(app.reader, connection, ReadPurpose::List);
    let pages = JobPages { reader, filter };
    list_response("jobs", pages, limit).await
}

/// `GET /v1/jobs/{id}[?wait=60s]`
pub(super) async fn show(
    State(app): State<AppState>,
    Extension(connection): Extension<Arc<ConnectionPermit>>,
    id: PathText,
    params: QueryParams,
) -> Result<Json<Job>, ApiError> {
    let id = parse_job_id(id)?;
    let Some(wait) = params.wait_timeout()? else {
        let job = find_job(&app, id).await?;
        return Ok(Json(with_forecast(&app, job).await));
    };
    connection.begin_following()?;
    let mut newest = app.newest_event.clone();
    let mut timeout = std::pin::pin!(tokio::time::sleep(wait));
    loop {
        // Before the job is read, so that a transition committed after the read wakes this loop.
        newest.mark_unchanged();
        let job = find_job(&app, id).await?;
        if job.terminal {
            return Ok(Json(job));
        }
        let changed = tokio::select! {
            result = newest.changed() => result.is_ok(),
            () = &mut timeout => false,
            () = app.shutdown.cancelled() => false,
        };
        if !changed {
            return Ok(Json(with_forecast(&app, job).await));
        }
    }
}

/// Adds the forecast of an unfinished job. The forecast is omitted if the scheduler does not return
/// one in time: the request is for the job.
async fn with_forecast(app: &AppState, job: Job) -> Job {
    let forecast =
        if job.terminal { None } else { app.handle.forecast(job.id).await.ok().flatten() };
    Job { forecast: forecast.map(Into::into), ..job }
}

/// `POST /v1/jobs/{id}/untrack`: a finished job stays as it is.
pub(super) async fn untrack(
    State(app): State<AppState>,
    Extension(connection): Extension<Arc<ConnectionPermit>>,
    audit: CommandAudit,
    id: PathText,
) -> Result<Json<Job>, ApiError> {
    let job = audit.require(find_stored_job(&app, id).await).await?;
    let id = job.id;
    let audit = audit.concerning(AuditTarget::from(&job));
    let state = job.current_state.state();
    if state.is_terminal() {
        audit.record(AuditOutcome::Unchanged, &format!("the job had ended: {state}")).await;
    } else {
        let by = connection.peer.uid.map_or_else(String::new, |uid| format!(" by uid {uid}"));
        let reason = format!("untracked on request{by}");
        run_to_end(&app, untrack_and_record(app.clone(), job, reason, audit)).await??;
    }
    find_job(&app, id).await.map(Json)
}

async fn untrack_and_record(
    app: AppState,
    job: StoredJob,
    reason: String,
    audit: CommandAudit,
) -> Result<(), CommandError> {
    let result = app.handle.untrack(job, reason, Some(audit.entry())).await;
    match &result {
        // The entry is committed with the change: now, later or, if the daemon ends first, not at all.
        Ok(()) | Err(CommandError::TimedOut | CommandError::ShuttingDown) => {}
        // The change was dropped, and the entry with it.
        Err(error) => audit.record_error(error).await,
    }
    result
}

/// `POST /v1/jobs/{id}/poll`: 202 if the provider does not answer in time.
pub(super) async fn poll(
    State(app): State<AppState>,
    Extension(connection): Extension<Arc<ConnectionPermit>>,
    id: PathText,
) -> Result<(StatusCode, Json<Job>), ApiError> {
    let job = find_stored_job(&app, id).await?;
    connection.begin_on_demand()?;
    poll_and_respond(&app, job, app.daemon.on_demand_timeout).await
}

/// `POST /v1/jobs/{id}/cancel`: asks the provider to cancel the job, then polls the job. Only the
/// answer to the poll changes the job's state. 202 if that answer does not arrive in time.
pub(super) async fn cancel(
    State(app): State<AppState>,
    Extension(connection): Extension<Arc<ConnectionPermit>>,
    audit: CommandAudit,
    id: PathText,
) -> Result<(StatusCode, Json<Job>), ApiError> {
    let job = audit.require(find_stored_job(&app, id).await).await?;
    let audit = audit.concerning(AuditTarget::from(&job));
    audit.require(ensure_unfinished(&job)).await?;
    audit.require(connection.begin_on_demand()).await?;
    let (clock, timeout) = (&app.daemon.clock, app.daemon.on_demand_timeout);
    let started = clock.monotonic_now();
    let command = {
        let (app, job) = (app.clone(), job.clone());
        async move {
            let result = until_shutdown(&app, app.handle.cancel(job, timeout)).await;
            match &result {
                Ok(()) => audit.record(AuditOutcome::Done, "").await,
                Err(error) => audit.record_error(error).await,
            }
            result
        }
    };
    let result = run_to_end(&app, command).await?;
    let remaining = timeout.saturating_sub(clock.monotonic_now().duration_since(started));
    match result {
        Ok(()) => poll_and_respond(&app, job, remaining).await.map_err(|error| {
            error.after(
                "the provider has accepted the cancellation, and the job could not be polled yet",
            )
        }),
        Err(CommandError::TimedOut) => Err(ApiError::provider_rejected(
            "the cancellation was not answered in time: it waits for the rate limit or for the provider, and is \
             not dropped; the next poll shows whether the job was cancelled",
        )),
        Err(error) => {
            // The credential may be invalid, or may only lack the right to cancel. A poll shows which,
            // before another cancellation is sent.
            if error.is_account_level() {
                let _ = poll_and_respond(&app, job, remaining).await;
            }
            Err(error.into())
        }
    }
}

fn ensure_unfinished(job: &StoredJob) -> Result<(), ApiError> {
    let (id, state) = (job.id, job.current_state.state());
    if state.is_terminal() {
        let detail = format!("job {id} is finished ({state}) and cannot be cancelled");
        return Err(ApiError::job_finished(detail));
    }
    Ok(())
}

/// Polls the job and responds with it.
async fn poll_and_respond(
    app: &AppState,
    job: StoredJob,
    timeout: Duration,
) -> Result<(StatusCode, Json<Job>), ApiError> {
    let id = job.id;
    let status = match app.handle.poll_on_demand(job, timeout).await {
        Ok(()) => StatusCode::OK,
        Err(CommandError::TimedOut) => StatusCode::ACCEPTED,
        Err(error) => return Err(error.into()),
    };
    Ok((status, Json(find_job(app, id).await?)))
}

/// Parses the job's number in a path.
pub(super) fn parse_job_id(path: PathText) -> Result<JobId, ApiError> {
    let Path(text) = path?;
    let number = text.parse().map(JobId);
    number.map_err(|_| ApiError::bad_request(format!("{text:?} is not the number of a job")))
}

/// The job whose number is in a path.
pub(super) async fn find_job_by_path(app: &AppState, path: PathText) -> Result<Job, ApiError> {
    find_job(app, parse_job_id(path)?).await
}

/// The job; `not_found` if it does not exist.
pub(super) async fn find_job(app: &AppState, id: JobId) -> Result<Job, ApiError> {
    app.reader.job(id).await?.map(Job::from).ok_or_else(|| job_not_found(id))
}

/// The same, as the scheduler needs it.
pub(super) async fn find_stored_job(app: &AppState, path: PathText) -> Result<StoredJob, ApiError> {
    let id = parse_job_id(path)?;
    app.reader.stored_job(id).await?.ok_or_else(|| job_not_found(id))
}

fn job_not_found(id: JobId) -> ApiError {
    ApiError::not_found(format!("no job {id}; `jobtrack list --all` shows all jobs"))
}
