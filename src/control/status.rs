//! Handlers of `/v1/status`, `/v1/reload`, `/v1/providers/{name}/check` and
//! `/v1/providers/{name}/durations`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use tokio::sync::oneshot;

use crate::api::{
    ConnectionCheckResponse, DaemonStatus, FailedPollStatus, ForgetDurationsResponse, PauseCause,
    PauseStatus, ProviderStatus, ReloadFailure, ReloadResponse, StoreStatus,
};
use crate::job::{
    AuditOutcome, AuditTarget, ConnectionCheck, Finding, FindingKind, ProviderName, RateLimitInfo,
    ServiceHints, format_duration,
};
use crate::scheduler::{CheckReply, CommandError, ProviderSnapshot, SchedulerSnapshot};
use crate::store::{ForgetDurations, SCHEMA_VERSION, engine_description};

use super::app_state::AppState;
use super::audit::{CommandAudit, run_to_end, until_shutdown};
use super::connection_limiter::ConnectionPermit;
use super::convert::rounded_seconds;
use super::error::ApiError;
use super::extract::{PathText, QueryParams};

/// `GET /v1/status`
pub(super) async fn status(State(app): State<AppState>) -> Json<DaemonStatus> {
    let snapshot = app.handle.snapshot().await;
    let reload_failure = app.daemon.reload_failure.borrow().clone();
    Json(DaemonStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started_at: app.daemon.started_at,
        store: StoreStatus {
            engine: engine_description(),
            location: app.daemon.database.display().to_string(),
            schema_version: SCHEMA_VERSION,
            size_bytes: snapshot.store_health.size_bytes,
        },
        newest_event: app.newest_event.borrow().clone(),
        degraded_reasons: degraded_reasons(&app, &snapshot, reload_failure.as_ref()),
        active_jobs: snapshot.providers.iter().map(|provider| provider.report.active_jobs).sum(),
        unwritten_changes: snapshot.unwritten_changes,
        write_error: snapshot.write_error.clone(),
        lost_log_lines: app.daemon.lost_log_lines.total(),
        reload_failure,
        providers: snapshot
            .providers
            .iter()
            .map(|provider| provider_status(provider, &snapshot))
            .collect(),
    })
}

/// What is wrong with the daemon, by the clock of this reader.
fn degraded_reasons(
    app: &AppState,
    snapshot: &SchedulerSnapshot,
    reload_failure: Option<&ReloadFailure>,
) -> Vec<String> {
    let reload_reason = reload_failure.map(|failure| {
        format!(
            "the reload at {} failed, and the settings before it stay in effect; correct this and run \
             `jobtrack reload`: {}",
            failure.failed_at, failure.reason
        )
    });
    let stall_reason = app.handle.heartbeat().stall_reason(app.daemon.clock.running_time());
    let log_reason = app.daemon.lost_log_lines.degraded_reason();
    let own_reasons = stall_reason.into_iter().chain(reload_reason).chain(log_reason);
    snapshot.degraded_reasons().into_iter().chain(own_reasons).collect()
}

fn provider_status(provider: &ProviderSnapshot, snapshot: &SchedulerSnapshot) -> ProviderStatus {
    let report = &provider.report;
    ProviderStatus {
        provider: report.provider.clone(),
        kind: provider.kind.map(str::to_owned),
        active_jobs: report.active_jobs,
        due_polls: report.due_polls,
        max_overdue_s: report.longest_overdue.as_secs_f64(),
        mean_detection_delay_s: report.mean_detection_delay.map(rounded_seconds),
        in_flight: report.in_flight,
        requests_last_minute: report.requests_last_minute,
        requests_per_minute: report.requests_per_minute,
        next_request_at: report
            .held_until
            .map(|at| snapshot.taken_at_utc.plus(at.duration_since(snapshot.taken_at))),
        unused_requests: report.requests_per_minute.saturating_sub(report.requests_last_minute),
        price: report.price.map(|price| price.to_string()),
        price_in_force_s: (report.price_in_force * 1000.0).round() / 1000.0,
        consecutive_failures: report.consecutive_failures,
        last_failed_poll: report.last_failed_poll.as_ref().map(|failed| FailedPollStatus {
            job_id: failed.job,
            at: failed.at,
            error: failed.error.clone(),
        }),
        outage_began_at: report.outage_since,
        pause: report.pause.as_ref().map(|pause| PauseStatus {
            cause: match pause.reason {
                Some(_) => PauseCause::Rejection,
                None => PauseCause::RateLimit,
            },
            reason: pause.reason.clone().unwrap_or_else(|| {
                "the rate limit that the provider reports is used up".to_owned()
            }),
            until: snapshot.taken_at_utc.plus(pause.until.duration_since(snapshot.taken_at)),
        }),
        unknown_states: report.unknown_states.clone(),
    }
}

