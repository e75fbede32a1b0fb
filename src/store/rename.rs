//! A provider under a new name: what stands in the database under its former names becomes its own.
//! All that a config renames, or nothing of it.

use std::fmt;

use serde_json::json;
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;

use crate::job::{JobId, ProviderName, RemoteId, Utc};

/// A provider, and the names that it bore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renaming {
    /// Its name now.
    pub to: ProviderName,
    /// Its kind: jobs of another are not its own.
    pub kind: &'static str,
    /// Its former names.
    pub from: Vec<ProviderName>,
}

/// A former name that was found, and is no longer there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renamed {
    /// The former name.
    pub from: ProviderName,
    /// The name now.
    pub to: ProviderName,
    /// How many jobs bore it.
    pub jobs: u64,
}

impl fmt::Display for Renamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "provider {} is now {}, {} jobs with it", self.from, self.to, self.jobs)
    }
}

/// Why nothing was renamed, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameConflict {
    /// One id is tracked under two of the names: it would be two jobs of one provider.
    #[error(
        "provider {to} cannot take over the jobs of its former names, nothing is renamed: under two of \
         the names there is {}; `jobtrack untrack` one of each two, or if both are over, take the \
         former name out of providers.{to}.formerly", .doubles.join(", ")
    )]
    Twice {
        /// The name now.
        to: ProviderName,
        /// Some of the ids, each with its jobs.
        doubles: Vec<String>,
    },
    /// A former name was that of another service.
    #[error(
        "provider {to} cannot take over the jobs of its former name {from}, nothing is renamed: job \
         {job} is of kind {found}, {to} is of kind {kind}; take {from} out of providers.{to}.formerly"
    )]
    Kind {
        /// The name now.
        to: ProviderName,
        /// Its kind.
        kind: &'static str,
        /// The former name.
        from: ProviderName,
        /// A job of that name.
        job: JobId,
        /// The kind of that job.
        found: String,
    },
}

/// What became of it: the names that were found, or why none was touched.
pub(super) type Outcome = Result<Vec<Renamed>, NameConflict>;

/// Renames all, in one transaction; without anything to rename, nothing is written.
pub(super) async fn rename(
    connection: &mut SqliteConnection,
    renamings: &[Renaming],
    now: Utc,
) -> Result<Outcome, sqlx::Error> {
    if !is_needed(connection, renamings).await? {
        return Ok(Ok(Vec::new()));
    }
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for renaming in renamings {
        if let Some(conflict) = conflict(&mut transaction, renaming).await? {
            transaction.rollback().await?;
            return Ok(Err(conflict));
        }
    }
    let mut renamed = Vec::new();
    for renaming in renamings {
        close_outages(&mut transaction, renaming, now).await?;
        for from in &renaming.from {
            let events = set_name(&mut transaction, EVENTS, from, &renaming.to).await?;
            let jobs = set_name(&mut transaction, JOBS, from, &renaming.to).await?;
            let lessons = set_name(&mut transaction, LESSONS, from, &renaming.to).await?;
            if jobs + events + lessons > 0 {
                renamed.push(Renamed { from: from.clone(), to: renaming.to.clone(), jobs });
            }
        }
    }
    transaction.commit().await?;
    Ok(Ok(renamed))
}

const EVENTS: &str = "UPDATE provider_event SET provider = ?2 WHERE provider = ?1";
const JOBS: &str = "UPDATE job SET provider = ?2 WHERE provider = ?1";
const LESSONS: &str = "UPDATE lesson SET provider = ?2 WHERE provider = ?1";

async fn set_name(
    connection: &mut SqliteConnection,
    statement: &'static str,
    from: &ProviderName,
    to: &ProviderName,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(statement).bind(from.as_str()).bind(to.as_str());
    Ok(done.execute(connection).await?.rows_affected())
}

/// Whether a former name stands anywhere. Only we write, so that this stays true.
async fn is_needed(
    connection: &mut SqliteConnection,
    renamings: &[Renaming],
) -> Result<bool, sqlx::Error> {
    let names: Vec<_> = renamings.iter().flat_map(|renaming| &renaming.from).collect();
    sqlx::query_scalar(
        "WITH name AS (SELECT value FROM json_each(?1))
         SELECT EXISTS (SELECT 1 FROM job WHERE provider IN name)
             OR EXISTS (SELECT 1 FROM provider_event WHERE provider IN name)
             OR EXISTS (SELECT 1 FROM lesson WHERE provider IN name)",
    )
    .bind(json!(names).to_string())
    .fetch_one(connection)
    .await
}

async fn conflict(
    connection: &mut SqliteConnection,
    Renaming { to, kind, from }: &Renaming,
) -> Result<Option<NameConflict>, sqlx::Error> {
    /// So many are told.
    const SOME: usize = 3;
    let foreign: Option<(JobId, ProviderName, String)> = sqlx::query_as(
        "SELECT id, provider, kind FROM job
         WHERE provider IN (SELECT value FROM json_each(?1)) AND kind <> ?2 LIMIT 1",
    )
    .bind(json!(from).to_string())
    .bind(kind)
    .fetch_optional(&mut *connection)
    .await?;
    if let Some((job, from, found)) = foreign {
        return Ok(Some(NameConflict::Kind { to: to.clone(), kind, from, job, found }));
    }
    let names: Vec<_> = from.iter().chain([to]).collect();
    // As the index `job_identity` has it.
    let doubles: Vec<(RemoteId, String)> = sqlx::query_as(
        "SELECT remote_id, group_concat(id, ' and ' ORDER BY id) FROM job
         WHERE provider IN (SELECT value FROM json_each(?1)) AND state NOT IN ('untracked', 'lost')
         GROUP BY remote_id HAVING count(*) > 1 ORDER BY min(id) LIMIT ?2",
    )
    .bind(json!(names).to_string())
    .bind(i64::try_from(SOME + 1).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await?;
    let mut told: Vec<_> =
        doubles.iter().take(SOME).map(|(id, jobs)| format!("{id} (jobs {jobs})")).collect();
    told.extend((doubles.len() > SOME).then(|| "others".to_owned()));
    Ok((!told.is_empty()).then(|| NameConflict::Twice { to: to.clone(), doubles: told }))
}

/// Of the outages that last under several names one goes on, the provider's own first.
async fn close_outages(
    connection: &mut SqliteConnection,
    Renaming { to, from, .. }: &Renaming,
    now: Utc,
) -> Result<(), sqlx::Error> {
    let names: Vec<_> = from.iter().chain([to]).collect();
    sqlx::query(
        "WITH lasting AS (SELECT id FROM provider_event
                          WHERE kind = 'outage' AND ended_at IS NULL
                            AND provider IN (SELECT value FROM json_each(?1))
                          ORDER BY provider = ?2 DESC, began_at)
         UPDATE provider_event SET ended_at = max(began_at, ?3)
         WHERE id IN (SELECT id FROM lasting LIMIT -1 OFFSET 1)",
    )
    .bind(json!(names).to_string())
    .bind(to.as_str())
    .bind(now)
    .execute(connection)
    .await
    .map(drop)
}
