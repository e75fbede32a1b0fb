//! Finds the jobs that the new jobs of a batch already are. `batch_start` reads them, `register` uses them.

use serde::Serialize;

use crate::job::{JobId, NewJob};

use super::json_rows::to_json;

/// The SQL of a subquery for the ids of [`TrackedJobs`], as JSON. Its parameter are the names of the new jobs.
///
/// The ids are in the order of the names. Each is that of the newest job with the provider and the remote id of the
/// JSON array `new.value`; NULL if there is none, if it is untracked or lost, or if it has ended and a new run is to be
/// tracked. An id with other spellings is also found in each of them, in any case. An older version could add such an id
/// twice: then an unfinished job is found, first the one with exactly this id, else the newest job. The unary `+` keeps
/// SQLite from reading all unfinished jobs instead of those with this id.
macro_rules! select_tracked_jobs {
    () => {
        "(WITH new AS MATERIALIZED (SELECT key, value FROM json_each(?))
          SELECT json_group_array(coalesce(
              (SELECT tracked.id FROM job AS tracked
               WHERE tracked.remote_id = new.value ->> 1
                 AND tracked.provider = new.value ->> 0
                 AND tracked.terminal_at IS NULL),
              (SELECT max(tracked.id) FROM job AS tracked
               WHERE tracked.remote_id COLLATE NOCASE IN (new.value ->> 2, new.value ->> 3)
                 AND tracked.provider = new.value ->> 0
                 AND +tracked.terminal_at IS NULL),
              (SELECT newest.id FROM job AS newest
               WHERE newest.id = (SELECT max(id) FROM (
                       SELECT max(id) AS id FROM job
                       WHERE remote_id = new.value ->> 1 AND provider = new.value ->> 0
                       UNION ALL SELECT max(id) FROM job
                       WHERE remote_id COLLATE NOCASE IN (new.value ->> 2, new.value ->> 3)
                         AND provider = new.value ->> 0))
                 AND newest.state NOT IN ('untracked', 'lost')
                 AND NOT new.value ->> 4)) ORDER BY new.key)
          FROM new)"
    };
}

pub(super) use select_tracked_jobs;

/// The jobs of a batch that are tracked already.
#[derive(Debug)]
pub(super) struct TrackedJobs {
    /// The tracked job that each new job is; `None` if it is not tracked.
    pub(super) ids: Vec<Option<JobId>>,
    /// The greatest id that a job has had.
    pub(super) greatest_id: JobId,
}

/// The provider, the remote id, the other spellings of the remote id, at most two, and whether a job that has ended
/// does not count.
#[derive(Serialize)]
struct JobName<'a>(&'a str, &'a str, Option<String>, Option<String>, bool);

impl<'a> From<&'a NewJob> for JobName<'a> {
    fn from(job: &'a NewJob) -> Self {
        let mut spellings = job.remote_id.spellings().into_iter();
        let (first, second) = (spellings.next(), spellings.next());
        Self(job.provider.as_str(), job.remote_id.as_str(), first, second, job.is_new_run)
    }
}

/// The parameter of [`select_tracked_jobs`].
pub(super) fn job_names(new_jobs: &[NewJob]) -> Result<String, sqlx::Error> {
    to_json(new_jobs.iter().map(JobName::from))
}

impl TrackedJobs {
    /// From the result of [`select_tracked_jobs`] for this number of names.
    pub(super) fn new(ids: &str, names: usize, greatest_id: JobId) -> Result<Self, sqlx::Error> {
        let ids: Vec<Option<JobId>> =
            serde_json::from_str(ids).map_err(|error| sqlx::Error::Decode(error.into()))?;
        if ids.len() != names {
            let error = format!("{} ids were read for {names} new jobs", ids.len());
            return Err(sqlx::Error::Decode(error.into()));
        }
        Ok(Self { ids, greatest_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::SCHEMA_VERSION;
    use crate::store::sqlite::schema::database_with_schema;

    #[tokio::test]
    async fn the_ids_are_in_the_order_of_the_names_whatever_order_sqlite_reads_them_in() {
        let mut connection = database_with_schema(SCHEMA_VERSION).await.expect("a database");
        let jobs = "
            INSERT INTO job (id, provider, kind, remote_id, state, registered_at)
            SELECT value, 'dune', 'dune', 'job' || value, 'registered', '2026-01-01 00:00:00.000'
            FROM json_each('[1, 2, 3]')";
        sqlx::query(jobs).execute(&mut connection).await.expect("three jobs");
        for pragma in
            ["PRAGMA reverse_unordered_selects = OFF", "PRAGMA reverse_unordered_selects = ON"]
        {
            sqlx::query(pragma).execute(&mut connection).await.expect("a pragma");
            let name = |id| JobName("dune", id, None, None, false);
            let names = to_json(["job2", "job9", "job3", "job1"].map(name).iter());
            let ids: String = sqlx::query_scalar(concat!("SELECT ", select_tracked_jobs!()))
                .bind(names.expect("JSON"))
                .fetch_one(&mut connection)
                .await
                .expect("the ids");
            assert_eq!(ids, "[2,null,3,1]", "{pragma}");
        }
    }

    #[tokio::test]
    async fn jobs_are_found_by_their_ids() {
        let mut connection = database_with_schema(SCHEMA_VERSION).await.expect("a database");
        let explain = concat!("EXPLAIN QUERY PLAN SELECT ", select_tracked_jobs!());
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(explain).bind("[]").fetch_all(&mut connection).await.expect("a plan");
        for (.., step) in plan {
            let is_by_id =
                step.contains("(remote_id=? AND provider=?)") || step.contains("rowid=?");
            let reads_jobs = ["job", "tracked", "newest"].iter().any(|table| {
                step.starts_with(&format!("SCAN {table} "))
                    || step.starts_with(&format!("SEARCH {table} "))
            });
            assert!(is_by_id || !reads_jobs, "{step}");
        }
    }

    #[test]
    fn an_id_for_each_name_is_required() {
        assert!(TrackedJobs::new("[1,null]", 2, JobId(1)).is_ok());
        assert!(TrackedJobs::new("[1]", 2, JobId(1)).is_err());
    }
}
