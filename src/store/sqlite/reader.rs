//! Reads the database beside the writer, over a few read-only connections.
//!
//! Used by the control server, by the scheduler when it loads jobs, and by the daemon. Invariant: every
//! query has a LIMIT and is fetched completely, because a query that is left half read keeps the WAL
//! from being truncated.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};
use sqlx::{FromRow, QueryBuilder, Sqlite};

use crate::job::{
    CurrentState, EventCursor, JobId, LifecycleStep, ProviderName, ProviderTimes, RemoteId,
    SimilarityKeys, State, StateFilter, StoredJob, UtcTime,
};
use crate::store::{HistoryFilter, JobFilter, JobRow, ReadError, TransitionRow};

use super::types::{cursor_seq, to_cursor};
use super::write::newest_seq;

/// Reads the database. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Reader {
    pub(super) pool: SqlitePool,
}

/// The columns of a [`StoredJobRow`]. What follows from the history is read from the history.
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

impl Reader {
    pub(super) async fn open(path: &Path) -> Result<Self, sqlx::Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .read_only(true)
            .busy_timeout(Duration::from_secs(1))
            .pragma("query_only", "on");
        let pool = SqlitePoolOptions::new()
            .max_connections(4)
            .acquire_timeout(Duration::from_secs(5))
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options)
            .await?;
        // A connection that has read keeps a lock until it is closed. Without that lock, a sqlite3 shell
        // that closes while the writer reconnects would be the last connection and delete the WAL.
        sqlx::query("SELECT count(*) FROM sqlite_schema").execute(&pool).await?;
        Ok(Self { pool })
    }

    /// Closes all connections once they are idle.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Checks the whole file; returns a description of the first damage. Slow on a large file.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn quick_check(&self) -> Result<Option<String>, ReadError> {
        let result: String =
            sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&self.pool).await?;
        Ok((result != "ok").then_some(result))
    }

    /// When each kind of event last happened, by its name; the name of a maintenance task is
    /// [`MaintenanceTask::name`](crate::store::MaintenanceTask::name).
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn last_event_times(&self) -> Result<BTreeMap<String, UtcTime>, ReadError> {
        let rows: Vec<(String, UtcTime)> =
            sqlx::query_as("SELECT name, happened_at FROM last_event LIMIT 100")
                .fetch_all(&self.pool)
                .await?;
        Ok(rows.into_iter().collect())
    }

    /// Up to `limit` unfinished jobs in the order of their ids, beginning after `after`.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn unfinished_jobs(
        &self,
        after: JobId,
        limit: u32,
    ) -> Result<Vec<StoredJob>, ReadError> {
        let mut query = QueryBuilder::new("SELECT ");
        query
            .push(STORED_JOB_COLUMNS)
            .push(" FROM job WHERE job.terminal_at IS NULL AND job.id > ")
            .push_bind(after.0)
            .push(" ORDER BY job.id LIMIT ")
            .push_bind(limit);
        let rows: Vec<StoredJobRow> = query.build_query_as().fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(StoredJobRow::into_stored_job).collect())
    }

    /// A job as the tracker needs it.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn stored_job(&self, id: JobId) -> Result<Option<StoredJob>, ReadError> {
        let mut query = QueryBuilder::new("SELECT ");
        query.push(STORED_JOB_COLUMNS).push(" FROM job WHERE job.id = ").push_bind(id.0);
        let row: Option<StoredJobRow> = query.build_query_as().fetch_optional(&self.pool).await?;
        Ok(row.map(StoredJobRow::into_stored_job))
    }

    /// A job as users see it.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn job(&self, id: JobId) -> Result<Option<JobRow>, ReadError> {
        let row = sqlx::query_as("SELECT * FROM jobs WHERE id = ?1").bind(id.0);
        Ok(row.fetch_optional(&self.pool).await?)
    }

    /// A page of jobs, newest first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn jobs(&self, filter: &JobFilter) -> Result<Vec<JobRow>, ReadError> {
        let mut query = QueryBuilder::new("SELECT * FROM jobs AS j WHERE true");
        push_state_filter(&mut query, "j.state", &filter.states);
        push_label_filter(&mut query, &filter.labels);
        if let Some(provider) = &filter.provider {
            query.push(" AND j.provider = ").push_bind(provider.as_str().to_owned());
        }
        if let Some(remote_id) = &filter.remote_id {
            query.push(" AND j.remote_id = ").push_bind(remote_id.as_str().to_owned());
        }
        if let Some(since) = filter.registered_since {
            query.push(" AND j.registered_at >= ").push_bind(since);
        }
        if let Some(before) = filter.before_id {
            query.push(" AND j.id < ").push_bind(before.0);
        }
        query.push(" ORDER BY j.id DESC LIMIT ").push_bind(filter.limit);
        Ok(query.build_query_as().fetch_all(&self.pool).await?)
    }

    /// A page of transitions, oldest first.
    ///
    /// # Errors
    /// If the database cannot be read, or a cursor does not name an event of this database.
    pub async fn history(&self, filter: &HistoryFilter) -> Result<Vec<TransitionRow>, ReadError> {
        let mut query = QueryBuilder::new("SELECT h.* FROM history AS h");
        if !filter.labels.is_empty() {
            query.push(" JOIN job AS j ON j.id = h.job_id");
        }
        query.push(" WHERE true");
        if let Some(after) = &filter.after {
            query.push(" AND h.seq > ").push_bind(self.resolve_cursor(after).await?);
        }
        if let Some(up_to) = &filter.up_to {
            query.push(" AND h.seq <= ").push_bind(self.resolve_cursor(up_to).await?);
        }
        push_state_filter(&mut query, "h.to_state", &filter.states);
        push_label_filter(&mut query, &filter.labels);
        if let Some(job) = filter.job {
            query.push(" AND h.job_id = ").push_bind(job.0);
        }
        if let Some(provider) = &filter.provider {
            query.push(" AND h.provider = ").push_bind(provider.as_str().to_owned());
        }
        if let Some(since) = filter.observed_since {
            query.push(" AND h.observed_at >= ").push_bind(since);
        }
        query.push(" ORDER BY h.seq LIMIT ").push_bind(filter.limit);
        Ok(query.build_query_as().fetch_all(&self.pool).await?)
    }

    /// Verifies that `cursor` names an event of this database, or the time before the first event.
    ///
    /// # Errors
    /// If it does not, or the database cannot be read.
    pub async fn verify_cursor(&self, cursor: &EventCursor) -> Result<(), ReadError> {
        self.resolve_cursor(cursor).await.map(drop)
    }

    /// The `seq` that `cursor` names. A cursor beyond the newest event belongs to another database.
    async fn resolve_cursor(&self, cursor: &EventCursor) -> Result<i64, ReadError> {
        let mut connection = self.pool.acquire().await?;
        let newest = newest_seq(&mut connection).await?;
        match cursor_seq(cursor) {
            Some(seq) if seq <= newest => Ok(seq),
            Some(_) | None => Err(ReadError::UnknownCursor {
                cursor: cursor.clone(),
                newest: to_cursor(newest).map_err(sqlx::Error::Decode)?,
            }),
        }
    }
}

fn push_state_filter(query: &mut QueryBuilder<Sqlite>, column: &str, filters: &[StateFilter]) {
    if filters.is_empty() {
        return;
    }
    let matching: Vec<_> = State::ALL
        .into_iter()
        .filter(|state| filters.iter().any(|filter| filter.matches(*state)))
        .collect();
    // SQLite uses the partial index of unfinished jobs only if the query repeats its condition.
    if column == "j.state" && matching.iter().all(|state| !state.is_terminal()) {
        query.push(" AND j.terminal_at IS NULL");
    }
    query.push(" AND ").push(column).push(" IN (");
    let mut list = query.separated(", ");
    for state in matching {
        list.push_bind(state.as_str());
    }
    query.push(")");
}

fn push_label_filter(query: &mut QueryBuilder<Sqlite>, labels: &[(String, String)]) {
    for (key, value) in labels {
        query
            .push(" AND EXISTS (SELECT 1 FROM json_each(j.labels) WHERE key = ")
            .push_bind(key.clone())
            .push(" AND value = ")
            .push_bind(value.clone())
            .push(")");
    }
}
