//! The begin of the transaction of a batch, and what the batch depends on: the identity of the database, and
//! which jobs are in the expected state.
//!
//! Called by `write`. Invariant: the transaction has the write lock from its first statement on, so what is
//! read here stays true until its end.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{FromRow, Row};

use crate::job::{JobId, ProviderTimes, State, UtcTime};
use crate::store::Batch;

use super::identity::Identity;
use super::script::Script;

/// A deferred transaction that starts to write ignores the busy timeout.
const BEGIN: &str = "BEGIN IMMEDIATE";

/// The newest `seq` is that of the next insert minus one. Not max(seq) alone: pruning deletes transitions.
const SELECT_DATABASE: &str = "
    SELECT uuid, commits,
           max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'transition'), 0),
               coalesce((SELECT max(seq) FROM transition), 0)) AS newest_seq
    FROM database_identity WHERE id = 1";

/// The jobs that are not as expected, and those that end.
const SELECT_JOBS: &str = "
    SELECT new.value ->> 'job' AS job,
           job.state IS new.value ->> 'state'
               AND (NOT new.value ->> 'changes'
                    OR job.provider_state IS new.value ->> 'provider_state') AS is_as_expected,
           job.registered_at, job.submitted_at, job.started_at, job.ended_at, job.expires_at
    FROM json_each(?) AS new LEFT JOIN job ON job.id = new.value ->> 'job'
    WHERE new.value ->> 'ends' OR NOT is_as_expected";

/// The start of a transaction.
#[derive(Debug)]
pub(super) struct BatchStart {
    /// The identity of the database before the transaction.
    pub(super) identity: Identity,
    /// The `seq` of the newest transition; 0 if there is none.
    pub(super) newest_seq: i64,
    /// The jobs that are in another state than the batch expects, or missing.
    pub(super) conflicting: HashSet<JobId>,
    /// The times of the jobs that the batch ends.
    pub(super) times: HashMap<JobId, StoredTimes>,
}

/// The times of a job before this batch.
#[derive(Debug, FromRow)]
pub(super) struct StoredTimes {
    pub(super) registered_at: UtcTime,
    submitted_at: Option<UtcTime>,
    started_at: Option<UtcTime>,
    ended_at: Option<UtcTime>,
    expires_at: Option<UtcTime>,
}

impl StoredTimes {
    pub(super) fn provider_times(&self) -> ProviderTimes {
        ProviderTimes {
            submitted_at: self.submitted_at,
            started_at: self.started_at,
            ended_at: self.ended_at,
            expires_at: self.expires_at,
        }
    }
}

/// A job as the batch expects it.
#[derive(Serialize)]
struct ExpectedJob<'a> {
    job: JobId,
    state: &'static str,
    provider_state: Option<&'a str>,
    /// Whether the provider state matters too, and the job changes.
    changes: bool,
    ends: bool,
}

/// Begins the transaction.
pub(super) async fn begin(
    connection: &mut SqliteConnection,
    batch: &Batch,
) -> Result<BatchStart, sqlx::Error> {
    let mut script = Script::default();
    script.push(BEGIN).push(SELECT_DATABASE);
    script.push_rows(SELECT_JOBS, &expected_jobs(batch))?;
    let rows = script.fetch_all(connection).await?;
    let (database, jobs) = rows.split_first().ok_or(sqlx::Error::RowNotFound)?;
    let mut start = BatchStart {
        identity: Identity::from_row(database)?,
        newest_seq: database.try_get("newest_seq")?,
        conflicting: HashSet::new(),
        times: HashMap::new(),
    };
    for row in jobs {
        start.add_job(row)?;
    }
    Ok(start)
}

impl BatchStart {
    fn add_job(&mut self, row: &SqliteRow) -> Result<(), sqlx::Error> {
        let job = row.try_get("job")?;
        if row.try_get("is_as_expected")? {
            self.times.insert(job, StoredTimes::from_row(row)?);
        } else {
            self.conflicting.insert(job);
        }
        Ok(())
    }
}

fn expected_jobs(batch: &Batch) -> Vec<ExpectedJob<'_>> {
    let changes = batch.changes.iter().map(|change| ExpectedJob {
        job: change.job,
        state: change.expected_state.as_str(),
        provider_state: change.expected_provider_state.as_deref(),
        changes: true,
        ends: change.new_state.state().is_terminal(),
    });
    let records = batch.poll_records.iter().map(|record| ExpectedJob {
        job: record.job,
        state: State::as_str(record.expected_state),
        provider_state: None,
        changes: false,
        ends: false,
    });
    changes.chain(records).collect()
}
