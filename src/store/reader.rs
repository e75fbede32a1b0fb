//! Reading, beside the writer and never in its way: a few read-only connections, every query with a
//! LIMIT and fetched whole. A query left half read would keep the WAL from ever shrinking.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};
use sqlx::{FromRow, QueryBuilder, Sqlite};

use crate::job::{
    CurrentState, Evidence, JobId, Labels, LifecycleStep, ProviderName, ProviderTimes, RemoteId,
    SimilarityKeys, State, StateFilter, StoredJob, UtcTime,
};

/// Why a question to the database was not answered.
#[derive(Debug, thiserror::Error)]
#[error("the database cannot be read: {0}")]
pub struct ReadError(#[from] sqlx::Error);

/// Reads the database; clones share its connections.
#[derive(Debug, Clone)]
pub struct Reader {
    pub(super) pool: SqlitePool,
}

/// A row of the `jobs` view.
#[derive(Debug, FromRow)]
#[allow(missing_docs, reason = "the columns are documented with the view's contract")]
pub struct JobRow {
    pub id: JobId,
    pub provider: ProviderName,
    pub kind: String,
    pub remote_id: RemoteId,
    pub state: State,
    pub provider_state: Option<String>,
    pub terminal: bool,
    #[sqlx(json)]
    pub labels: Labels,
    pub added_by: Option<u32>,
    pub registered_at: UtcTime,
    pub submitted_at: Option<UtcTime>,
    pub started_at: Option<UtcTime>,
    pub ended_at: Option<UtcTime>,
    pub terminal_at: Option<UtcTime>,
    pub expires_at: Option<UtcTime>,
    pub message: Option<String>,
    pub last_polled_at: Option<UtcTime>,
    pub next_poll_at: Option<UtcTime>,
    pub polls: u32,
    pub failed_polls: u32,
    pub last_poll_error: Option<String>,
    #[sqlx(json)]
    pub detail: Map<String, Value>,
    pub likeness: Option<SimilarityKeys>,
}

/// A row of the `history` view.
#[derive(Debug, FromRow)]
#[allow(missing_docs, reason = "the columns are documented with the view's contract")]
pub struct TransitionRow {
    pub seq: i64,
    pub job_id: JobId,
    pub provider: ProviderName,
    pub remote_id: RemoteId,
    pub from_state: Option<State>,
    pub to_state: State,
    pub provider_state: Option<String>,
    pub evidence: Evidence,
    pub occurred_at: Option<UtcTime>,
    pub observed_at: UtcTime,
    pub earliest_at: Option<UtcTime>,
    pub message: Option<String>,
}

/// Which jobs; what is not set does not filter.
#[derive(Debug, Default)]
pub struct JobFilter {
    /// In one of these states.
    pub states: Vec<StateFilter>,
    /// Of this provider.
    pub provider: Option<ProviderName>,
    /// Of this name there.
    pub remote_id: Option<RemoteId>,
    /// With all of these.
    pub labels: Vec<(String, String)>,
    /// Registered then or later.
    pub registered_since: Option<UtcTime>,
    /// Older than this one.
    pub before_id: Option<JobId>,
    /// At most so many.
    pub limit: u32,
}

/// Which transitions; what is not set does not filter.
#[derive(Debug, Default, Clone)]
pub struct HistoryFilter {
    /// Of this job.
    pub job: Option<JobId>,
    /// With a greater number.
    pub after_seq: i64,
    /// Up to this number.
    pub up_to_seq: Option<i64>,
    /// Observed then or later.
    pub observed_since: Option<UtcTime>,
    /// Of this provider.
    pub provider: Option<ProviderName>,
    /// Into one of these states.
    pub states: Vec<StateFilter>,
    /// Of jobs with all of these.
    pub labels: Vec<(String, String)>,
    /// At most so many.
    pub limit: u32,
}

/// The columns of a [`TrackedRow`]; what the history tells is asked of the history.
pub(super) const STORED_JOB_COLUMNS: &str = "
    job.id, job.provider, job.remote_id, job.state, job.provider_state, job.registered_at,
    job.give_up_after_s, job.next_poll_at, job.answered_from, job.polls, job.failed_polls,
    job.listed_at, job.likeness, job.submitted_at, job.started_at, job.ended_at, job.expires_at,
    coalesce((SELECT observed_at FROM transition WHERE job_id = job.id ORDER BY seq DESC LIMIT 1),
             job.registered_at) AS observed_at,
    (SELECT max(CASE to_state WHEN 'running' THEN 2 WHEN 'pending' THEN 1 ELSE 0 END)
     FROM transition WHERE job_id = job.id) AS reached";

#[derive(Debug, FromRow)]
pub(super) struct StoredJobRow {
    pub(super) id: JobId,
    provider: ProviderName,
    remote_id: RemoteId,
    state: State,
    provider_state: Option<String>,
    registered_at: UtcTime,
    give_up_after_s: Option<i64>,
    next_poll_at: Option<UtcTime>,
    answered_from: Option<UtcTime>,
    polls: u32,
    failed_polls: u32,
    listed_at: Option<UtcTime>,
    likeness: Option<SimilarityKeys>,
    submitted_at: Option<UtcTime>,
    started_at: Option<UtcTime>,
    ended_at: Option<UtcTime>,
    expires_at: Option<UtcTime>,
    observed_at: UtcTime,
    reached: Option<i64>,
}

impl StoredJobRow {
    pub(super) fn into_stored_job(self) -> StoredJob {
        let to_duration = |seconds| u64::try_from(seconds).ok().map(Duration::from_secs);
        StoredJob {
            id: self.id,
            provider: self.provider,
            remote_id: self.remote_id,
            current_state: CurrentState {
                state: self.state,
                provider_state: self.provider_state.map(Into::into),
                furthest_step: match self.reached {
                    Some(2) => LifecycleStep::Running,
                    Some(1) => LifecycleStep::Pending,
                    Some(_) | None => LifecycleStep::Registered,
                },
                observed_at: self.observed_at,
                last_success_sent_at: self.answered_from,
            },
            registered_at: self.registered_at,
            give_up_after: self.give_up_after_s.and_then(to_duration),
            next_poll_at: self.next_poll_at,
            polls: self.polls,
            failed_polls: self.failed_polls,
            list_time: self.listed_at,
            similarity_keys: self.likeness.unwrap_or_default(),
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
        Ok(Self { pool })
    }

    /// Closes all connections once they are idle.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// What is damaged, if anything is. Takes its time on a large file.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn quick_check(&self) -> Result<Option<String>, ReadError> {
        let result: String =
            sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&self.pool).await?;
        Ok((result != "ok").then_some(result))
    }

    /// When each kind of housekeeping was last done, by its name.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn last_event_times(&self) -> Result<BTreeMap<String, UtcTime>, ReadError> {
        let rows: Vec<(String, UtcTime)> =
            sqlx::query_as("SELECT name, at FROM milestone LIMIT 100")
                .fetch_all(&self.pool)
                .await?;
        Ok(rows.into_iter().collect())
    }

    /// Up to `limit` jobs that are not over, by number, beginning after `after`.
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

    /// One job.
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

    /// A page of transitions, by number.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn history(&self, filter: &HistoryFilter) -> Result<Vec<TransitionRow>, ReadError> {
        let mut query = QueryBuilder::new("SELECT h.* FROM history AS h");
        if !filter.labels.is_empty() {
            query.push(" JOIN job AS j ON j.id = h.job_id");
        }
        query.push(" WHERE h.seq > ").push_bind(filter.after_seq);
        push_state_filter(&mut query, "h.to_state", &filter.states);
        push_label_filter(&mut query, &filter.labels);
        if let Some(up_to) = filter.up_to_seq {
            query.push(" AND h.seq <= ").push_bind(up_to);
        }
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
}

fn push_state_filter(query: &mut QueryBuilder<Sqlite>, column: &str, filters: &[StateFilter]) {
    if filters.is_empty() {
        return;
    }
    let matching =
        State::ALL.into_iter().filter(|state| filters.iter().any(|filter| filter.matches(*state)));
    let matching: Vec<_> = matching.collect();
    // The partial index over jobs that are not over needs to be told so.
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
