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
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};
use sqlx::{QueryBuilder, Sqlite};
use tokio::sync::Mutex;

use crate::job::{EventCursor, JobId, RecordedTimes, State, StateFilter, StoredJob, UtcTime};
use crate::store::{HistoryFilter, JobFilter, ReadError, StoredDurationSample, TrackerStateReader};

use super::copy::read_options;
use super::cursor::{cursor_seq, newest_seq, to_cursor};
use super::maintenance::{CERTAIN_TIME, CONFIRMED_TIME};
use super::rows::{JobRow, TransitionRow};
use super::stored_job::{STORED_JOB_COLUMNS, StoredJobRow, find_stored_job};

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
        let mut query = QueryBuilder::new("SELECT * FROM jobs AS j WHERE true");
        push_state_filter(&mut query, "j.state", &filter.states);
        push_label_filter(&mut query, &filter.labels);
        if let Some(provider) = &filter.provider {
            query.push(" AND j.provider = ").push_bind(provider.as_str().to_owned());
        }
        if let Some(remote_id) = &filter.remote_id {
            let spellings = remote_id.spellings();
            if spellings.is_empty() {
                query.push(" AND j.remote_id = ").push_bind(remote_id.as_str().to_owned());
            } else {
                query.push(" AND j.remote_id COLLATE NOCASE IN (");
                let mut list = query.separated(", ");
                for spelling in spellings {
                    list.push_bind(spelling);
                }
                query.push(")");
            }
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

    fn duration_samples(
        &self,
        after: i64,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<StoredDurationSample>, ReadError>> {
        Box::pin(self.duration_samples(after, limit))
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
