//! Handler of `POST /v1/jobs`: adds jobs, and reports for each whether it was added. The status is 200 even if all
//! jobs are rejected: the request was carried out.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::body::Body;
use axum::extract::State;

use crate::api::{AddOutcome, AddRequest, AddRequestEntry, AddResponse, AddResponseEntry};
use crate::job::{AddedBy, JobPrice, Labels, SimilarityKeys};
use crate::scheduler::JobSpec;

use super::app_state::AppState;
use super::audit::user_name;
use super::connection_limiter::ConnectionPermit;
use super::error::ApiError;
use super::extract::parse_duration;
use super::request_body::read_json;

const MAX_ADD_BYTES: usize = 4 << 20;

/// `POST /v1/jobs`
pub(super) async fn add(
    State(app): State<AppState>,
    Extension(connection): Extension<Arc<ConnectionPermit>>,
    body: Body,
) -> Result<Json<AddResponse>, ApiError> {
    let request: AddRequest = read_json(body, MAX_ADD_BYTES, &connection).await?;
    if request.jobs.len() > AddRequest::MAX_JOBS {
        return Err(ApiError::payload_too_large(format!(
            "too many jobs in one request; at most {} are allowed",
            AddRequest::MAX_JOBS
        )));
    }
    let added_by = match connection.peer.uid {
        Some(uid) => Some(AddedBy { uid, user: user_name(&app, connection.peer).await }),
        None => None,
    };
    // The request can be large: all but the names is moved to the scheduler.
    let mut specs = Vec::with_capacity(request.jobs.len());
    let mut names = Vec::with_capacity(request.jobs.len());
    for mut job in request.jobs {
        let labels = std::mem::take(&mut job.labels);
        let error = match to_job_spec(&job, labels, added_by.as_ref()) {
            Ok(spec) => {
                specs.push(spec);
                None
            }
            Err(reason) => Some(reason),
        };
        names.push((job.provider, job.remote_id, error));
    }
    let mut outcomes = app.handle.add(specs).await?.into_iter();
    let jobs: Vec<_> = names
        .into_iter()
        .map(|(provider, remote_id, error)| {
            let outcome = error.map_or_else(|| outcomes.next(), |reason| Some(Err(reason)));
            let (added, error) = match outcome {
                Some(Ok(added)) => (Some(added), None),
                Some(Err(reason)) => (None, Some(reason)),
                None => (None, Some("the scheduler returned no result for this job".to_owned())),
            };
            let warning = added.as_ref().and_then(|added| added.id_warning).map(str::to_owned);
            let registered = added.map(|added| added.registered);
            AddResponseEntry {
                id: registered.as_ref().map(|registered| registered.job.id),
                provider,
                remote_id,
                state: registered.as_ref().map(|registered| registered.job.current_state.state()),
                outcome: match registered {
                    Some(registered) if registered.is_new => AddOutcome::Added,
                    Some(_) => AddOutcome::Existing,
                    None => AddOutcome::Rejected,
                },
                error,
                warning,
            }
        })
        .collect();
    Ok(Json(AddResponse { jobs }))
}

fn to_job_spec(
    job: &AddRequestEntry,
    labels: BTreeMap<String, String>,
    added_by: Option<&AddedBy>,
) -> Result<JobSpec, String> {
    let invalid_name = |error: crate::job::InvalidText| error.to_string();
    let give_up_after = job.give_up_after.as_deref().map(parse_duration).transpose()?;
    if give_up_after.is_some_and(|limit| !AddRequestEntry::GIVE_UP_AFTER_RANGE.contains(&limit)) {
        return Err(AddRequestEntry::GIVE_UP_AFTER_LIMITS.into());
    }
    let price = job.price.as_deref().map(str::parse::<JobPrice>).transpose();
    let price = price.map_err(|error| format!("price {error}"))?;
    Ok(JobSpec {
        provider: job.provider.parse().map_err(invalid_name)?,
        remote_id: job.remote_id.parse().map_err(invalid_name)?,
        labels: Labels::try_from(labels).map_err(invalid_name)?,
        give_up_after,
        price,
        similarity_keys: job
            .similar_to
            .as_deref()
            .map(SimilarityKeys::from_user)
            .transpose()
            .map_err(invalid_name)?
            .unwrap_or_default(),
        added_by: added_by.cloned(),
        is_new_run: job.again,
    })
}
