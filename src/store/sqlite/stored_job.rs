//! A job as the tracker needs it: how it is read from the database.
//!
//! The reader uses it for loading, the writer for registered jobs and for jobs whose stored state is not the
//! expected one. SQLite returns all jobs of a query as one JSON array, because a row and a column of sqlx
//! cost more than the job itself. A value of a wrong type or form is an error of the query.

use serde::Deserialize;
use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteExecutor;

use crate::job::{
    CurrentState, JobId, LifecycleStep, PollPrice, ProviderName, ProviderTimes, RemoteId,
    SimilarityKeys, State, StoredJob,
};

use super::time::SqlTime;

/// The fields of a [`StoredJobRow`], in order. The last two are computed from the table `transition` if the
/// last transition of the job was written before schema version 6.
const STORED_JOB_FIELDS: &str = "
    job.id, job.provider, job.remote_id, job.state, job.provider_state, job.registered_at,
    job.deadline_at, job.price, job.next_poll_at, job.last_success_sent_at, job.polls, job.failed_polls,
    job.list_time, json(job.similarity_keys), job.submitted_at, job.started_at, job.ended_at,
    job.expires_at,
    coalesce(job.last_transition_at,
             (SELECT observed_at FROM transition WHERE job_id = job.id ORDER BY seq DESC LIMIT 1),
             job.registered_at),
    coalesce(job.furthest_step,
             (SELECT CASE max(CASE to_state WHEN 'running' THEN 2 WHEN 'pending' THEN 1 END)
                     WHEN 2 THEN 'running' WHEN 1 THEN 'pending' END
              FROM transition WHERE job_id = job.id),
             'registered')";

#[derive(Deserialize)]
struct StoredJobRow {
    id: JobId,
    provider: ProviderName,
    remote_id: RemoteId,
    state: State,
    provider_state: Option<String>,
    registered_at: SqlTime,
    deadline_at: Option<SqlTime>,
    price: Option<PollPrice>,
    next_poll_at: Option<SqlTime>,
    last_success_sent_at: Option<SqlTime>,
    polls: u32,
    failed_polls: u32,
    list_time: Option<SqlTime>,
    similarity_keys: SimilarityKeys,
    submitted_at: Option<SqlTime>,
    started_at: Option<SqlTime>,
    ended_at: Option<SqlTime>,
    expires_at: Option<SqlTime>,
    last_transition_at: SqlTime,
    furthest_step: StoredStep,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum StoredStep {
    Registered,
    Pending,
    Running,
}

impl From<StoredStep> for LifecycleStep {
    fn from(stored: StoredStep) -> Self {
        match stored {
            StoredStep::Registered => Self::Registered,
            StoredStep::Pending => Self::Pending,
            StoredStep::Running => Self::Running,
        }
    }
}

/// The name of a step in the column `furthest_step`.
pub(super) fn step_name(step: LifecycleStep) -> &'static str {
    match step {
        LifecycleStep::Registered => "registered",
        LifecycleStep::Pending => "pending",
        LifecycleStep::Running => "running",
    }
}

impl From<StoredJobRow> for StoredJob {
    fn from(row: StoredJobRow) -> Self {
        let time = |at: Option<SqlTime>| at.map(|at| at.0);
        let registered_at = row.registered_at.0;
        Self {
            id: row.id,
            provider: row.provider,
            remote_id: row.remote_id,
            current_state: CurrentState::from_store(
                row.state,
                row.provider_state.map(Into::into),
                row.furthest_step.into(),
                row.last_transition_at.0,
                time(row.last_success_sent_at),
            ),
            registered_at,
            give_up_after: row.deadline_at.map(|deadline| deadline.0.duration_since(registered_at)),
            price: row.price,
            next_poll_at: time(row.next_poll_at),
            polls: row.polls,
            failed_polls: row.failed_polls,
            list_time: time(row.list_time),
            similarity_keys: row.similarity_keys,
            times: ProviderTimes {
                submitted_at: time(row.submitted_at),
                started_at: time(row.started_at),
                ended_at: time(row.ended_at),
                expires_at: time(row.expires_at),
            },
        }
    }
}

/// A query whose only row is a JSON array of the jobs of the FROM clause `jobs`, which names them `job`.
pub(super) fn select_stored_jobs(jobs: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!("SELECT json_group_array(json_array({STORED_JOB_FIELDS})) FROM {jobs}"))
}

/// Parses the result of [`select_stored_jobs`].
pub(super) fn parse_stored_jobs(json: &str) -> Result<Vec<StoredJob>, sqlx::Error> {
    match serde_json::from_str::<Vec<StoredJobRow>>(json) {
        Ok(rows) => Ok(rows.into_iter().map(StoredJob::from).collect()),
        Err(error) => Err(sqlx::Error::Decode(name_unreadable_job(json, &error).into())),
    }
}

/// Which of the jobs cannot be read, and why.
fn name_unreadable_job(json: &str, error: &serde_json::Error) -> String {
    let jobs: Vec<serde_json::Value> = serde_json::from_str(json).unwrap_or_default();
    let mut unreadable = jobs.into_iter().filter_map(|job| {
        let error = StoredJobRow::deserialize(&job).err()?;
        Some(format!("job {} cannot be read: {error}", job.get(0).cloned().unwrap_or_default()))
    });
    unreadable.next().unwrap_or_else(|| error.to_string())
}

pub(super) async fn find_stored_job(
    executor: impl SqliteExecutor<'_>,
    id: JobId,
) -> Result<Option<StoredJob>, sqlx::Error> {
    let query = sqlx::query_scalar(select_stored_jobs("job WHERE job.id = ?1")).bind(id.0);
    let json: String = query.fetch_one(executor).await?;
    Ok(parse_stored_jobs(&json)?.pop())
}
