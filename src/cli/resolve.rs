//! Finds the jobs that the user names: by number, by `PROVIDER/REMOTE_ID` (the newest job) or by label.
//!
//! Used by all commands that take jobs.

use std::collections::BTreeSet;

use anyhow::anyhow;

use super::stdio;
use crate::api::{Client, ClientError, Job, ListParams};
use crate::job::{InvalidText, JobId, JobRef};

const PAGE_SIZE: usize = 500;

/// The number of the job that a command concerns. Whether a job with a number exists is not asked: the
/// daemon decides that, and records who tried the command.
pub(super) async fn find_job_id(
    client: &Client,
    job: &JobRef,
) -> Result<Option<JobId>, ClientError> {
    match job {
        JobRef::Id(id) => Ok(Some(*id)),
        JobRef::Remote(..) => Ok(find_job(client, job).await?.map(|job| job.id)),
    }
}

pub(super) async fn find_job(client: &Client, job: &JobRef) -> Result<Option<Job>, ClientError> {
    match job {
        JobRef::Id(id) => match client.job(*id).await {
            Ok(job) => Ok(Some(job)),
            Err(ClientError::Rejected(problem)) if problem.code == "not_found" => Ok(None),
            Err(error) => Err(error),
        },
        JobRef::Remote(provider, remote_id) => {
            let query = ListParams {
                provider: Some(provider.clone()),
                remote_id: Some(remote_id.clone()),
                limit: Some(1),
                ..ListParams::default()
            };
            Ok(client.jobs(&query).await?.jobs.into_iter().next())
        }
    }
}

/// The job; an error if it does not exist.
pub(super) async fn require_job(client: &Client, job: &JobRef) -> anyhow::Result<Job> {
    find_job(client, job)
        .await?
        .ok_or_else(|| anyhow!("no such job: {job}; `jobtrack list --all` shows all jobs"))
}

/// The job with its forecast, which lists do not contain.
pub(super) async fn require_job_with_forecast(
    client: &Client,
    job: &JobRef,
) -> anyhow::Result<Job> {
    let found = require_job(client, job).await?;
    Ok(match job {
        JobRef::Id(_) => found,
        JobRef::Remote(..) => client.job(found.id).await?,
    })
}

/// Finds the named jobs, without duplicates. If any is missing, prints a notice for each of these and
/// returns `None`.
pub(super) async fn find_jobs(
    client: &Client,
    names: &[Result<JobRef, InvalidText>],
) -> Result<Option<Vec<Job>>, ClientError> {
    let mut jobs = Vec::new();
    let mut ids = BTreeSet::new();
    let mut all_found = true;
    for name in names {
        let missing = match name {
            Ok(name) => match find_job(client, name).await? {
                Some(job) => {
                    if ids.insert(job.id) {
                        jobs.push(job);
                    }
                    continue;
                }
                None => name.to_string(),
            },
            Err(error) => error.to_string(),
        };
        all_found = false;
        stdio::print_notice(format!("no such job: {missing}"));
    }
    Ok(all_found.then_some(jobs))
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
