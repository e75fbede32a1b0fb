//! Finds the jobs that the user names: by number, by `PROVIDER/REMOTE_ID` or a remote ID alone (the newest job), or
//! by label.
//!
//! Used by all commands that take jobs.

use std::collections::BTreeSet;

use super::error_report::{AMBIGUOUS_JOB, NoSuchJob};
use crate::api::{Client, ClientError, Job, ListParams, ProblemDetails};
use crate::job::{InvalidText, JobId, JobRef, ProviderName, RemoteId};

const PAGE_SIZE: usize = 500;

/// The number of the job that a command concerns. Whether a job with a number exists is not asked: the
/// daemon decides that, and records who tried the command.
pub(super) async fn find_job_id(
    client: &Client,
    job: &JobRef,
) -> Result<Option<JobId>, ClientError> {
    match job {
        JobRef::Id(id) => Ok(Some(*id)),
        JobRef::Remote(..) | JobRef::RemoteIdAlone(_) => {
            Ok(find_job(client, job).await?.map(|job| job.id))
        }
    }
}

pub(super) async fn find_job(client: &Client, job: &JobRef) -> Result<Option<Job>, ClientError> {
    match job {
        JobRef::Id(id) => match client.job(*id).await {
            Ok(job) => Ok(Some(job)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        },
        JobRef::Remote(provider, remote_id) => {
            let found = jobs_with_remote_id(client, Some(provider), remote_id).await?;
            if let Some(job) = found.into_iter().next() {
                return Ok(Some(job));
            }
            // The slash may belong to the remote ID.
            match job.to_string().parse() {
                Ok(remote_id) => find_by_remote_id_alone(client, &remote_id).await,
                Err(_) => Ok(None),
            }
        }
        JobRef::RemoteIdAlone(remote_id) => find_by_remote_id_alone(client, remote_id).await,
    }
}

/// The newest job with this remote ID, which jobs of one provider only may have.
async fn find_by_remote_id_alone(
    client: &Client,
    remote_id: &RemoteId,
) -> Result<Option<Job>, ClientError> {
    let found = jobs_with_remote_id(client, None, remote_id).await?;
    let providers: BTreeSet<_> = found.iter().map(|job| &job.provider).collect();
    if providers.len() > 1 {
        let names: Vec<_> =
            providers.iter().map(|provider| format!("{provider}/{remote_id}")).collect();
        return Err(ClientError::Rejected(ProblemDetails {
            code: AMBIGUOUS_JOB.to_owned(),
            title: "Conflict".to_owned(),
            status: 409,
            detail: format!(
                "several providers have a job {remote_id}; give {}",
                names.join(" or ")
            ),
        }));
    }
    Ok(found.into_iter().next())
}

/// Newest first: of one provider the newest only.
async fn jobs_with_remote_id(
    client: &Client,
    provider: Option<&ProviderName>,
    remote_id: &RemoteId,
) -> Result<Vec<Job>, ClientError> {
    let query = ListParams {
        provider: provider.cloned(),
        remote_id: Some(remote_id.clone()),
        limit: Some(if provider.is_some() { 1 } else { PAGE_SIZE }),
        ..ListParams::default()
    };
    Ok(client.jobs(&query).await?.jobs)
}

/// The job; an error if it does not exist.
pub(super) async fn require_job(client: &Client, job: &JobRef) -> anyhow::Result<Job> {
    Ok(find_job(client, job).await?.ok_or_else(|| NoSuchJob(job.to_string()))?)
}

/// The job with its forecast, which lists do not contain.
pub(super) async fn require_job_with_forecast(
    client: &Client,
    job: &JobRef,
) -> anyhow::Result<Job> {
    let found = require_job(client, job).await?;
    Ok(match job {
        JobRef::Id(_) => found,
        JobRef::Remote(..) | JobRef::RemoteIdAlone(_) => client.job(found.id).await?,
    })
}

/// The jobs that were found by their names.
#[derive(Debug, Default)]
pub(super) struct FoundJobs {
    /// Without duplicates.
    pub(super) jobs: Vec<Job>,
    /// The names of jobs that do not exist.
    pub(super) missing: Vec<String>,
}

pub(super) async fn find_jobs(
    client: &Client,
    names: &[Result<JobRef, InvalidText>],
) -> Result<FoundJobs, ClientError> {
    let mut found = FoundJobs::default();
    let mut ids = BTreeSet::new();
    for name in names {
        match name {
            Ok(name) => match find_job(client, name).await? {
                Some(job) if ids.insert(job.id) => found.jobs.push(job),
                Some(_) => {}
                None => found.missing.push(name.to_string()),
            },
            Err(error) => found.missing.push(error.to_string()),
        }
    }
    Ok(found)
}

/// The jobs that have all these labels, finished ones included: a job of a batch that failed early
/// counts in the result of `wait`.
pub(super) async fn find_jobs_by_labels(
    client: &Client,
    labels: &[(String, String)],
) -> Result<Vec<Job>, ClientError> {
    let mut query =
        ListParams { labels: labels.to_vec(), limit: Some(PAGE_SIZE), ..ListParams::default() };
    let mut jobs = Vec::new();
    loop {
        let page = client.jobs(&query).await?;
        jobs.extend(page.jobs);
        query.after = page.next_cursor.map(|id| id.to_string());
        if query.after.is_none() {
            return Ok(jobs);
        }
    }
}
