//! `/v1/status`, `/v1/providers/{name}/check` and `…/lessons`, and `/v1/reload`.

use axum::Json;
use axum::extract::{Path, State};
use tokio::sync::oneshot;

use crate::api::{CheckAnswer, ForgetAnswer, Pause, ProviderStatus, ReloadAnswer, Status};
use crate::job::{Checkup, Finding, ProviderName};
use crate::scheduler::{Lane, Refusal, Snapshot};
use crate::store::{Forget, SCHEMA_VERSION, sqlite_version};

use super::App;
use super::problem::Problem;
use super::query::Pairs;
use super::reply::seconds;

/// `GET /v1/status`
pub(super) async fn status(State(app): State<App>) -> Json<Status> {
    let snapshot = app.handle.snapshot();
    Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        sqlite_version: sqlite_version(),
        schema_version: SCHEMA_VERSION,
        pid: std::process::id(),
        started_at: app.about.started_at,
        database: app.about.database.display().to_string(),
        newest_seq: *app.newest.borrow(),
        degraded: snapshot.degraded(),
        active_jobs: snapshot.lanes.iter().map(|lane| lane.report.active_jobs).sum(),
        unwritten_changes: snapshot.unwritten_changes,
        wal_bytes: snapshot.wal_bytes,
        providers: snapshot.lanes.iter().map(|lane| provider(lane, &snapshot)).collect(),
    })
}

fn provider(lane: &Lane, snapshot: &Snapshot) -> ProviderStatus {
    let report = &lane.report;
    ProviderStatus {
        provider: report.name.clone(),
        kind: lane.kind.map(str::to_owned),
        active_jobs: report.active_jobs,
        due_polls: report.due_polls,
        late_s: report.late.as_secs_f64(),
        detection_delay_s: report.lateness.map(seconds),
        in_flight: report.in_flight,
        sent_last_minute: report.sent_last_minute,
        requests_per_minute: report.requests_per_minute,
        failures_in_a_row: report.failures,
        outage_since: report.outage_since,
        paused: report.pause.as_ref().map(|pause| Pause {
            reason: pause
                .reason
                .clone()
                .unwrap_or_else(|| "the provider says that its limit is used up".to_owned()),
            until: snapshot.wall.plus(pause.until.since(snapshot.at)),
        }),
        unknown_words: report.unknown_words.clone(),
    }
}

/// `POST /v1/providers/{name}/check`: one request, also to a provider that is left alone.
pub(super) async fn check(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<CheckAnswer>, Problem> {
    let provider = named(&name)?;
    let checked = app.handle.check(provider.clone(), app.about.poll_patience).await;
    let checkup = match checked {
        // Our patience is as long as a request's own; which of them ends first is chance.
        Err(Refusal::Busy) => Checkup {
            finding: Finding::Unreachable("no answer in time".to_owned()),
            clock_ahead_s: None,
        },
        checked => checked?,
    };
    Ok(Json(CheckAnswer {
        provider,
        well: checkup.is_well(),
        clock_ahead_s: checkup.clock_ahead_s,
        advice: checkup.advice(),
        finding: checkup.finding,
    }))
}

/// `DELETE /v1/providers/{name}/lessons[?like=NAME]`: of a provider that is not configured, too.
pub(super) async fn forget(
    State(app): State<App>,
    Path(name): Path<String>,
    pairs: Pairs,
) -> Result<Json<ForgetAnswer>, Problem> {
    let (provider, like) = (named(&name)?, pairs.like()?);
    let what = Forget { provider: provider.clone(), name: like.clone() };
    let forgotten = app.handle.forget(what).await?;
    Ok(Json(ForgetAnswer { provider, like, forgotten }))
}

fn named(name: &str) -> Result<ProviderName, Problem> {
    name.parse().map_err(|error| Problem::bad_request(format!("{name:?}: {error}")))
}

/// `POST /v1/reload`
pub(super) async fn reload(State(app): State<App>) -> Result<Json<ReloadAnswer>, Problem> {
    let (reply, answer) = oneshot::channel();
    let ended = || Problem::from(Refusal::ShuttingDown);
    app.reload.send(reply).await.map_err(|_| ended())?;
    answer.await.map_err(|_| ended())?.map(Json).map_err(Problem::config)
}
