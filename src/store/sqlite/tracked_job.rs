//! Finds the jobs that new jobs already are. Called by `register`, inside its transaction.

use serde::Serialize;
use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteConnection;

use crate::job::{JobId, NewJob};

use super::json_rows::to_json;

/// The jobs of a batch that are tracked already.
#[derive(Debug)]
pub(super) struct TrackedJobs {
    /// The tracked job that each new job is; `None` if it is not tracked.
    pub(super) ids: Vec<Option<JobId>>,
    /// The greatest id that a job has had.
    pub(super) greatest_id: JobId,
}

/// The id of the tracked job with the provider and the remote id of the JSON array `new.value`; NULL if there
/// is none. An id with other spellings is also found in each of them, in any case. An older version could add
/// such an id twice: then the job with exactly this id is found, else the first one.
const TRACKED_JOB_ID: &str = "coalesce(
    (SELECT tracked.id FROM job AS tracked
     WHERE tracked.remote_id = new.value ->> 1
       AND tracked.provider = new.value ->> 0
       AND tracked.state NOT IN ('untracked', 'lost')),
    (SELECT min(tracked.id) FROM job AS tracked
     WHERE tracked.remote_id COLLATE NOCASE IN (new.value ->> 2, new.value ->> 3)
       AND tracked.provider = new.value ->> 0
       AND tracked.state NOT IN ('untracked', 'lost')))";

/// The provider, the remote id, and the other spellings of the remote id, at most two.
#[derive(Serialize)]
struct JobName<'a>(&'a str, &'a str, Option<String>, Option<String>);

impl<'a> From<&'a NewJob> for JobName<'a> {
    fn from(job: &'a NewJob) -> Self {
        let mut spellings = job.remote_id.spellings().into_iter();
        let (first, second) = (spellings.next(), spellings.next());
        Self(job.provider.as_str(), job.remote_id.as_str(), first, second)
    }
}

/// Looks up each of the new jobs.
pub(super) async fn find_tracked_jobs(
    connection: &mut SqliteConnection,
    new_jobs: &[NewJob],
) -> Result<TrackedJobs, sqlx::Error> {
    let sql = format!(
        "SELECT json_group_array({TRACKED_JOB_ID} ORDER BY new.key),
                max((SELECT coalesce(max(id), 0) FROM job),
                    coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'job'), 0))
         FROM json_each(?1) AS new"
    );
    let names = to_json(new_jobs.iter().map(JobName::from))?;
    let (ids, greatest_id): (String, JobId) =
        sqlx::query_as(AssertSqlSafe(sql)).bind(names).fetch_one(connection).await?;
    let ids = serde_json::from_str(&ids).map_err(|error| sqlx::Error::Decode(error.into()))?;
    Ok(TrackedJobs { ids, greatest_id })
}