/// `POST /v1/providers/{name}/check`: sends one request, unless a recent check has answered it.
pub(super) async fn check_connection(
    State(app): State<AppState>,
    Extension(connection): Extension<Arc<ConnectionPermit>>,
    audit: CommandAudit,
    name: PathText,
) -> Result<Json<ConnectionCheckResponse>, ApiError> {
    let provider = audit.require(parse_provider_name(name)).await?;
    let audit = audit.concerning(AuditTarget::Provider(provider.clone()));
    audit.require(connection.begin_on_demand()).await?;
    let command = check_and_record(app.clone(), provider.clone(), audit);
    let CheckReply { check, next_check_in } = run_to_end(&app, command).await??;
    let mut advice = check.advice();
    if let Some(wait) = next_check_in.filter(|_| !check.is_ok()) {
        let wait = format_duration(Duration::from_secs(wait.as_secs().max(1)));
        advice.push(format!(
            "this is the result of an earlier check; the next request is sent in {wait} at the \
             earliest, or after `jobtrack reload` with another credential"
        ));
    }
    Ok(Json(ConnectionCheckResponse {
        provider,
        ok: check.is_ok(),
        clock_ahead_s: check.clock_ahead_s,
        advice,
        finding: check.finding,
    }))
}

async fn check_and_record(
    app: AppState,
    provider: ProviderName,
    audit: CommandAudit,
) -> Result<CheckReply, CommandError> {
    let check = app.handle.check_connection(provider, app.daemon.on_demand_timeout);
    let result = match until_shutdown(&app, check).await {
        // The check may have waited for other requests.
        Err(CommandError::TimedOut) => Ok(CheckReply {
            check: ConnectionCheck {
                finding: Finding::new(FindingKind::Unreachable, "no response in time"),
                clock_ahead_s: None,
                rate_limit: RateLimitInfo::default(),
                credential_replaced: false,
                hints: ServiceHints::GENERIC,
            },
            next_check_in: None,
        }),
        result => result,
    };
    match &result {
        Ok(CheckReply { check, .. }) => {
            let detail = if check.is_ok() { "ok" } else { &check.finding.detail };
            audit.record(AuditOutcome::Done, detail).await;
        }
        Err(error) => audit.record_error(error).await,
    }
    result
}

/// `DELETE /v1/providers/{name}/durations[?similar_to=KEY]`; the provider need not be configured.
pub(super) async fn forget_durations(
    State(app): State<AppState>,
    audit: CommandAudit,
    name: PathText,
    params: Result<QueryParams, ApiError>,
) -> Result<Json<ForgetDurationsResponse>, ApiError> {
    let provider = audit.require(parse_provider_name(name)).await?;
    let audit = audit.concerning(AuditTarget::Provider(provider.clone()));
    let similar_to = audit.require(params.and_then(QueryParams::similar_to)).await?;
    let request = ForgetDurations {
        provider: provider.clone(),
        similarity_key: similar_to.clone(),
        audit: Some(audit.entry()),
    };
    let handle = app.handle.clone();
    let command = async move { handle.forget_durations(request).await };
    let forgotten = run_to_end(&app, command).await??;
    Ok(Json(ForgetDurationsResponse { provider, similar_to, forgotten_count: forgotten }))
}

/// Parses the provider's name in a path.
pub(super) fn parse_provider_name(path: PathText) -> Result<ProviderName, ApiError> {
    let Path(name) = path?;
    name.parse().map_err(|error| ApiError::bad_request(format!("{name:?}: {error}")))
}

/// `POST /v1/reload`
pub(super) async fn reload(
    State(app): State<AppState>,
    audit: CommandAudit,
) -> Result<Json<ReloadResponse>, ApiError> {
    run_to_end(&app, reload_and_record(app.clone(), audit)).await?
}

async fn reload_and_record(
    app: AppState,
    audit: CommandAudit,
) -> Result<Json<ReloadResponse>, ApiError> {
    let (reply_tx, reply_rx) = oneshot::channel();
    // Fails if the daemon is shutting down, as does the reply, whose sender is then dropped.
    let _ = app.reload_tx.send(reply_tx).await;
    let result = match reply_rx.await {
        Ok(result) => result.map_err(ApiError::invalid_config),
        Err(_) => Err(CommandError::ShuttingDown.into()),
    };
    let response = audit.require(result).await?;
    audit.record(AuditOutcome::Done, &response.to_string()).await;
    Ok(Json(response))
}
