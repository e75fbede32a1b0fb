//! Handler of `GET /v1/prune`: which jobs the next maintenance deletes, and when. It only reads.

use axum::Json;
use axum::extract::State;

use crate::api::{PrunableJobs, PruneForecast};
use crate::store::{MaintenanceTask, PrunableRow};

use super::app_state::AppState;
use super::error::ApiError;

/// `GET /v1/prune`
pub(super) async fn prune_forecast(
    State(app): State<AppState>,
) -> Result<Json<PruneForecast>, ApiError> {
    let config = app.daemon.maintenance.borrow().clone();
    let retention: Vec<_> = config.retention.max_ages().collect();
    let now = app.daemon.clock.utc_now();
    let last_run = app.reader.last_event_times().await?.get(MaintenanceTask::PRUNE).copied();
    let next_run_at = config
        .prune_schedule
        .next_after(MaintenanceTask::catch_up_from(last_run, now))
        .map(|next| next.max(now));
    let rows = match next_run_at {
        Some(at) => app.reader.prunable_jobs(&retention, at).await?,
        None => Vec::new(),
    };
    let jobs = rows.into_iter().map(PrunableJobs::from).collect();
    Ok(Json(PruneForecast { next_run_at, jobs }))
}

impl From<PrunableRow> for PrunableJobs {
    fn from(row: PrunableRow) -> Self {
        Self {
            state: row.state,
            count: row.jobs,
            oldest_terminal_at: row.oldest_terminal_at,
            newest_terminal_at: row.newest_terminal_at,
        }
    }
}
