//! Reads the database beside the writer, over a few read-only connections.
//!
//! Used by the control server, by the scheduler when it loads jobs, and by the daemon. Invariant: every
//! query returns a bounded number of rows and none is left half read, because an open query keeps the
//! WAL from being truncated.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::QueryBuilder;
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};
use tokio::sync::Mutex;

use crate::job::{
    DurationSample, EventCursor, JobId, ProviderName, RecordedTimes, State, StoredJob, UtcTime,
};
use crate::policy::RateLimiterStates;
use crate::store::{HistoryFilter, JobFilter, ReadError, StoredDurationSample, TrackerStateReader};

use super::copy::read_options;
use super::cursor::{cursor_seq, newest_seq, to_cursor};
use super::job_list::{push_label_condition, push_states, read_page, restricting_states};
use super::lower_bound::{MAX_SKIPPED_ROWS, NumberedRows, lower_bound};
use super::maintenance::{CERTAIN_TIME, CLOCK_BEHIND, CLOCK_SET, CONFIRMED_TIME};
use super::prune::count_prunable_jobs;
use super::rate_limiter_states;
use super::rows::{JobRow, PrunableRow, TransitionRow};
use super::stored_job::{find_stored_job, parse_stored_jobs, select_stored_jobs};

const READER_CONNECTIONS: u32 = 4;
/// The cache of one connection, in KiB. The kernel caches the file as well.
const CACHE_KIB: u32 = 512;

/// Reads the database. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Reader {
    pub(super) pool: SqlitePool,
    /// Held while there is a copy of the database.
    pub(super) snapshots: Arc<Mutex<()>>,
}

