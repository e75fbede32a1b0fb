//! A job as the tracker needs it: its columns, its row, and how it is found by its id.
//!
//! The reader uses it for loading, the writer for registered jobs and for jobs whose stored state is
//! not the expected one.

use sqlx::sqlite::SqliteExecutor;
use sqlx::{FromRow, QueryBuilder};

use crate::job::{
    CurrentState, JobId, LifecycleStep, ProviderName, ProviderTimes, RemoteId, SimilarityKeys,
    State, StoredJob, UtcTime,
};

/// The columns of a [`StoredJobRow`]; `observed_at` and `furthest_step` are computed from the table
/// `transition`.
pub(super) const STORED_JOB_COLUMNS: &str = "
    job.id, job.provider, job.remote_id, job.state, job.provider_state, job.registered_at,
    job.deadline_at, job.next_poll_at, job.last_success_sent_at, job.polls, job.failed_polls,
    job.list_time, job.similarity_keys, job.submitted_at, job.started_at, job.ended_at,
    job.expires_at,
    coalesce((SELECT observed_at FROM transition WHERE job_id = job.id ORDER BY seq DESC LIMIT 1),
             job.registered_at) AS observed_at,
    (SELECT max(CASE to_state WHEN 'running' THEN 2 WHEN 'pending' THEN 1 ELSE 0 END)
     FROM transition WHERE job_id = job.id) AS furthest_step";

#[derive(Debug, FromRow)]
pub(super) struct StoredJobRow {
    pub(super) id: JobId,
    provider: ProviderName,
    remote_id: RemoteId,
    state: State,
    provider_state: Option<String>,
    registered_at: UtcTime,
    deadline_at: Option<UtcTime>,
    next_poll_at: Option<UtcTime>,
    last_success_sent_at: Option<UtcTime>,
    polls: u32,
    failed_polls: u32,
    list_time: Option<UtcTime>,
    similarity_keys: Option<SimilarityKeys>,
    submitted_at: Option<UtcTime>,
    started_at: Option<UtcTime>,
    ended_at: Option<UtcTime>,
    expires_at: Option<UtcTime>,
    observed_at: UtcTime,
    furthest_step: Option<i64>,
}

impl StoredJobRow {
    pub(super) fn into_stored_job(self) -> StoredJob {
        StoredJob {
            id: self.id,
            provider: self.provider,
            remote_id: self.remote_id,
            current_state: CurrentState::from_store(
                self.state,
                self.provider_state.map(Into::into),
                match self.furthest_step {
                    Some(2) => LifecycleStep::Running,
                    Some(1) => LifecycleStep::Pending,
                    Some(_) | None => LifecycleStep::Registered,
                },
                self.observed_at,
                self.last_success_sent_at,
            ),
            registered_at: self.registered_at,
            give_up_after: self
                .deadline_at
                .map(|deadline| deadline.duration_since(self.registered_at)),
            next_poll_at: self.next_poll_at,
            polls: self.polls,
            failed_polls: self.failed_polls,
            list_time: self.list_time,
            similarity_keys: self.similarity_keys.unwrap_or_default(),
            times: ProviderTimes {
                submitted_at: self.submitted_at,
                started_at: self.started_at,
                ended_at: self.ended_at,
                expires_at: self.expires_at,
            },
        }
    }
}

pub(super) async fn find_stored_job(
    executor: impl SqliteExecutor<'_>,
    id: JobId,
) -> Result<Option<StoredJob>, sqlx::Error> {
    let mut query = QueryBuilder::new("SELECT ");
    query.push(STORED_JOB_COLUMNS).push(" FROM job WHERE job.id = ").push_bind(id.0);
    let row: Option<StoredJobRow> = query.build_query_as().fetch_optional(executor).await?;
    Ok(row.map(StoredJobRow::into_stored_job))
}
