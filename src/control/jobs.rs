//! `/v1/jobs`: register, list, show, ask now, let go.

use std::time::Duration;

use axum::Extension;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::time::timeout_at;

use crate::api::{AddAnswer, AddJob, AddOutcome, AddRequest, Added, Job, JobList};
use crate::job::{JobId, Labels, Likeness, ProviderName, Tracked};
use crate::scheduler::{Refusal, Wanted};

use super::problem::Problem;
use super::query::{Pairs, duration, json};
use super::{App, Peer};

const MAX_ADD_BYTES: usize = 4 << 20;
const GIVE_UP_AFTER: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_hours(400 * 24);

/// `POST /v1/jobs`
pub(super) async fn add(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> Result<Response, Problem> {
    let request: AddRequest = json(body, MAX_ADD_BYTES).await?;
    if request.jobs.len() > AddRequest::MAX_JOBS {
        let max = AddRequest::MAX_JOBS;
        return Err(Problem::too_large(format!("send at most {max} jobs at a time")));
    }
    let checked: Vec<_> = request.jobs.iter().map(|job| wanted(job, peer)).collect();
    let wanted = checked.iter().filter_map(|job| job.as_ref().ok().cloned()).collect();
    let mut outcomes = app.handle.add(wanted).await?.into_iter();
    let jobs: Vec<_> = request
        .jobs
        .into_iter()
        .zip(checked)
        .map(|(job, checked)| {
            let outcome = checked.and_then(|_| {
                outcomes.next().unwrap_or_else(|| Err("it was not answered for".into()))
            });
            let (entered, error) = match outcome {
                Ok(entered) => (Some(entered), None),
                Err(why) => (None, Some(why)),
            };
            Added {
                id: entered.as_ref().map(|entered| entered.job.id),
                provider: job.provider,
                remote_id: job.remote_id,
                state: entered.as_ref().map(|entered| entered.job.standing.state),
                outcome: match entered {
                    Some(entered) if entered.is_new => AddOutcome::Added,
                    Some(_) => AddOutcome::Known,
                    None => AddOutcome::Rejected,
                },
                error,
            }
        })
        .collect();
    let rejected = jobs.iter().any(|job| job.outcome == AddOutcome::Rejected);
    let status = if rejected { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    Ok((status, Json(AddAnswer { jobs })).into_response())
}

fn wanted(job: &AddJob, peer: Peer) -> Result<Wanted, String> {
    let names = |error: crate::job::InvalidName| error.to_string();
    let give_up_after = job.give_up_after.as_deref().map(duration).transpose()?;
    if give_up_after.is_some_and(|limit| !GIVE_UP_AFTER.contains(&limit)) {
        return Err("give_up_after must be at least 1s and at most 400d".into());
    }
    Ok(Wanted {
        provider: job.provider.parse().map_err(names)?,
        remote_id: job.remote_id.parse().map_err(names)?,
        labels: Labels::try_from(job.labels.clone()).map_err(names)?,
        give_up_after,
        likeness: job
            .like
            .as_deref()
            .map(Likeness::given)
            .transpose()
            .map_err(names)?
            .unwrap_or_default(),
        added_by: peer.uid,
    })
}

/// `GET /v1/jobs`
pub(super) async fn list(State(app): State<App>, pairs: Pairs) -> Result<Json<JobList>, Problem> {
    let filter = pairs.job_filter()?;
    let rows = app.reader.jobs(&filter).await?;
    let full = rows.len() == filter.limit as usize;
    let next = rows.last().map(|row| row.id).filter(|_| full);
    Ok(Json(JobList { jobs: rows.into_iter().map(Job::from).collect(), next }))
}

/// `GET /v1/jobs/{id}[?wait=60s]`
pub(super) async fn show(
    State(app): State<App>,
    Path(id): Path<String>,
    pairs: Pairs,
) -> Result<Json<Job>, Problem> {
    let id = number(&id)?;
    let Some(wait) = pairs.wait()? else {
        let job = find(&app, id).await?;
        return Ok(Json(with_outlook(&app, job).await));
    };
    let _place = app.place_to_wait()?;
    let mut newest = app.newest.clone();
    let deadline = app.about.clock.instant(app.about.clock.mono().plus(wait));
    loop {
        // Seen before the job is read, so that what comes after cannot be missed.
        newest.mark_unchanged();
        let job = find(&app, id).await?;
        if job.terminal {
            return Ok(Json(job));
        }
        let news = tokio::select! {
            news = timeout_at(deadline, newest.changed()) => news.is_ok_and(|open| open.is_ok()),
            () = app.shutdown.cancelled() => false,
        };
        if !news {
            return Ok(Json(with_outlook(&app, job).await));
        }
    }
}

/// The job with when it is asked next. Known at once or not told: the job is what was asked for.
async fn with_outlook(app: &App, job: Job) -> Job {
    let outlook = if job.terminal { None } else { app.handle.outlook(job.id).await.ok().flatten() };
    Job { outlook: outlook.map(Into::into), ..job }
}

/// `DELETE /v1/jobs/{id}`: a job that is over stays as it is.
pub(super) async fn untrack(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    Path(id): Path<String>,
) -> Result<Json<Job>, Problem> {
    let id = number(&id)?;
    let job = app.reader.tracked(id).await?.ok_or_else(|| no_job(id))?;
    if !job.standing.state.is_terminal() {
        let by = peer.uid.map_or_else(String::new, |uid| format!(" by uid {uid}"));
        app.handle.untrack(job, format!("untracked on request{by}")).await?;
    }
    find(&app, id).await.map(Json)
}

/// `POST /v1/jobs/{id}/poll`: 202 if the answer takes longer than a request may.
pub(super) async fn poll(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<Job>), Problem> {
    let id = number(&id)?;
    let job = app.reader.tracked(id).await?.ok_or_else(|| no_job(id))?;
    may_be_asked(&app, &job.provider)?;
    look(&app, job, app.about.poll_patience).await
}

/// `POST /v1/jobs/{id}/cancel`: asks the provider to stop the job, then how the job is. Only that
/// answer moves the job. 202 if it takes longer than a request may.
pub(super) async fn cancel(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<Job>), Problem> {
    let id = number(&id)?;
    let job = app.reader.tracked(id).await?.ok_or_else(|| no_job(id))?;
    let state = job.standing.state;
    if state.is_terminal() {
        return Err(Problem::over(format!("job {id} is over: {state}")));
    }
    may_be_asked(&app, &job.provider)?;
    let (clock, patience) = (&app.about.clock, app.about.poll_patience);
    let begun = clock.mono();
    let cancelled = app.handle.cancel(&job, patience).await;
    let left = patience.saturating_sub(clock.mono().since(begun));
    match cancelled {
        Ok(()) => look(&app, job, left).await,
        Err(Refusal::Busy) => Err(Problem::upstream(
            "the provider has not answered yet; whether it stops the job its next poll will show",
        )),
        Err(refusal) => {
            // A right to cancel that is missing is no reason to leave the provider alone, a refused
            // key is: a poll tells, so that no list of jobs to cancel can lock the key.
            if refusal.is_of_us() {
                let _ = look(&app, job, left).await;
            }
            Err(refusal.into())
        }
    }
}

/// Asks how the job is, and tells it.
async fn look(
    app: &App,
    job: Tracked,
    patience: Duration,
) -> Result<(StatusCode, Json<Job>), Problem> {
    let id = job.id;
    let status = match app.handle.poll(job, patience).await {
        Ok(()) => StatusCode::OK,
        Err(Refusal::Busy) => StatusCode::ACCEPTED,
        Err(refusal) => return Err(refusal.into()),
    };
    Ok((status, Json(find(app, id).await?)))
}

/// A provider that refuses us is left alone.
fn may_be_asked(app: &App, provider: &ProviderName) -> Result<(), Problem> {
    let snapshot = app.handle.snapshot();
    let Some((name, why, span)) = snapshot.refuses(provider) else { return Ok(()) };
    let span = humantime::format_duration(Duration::from_secs(span.as_secs()));
    Err(Problem::paused(format!(
        "not asked: provider {name} is left alone for another {span} ({why}); \
         `jobtrack reload` tries at once"
    )))
}

/// The number in a path.
pub(super) fn number(text: &str) -> Result<JobId, Problem> {
    let number = text.parse().map(JobId);
    number.map_err(|_| Problem::bad_request(format!("{text:?} is not a job's number")))
}

/// The job, or "not found".
pub(super) async fn find(app: &App, id: JobId) -> Result<Job, Problem> {
    app.reader.job(id).await?.map(Job::from).ok_or_else(|| no_job(id))
}

fn no_job(id: JobId) -> Problem {
    Problem::not_found(format!("there is no job {id}"))
}