impl Reader {
    pub(super) async fn open(path: &Path) -> Result<Self, sqlx::Error> {
        let options = read_options(path)
            .pragma("query_only", "on")
            .pragma("cache_size", format!("-{CACHE_KIB}"));
        let pool = SqlitePoolOptions::new()
            // All at once: later there may be no file descriptor left to open one.
            .min_connections(READER_CONNECTIONS)
            .max_connections(READER_CONNECTIONS)
            .acquire_timeout(Duration::from_secs(5))
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options)
            .await?;
        // A connection that has read keeps a lock until it is closed. Without that lock, a sqlite3 shell
        // that closes while the writer reconnects would be the last connection and delete the WAL.
        sqlx::query("SELECT count(*) FROM sqlite_schema").execute(&pool).await?;
        Ok(Self { pool, snapshots: Arc::default() })
    }

    /// Closes all connections once they are idle, and waits until no copy of the database is left.
    pub async fn close(&self) {
        self.pool.close().await;
        let _none_is_made = self.snapshots.lock().await;
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
        let page = "(SELECT * FROM job
                     WHERE terminal_at IS NULL AND id > ?1 ORDER BY id LIMIT ?2) AS job";
        let query = sqlx::query_scalar(select_stored_jobs(page)).bind(after.0).bind(limit);
        let json: String = query.fetch_one(&self.pool).await?;
        Ok(parse_stored_jobs(&json)?)
    }

    /// The jobs that the maintenance would delete at `now` with this retention, by state, if its clock is certain
    /// then.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn prunable_jobs(
        &self,
        retention: &[(State, Duration)],
        now: UtcTime,
    ) -> Result<Vec<PrunableRow>, ReadError> {
        let events = self.last_event_times().await?;
        // A clock that was behind counts as set by the next maintenance, once no provider contradicts it.
        let clock_set = events.get(CLOCK_BEHIND).map(|_| now).or(events.get(CLOCK_SET).copied());
        Ok(count_prunable_jobs(&self.pool, retention, now, clock_set).await?)
    }

    /// A job as the tracker needs it.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn stored_job(&self, id: JobId) -> Result<Option<StoredJob>, ReadError> {
        Ok(find_stored_job(&self.pool, id).await?)
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
        Ok(read_page(&self.pool, filter).await?)
    }

    /// No job that was registered at this time or later has a lower id. `None`: there is no such job.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn job_id_lower_bound(&self, since: UtcTime) -> Result<Option<JobId>, ReadError> {
        let bound = lower_bound(&self.pool, NumberedRows::Jobs, since, MAX_SKIPPED_ROWS).await?;
        Ok(bound.map(JobId))
    }

    /// No job whose end was recorded at this time or later has a lower id. `None`: there is no such job.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn ended_job_id_lower_bound(
        &self,
        since: UtcTime,
    ) -> Result<Option<JobId>, ReadError> {
        let rows = NumberedRows::EndedJobs;
        let bound = lower_bound(&self.pool, rows, since, MAX_SKIPPED_ROWS).await?;
        Ok(bound.map(JobId))
    }

    /// A page of transitions, in the order that the filter names.
    ///
    /// # Errors
    /// If the database cannot be read, or a cursor does not name an event of this database.
    pub async fn history(&self, filter: &HistoryFilter) -> Result<Vec<TransitionRow>, ReadError> {
        let mut query = QueryBuilder::new("SELECT h.* FROM history AS h WHERE true");
        if let Some(after) = &filter.after {
            query.push(" AND h.seq > ").push_bind(self.resolve_cursor(after).await?);
        }
        if let Some(before) = &filter.before {
            query.push(" AND h.seq < ").push_bind(self.resolve_cursor(before).await?);
        }
        if let Some(up_to) = &filter.up_to {
            query.push(" AND h.seq <= ").push_bind(self.resolve_cursor(up_to).await?);
        }
        if let Some(states) = restricting_states(&filter.states) {
            query.push(" AND ");
            push_states(&mut query, "h.to_state", &states);
        }
        for label in &filter.labels {
            push_label_condition(&mut query, "h.job_id", label);
        }
        if let Some(job) = filter.job {
            query.push(" AND h.job_id = ").push_bind(job.0);
        }
        if let Some(provider) = &filter.provider {
            query.push(" AND h.provider = ").push_bind(provider.as_str().to_owned());
        }
        if let Some(since) = filter.observed_since {
            // A later page begins after a newer transition, and a job has few of them.
            if filter.after.is_none() && filter.job.is_none() {
                let rows = NumberedRows::Transitions;
                let bound = lower_bound(&self.pool, rows, since, MAX_SKIPPED_ROWS).await?;
                let Some(first) = bound else { return Ok(Vec::new()) };
                query.push(" AND h.seq >= ").push_bind(first);
            }
            query.push(" AND +h.observed_at >= ").push_bind(since);
        }
        if let Some(before) = filter.observed_before {
            query.push(" AND +h.observed_at < ").push_bind(before);
        }
        query.push(if filter.newest_first { " ORDER BY h.seq DESC" } else { " ORDER BY h.seq" });
        query.push(" LIMIT ").push_bind(filter.limit);
        Ok(query.build_query_as().fetch_all(&self.pool).await?)
    }

    /// Verifies that `cursor` names an event of this database, or the time before the first event.
    ///
    /// # Errors
    /// If it does not, or the database cannot be read.
    pub async fn verify_cursor(&self, cursor: &EventCursor) -> Result<(), ReadError> {
        self.resolve_cursor(cursor).await.map(drop)
    }

    /// How many of the transitions after `after`, up to and including `up_to`, have been deleted.
    ///
    /// # Errors
    /// If the database cannot be read, or a cursor does not name an event of this database.
    pub async fn count_pruned(
        &self,
        after: &EventCursor,
        up_to: &EventCursor,
    ) -> Result<u64, ReadError> {
        let (after, up_to) = (self.resolve_cursor(after).await?, self.resolve_cursor(up_to).await?);
        // Numbers are given without gaps: a transaction that fails gives none.
        let count: i64 = sqlx::query_scalar(
            "SELECT max(?2 - ?1, 0) - count(*) FROM transition WHERE seq > ?1 AND seq <= ?2",
        )
        .bind(after)
        .bind(up_to)
        .fetch_one(&self.pool)
        .await?;
        Ok(u64::try_from(count).unwrap_or(0))
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

impl TrackerStateReader for Reader {
    fn unfinished_jobs(
        &self,
        after: JobId,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<StoredJob>, ReadError>> {
        Box::pin(self.unfinished_jobs(after, limit))
    }

    fn recorded_times(&self) -> BoxFuture<'_, Result<RecordedTimes, ReadError>> {
        Box::pin(async {
            let recorded = sqlx::query_as(
                "SELECT coalesce((SELECT happened_at FROM last_event WHERE name = ?1),
                                 (SELECT observed_at FROM transition ORDER BY seq DESC LIMIT 1)),
                        (SELECT happened_at FROM last_event WHERE name = ?2)",
            );
            let recorded = recorded.bind(CERTAIN_TIME).bind(CONFIRMED_TIME);
            let (certain, confirmed) = recorded.fetch_one(&self.pool).await?;
            Ok(RecordedTimes { certain, confirmed })
        })
    }

    fn rate_limiter_states(&self) -> BoxFuture<'_, Result<RateLimiterStates, ReadError>> {
        Box::pin(async { Ok(rate_limiter_states::read(&self.pool).await?) })
    }

    fn duration_samples(
        &self,
        after: i64,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<StoredDurationSample>, ReadError>> {
        Box::pin(self.duration_samples(after, limit))
    }

    fn ended_runs(
        &self,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<(ProviderName, DurationSample)>, ReadError>> {
        Box::pin(self.ended_runs(limit))
    }
}
