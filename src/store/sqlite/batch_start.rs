//! The begin of the transaction of a batch, and what the batch depends on: the identity of the database, and
//! which jobs are in the expected state, the jobs that end, and which new jobs are tracked already.
//!
//! Called by `write`. Invariant: the transaction has the write lock from its first statement on, so what is
//! read here stays true until its end.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteConnection;
use sqlx::{FromRow, Row};

use crate::job::{JobId, ProviderTimes, UtcTime};
use crate::store::{Batch, EndedJob};

use super::identity::Identity;
use super::json_rows::to_json;
use super::script::Script;
use super::time::SqlTime;
use super::tracked_job::{TrackedJobs, job_names, select_tracked_jobs};

/// A deferred transaction that starts to write ignores the busy timeout.
const BEGIN: &str = "BEGIN IMMEDIATE";

/// The jobs are those that are not as
/// expected, and those that end; one row has them all, because a row of sqlx costs more than a job.
const SELECT_START: &str = concat!(
    "
    SELECT uuid, commits,
           (WITH expected AS MATERIALIZED (SELECT value FROM jsonb_each(?))
            SELECT json_group_array(json_array(
                       new.value ->> 'job', new.is_as_expected, new.registered_at,
                       new.submitted_at, new.started_at, new.ended_at, new.expires_at,
                       new.provider, new.remote_id, new.labels))
            FROM (SELECT new.value,
                         job.state IS new.value ->> 'state'
                             AND (NOT new.value ->> 'changes'
                                  OR job.provider_state IS new.value ->> 'provider_state')
                             AS is_as_expected,
                         job.registered_at, job.submitted_at, job.started_at, job.ended_at,
                         job.expires_at, job.provider, job.remote_id, job.labels
                  FROM expected AS new LEFT JOIN job ON job.id = new.value ->> 'job') AS new
            WHERE new.value ->> 'ends' OR NOT new.is_as_expected) AS jobs,
           max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'job'), 0),
               coalesce((SELECT max(id) FROM job), 0)) AS greatest_job_id, ",
    select_tracked_jobs!(),
    " AS tracked
    FROM database_identity WHERE id = 1"
);

/// The start of a transaction.
#[derive(Debug)]
pub(super) struct BatchStart {
    /// The identity of the database before the transaction.
    pub(super) identity: Identity,
    /// The jobs that are in another state than the batch expects, or missing.
    pub(super) conflicting: HashSet<JobId>,
    /// The times of the jobs that the batch ends.
    pub(super) times: HashMap<JobId, StoredTimes>,
    /// The names of the jobs that the batch ends.
    pub(super) ended: HashMap<JobId, EndedJob>,
    pub(super) tracked: TrackedJobs,
}

/// The times of a job before this batch.
#[derive(Debug)]
pub(super) struct StoredTimes {
    pub(super) registered_at: UtcTime,
    pub(super) provider: ProviderTimes,
}

/// A job of the array in [`SELECT_START`]; all but the first two values are null if the job is missing.
#[derive(Deserialize)]
struct StartedJob(
    JobId,
    u8,
    Option<SqlTime>,
    Option<SqlTime>,
    Option<SqlTime>,
    Option<SqlTime>,
    Option<SqlTime>,
    Option<String>,
    Option<String>,
    Option<String>,
);

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
    script.push(BEGIN).push(SELECT_START).bind(to_json(expected_jobs(batch))?)?;
    script.bind(job_names(&batch.new_jobs)?)?;
    let row = script.fetch_one(connection).await?;
    let mut start = BatchStart {
        identity: Identity::from_row(&row)?,
        conflicting: HashSet::new(),
        times: HashMap::new(),
        ended: HashMap::new(),
        tracked: TrackedJobs::new(
            row.try_get("tracked")?,
            batch.new_jobs.len(),
            row.try_get("greatest_job_id")?,
        )?,
    };
    let jobs: Vec<StartedJob> = serde_json::from_str(row.try_get("jobs")?)
        .map_err(|error| sqlx::Error::Decode(error.into()))?;
    for job in jobs {
        start.add(job);
    }
    Ok(start)
}

impl BatchStart {
    fn add(&mut self, started: StartedJob) {
        let StartedJob(
            job,
            as_expected,
            registered_at,
            submitted,
            running,
            ended,
            expires,
            provider,
            remote_id,
            labels,
        ) = started;
        let time = |at: Option<SqlTime>| at.map(|at| at.0);
        if as_expected == 0 {
            self.conflicting.insert(job);
        } else if let Some(SqlTime(registered_at)) = registered_at {
            let names = [provider, remote_id, labels].map(Option::unwrap_or_default);
            let [provider, remote_id, labels] = names;
            self.ended.insert(job, EndedJob { provider, remote_id, labels });
            let provider = ProviderTimes {
                submitted_at: time(submitted),
                started_at: time(running),
                ended_at: time(ended),
                expires_at: time(expires),
            };
            self.times.insert(job, StoredTimes { registered_at, provider });
        }
    }
}

fn expected_jobs(batch: &Batch) -> impl Iterator<Item = ExpectedJob<'_>> {
    let changes = batch.changes.iter().map(|change| ExpectedJob {
        job: change.job,
        state: change.expected_state.as_str(),
        provider_state: change.expected_provider_state.as_deref(),
        changes: true,
        ends: change.new_state.state().is_terminal(),
    });
    let records = batch.poll_records.iter().map(|record| ExpectedJob {
        job: record.job,
        state: record.expected_state.as_str(),
        provider_state: None,
        changes: false,
        ends: false,
    });
    changes.chain(records)
}
