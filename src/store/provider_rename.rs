//! A provider under a new name: what stands in the database under its former names becomes its own.
//! All that a config renames, or nothing of it.

use std::fmt;

use serde_json::json;
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;

use crate::job::{JobId, ProviderName, RemoteId, UtcTime};

/// A provider, and the names that it bore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderRename {
    /// Its name now.
    pub to: ProviderName,
    /// Its kind: jobs of another are not its own.
    pub kind: &'static str,
    /// Its former names.
    pub from: Vec<ProviderName>,
}

/// A former name that was found, and is no longer there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedRename {
    /// The former name.
    pub from: ProviderName,
    /// The name now.
    pub to: ProviderName,
    /// How many jobs bore it.
    pub jobs: u64,
}

impl fmt::Display for AppliedRename {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "provider {} is now {}, {} jobs with it", self.from, self.to, self.jobs)
    }
}

/// Why nothing was renamed, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenameConflict {
    /// One id is tracked under two of the names: it would be two jobs of one provider.
    #[error(
        "provider {to} cannot take over the jobs of its former names, nothing is renamed: under two of \
         the names there is {}; `jobtrack untrack` one of each two, or if both are over, take the \
         former name out of providers.{to}.previous_names", .duplicates.join(", ")
    )]
    DuplicateJobs {
        /// The name now.
        to: ProviderName,
        /// Some of the ids, each with its jobs.
        duplicates: Vec<String>,
    },
    /// A former name was that of another service.
    #[error(
        "provider {to} cannot take over the jobs of its former name {from}, nothing is renamed: job \
         {job} is of kind {job_kind}, {to} is of kind {kind}; take {from} out of providers.{to}.previous_names"
    )]
    KindMismatch {
        /// The name now.
        to: ProviderName,
        /// Its kind.
        kind: &'static str,
        /// The former name.
        from: ProviderName,
        /// A job of that name.
        job: JobId,
        /// The kind of that job.
        job_kind: String,
    },
}

/// What became of it: the names that were found, or why none was touched.
pub(super) type RenameOutcome = Result<Vec<AppliedRename>, RenameConflict>;

/// Renames all, in one transaction; without anything to rename, nothing is written.
pub(super) async fn rename_providers(
    connection: &mut SqliteConnection,
    renames: &[ProviderRename],
    now: UtcTime,
) -> Result<RenameOutcome, sqlx::Error> {
    if !has_previous_names(connection, renames).await? {
        return Ok(Ok(Vec::new()));
    }
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for rename in renames {
        if let Some(conflict) = find_conflict(&mut transaction, rename).await? {
            transaction.rollback().await?;
            return Ok(Err(conflict));
        }
    }
    let mut applied = Vec::new();
    for rename in renames {
        merge_open_outages(&mut transaction, rename, now).await?;
        for from in &rename.from {
            let events = update_provider(&mut transaction, RENAME_EVENTS, from, &rename.to).await?;
            let jobs = update_provider(&mut transaction, RENAME_JOBS, from, &rename.to).await?;
            let samples =
                update_provider(&mut transaction, RENAME_DURATION_SAMPLES, from, &rename.to)
                    .await?;
            if jobs + events + samples > 0 {
                applied.push(AppliedRename { from: from.clone(), to: rename.to.clone(), jobs });
            }
        }
    }
    transaction.commit().await?;
    Ok(Ok(applied))
}

const RENAME_EVENTS: &str = "UPDATE provider_event SET provider = ?2 WHERE provider = ?1";
const RENAME_JOBS: &str = "UPDATE job SET provider = ?2 WHERE provider = ?1";
const RENAME_DURATION_SAMPLES: &str = "UPDATE lesson SET provider = ?2 WHERE provider = ?1";

async fn update_provider(
    connection: &mut SqliteConnection,
    statement: &'static str,
    from: &ProviderName,
    to: &ProviderName,
) -> Result<u64, sqlx::Error> {
    let query = sqlx::query(statement).bind(from.as_str()).bind(to.as_str());
    Ok(query.execute(connection).await?.rows_affected())
}

/// Whether a former name stands anywhere. Only we write, so that this stays true.
async fn has_previous_names(
    connection: &mut SqliteConnection,
    renames: &[ProviderRename],
) -> Result<bool, sqlx::Error> {
    let names: Vec<_> = renames.iter().flat_map(|rename| &rename.from).collect();
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

async fn find_conflict(
    connection: &mut SqliteConnection,
    ProviderRename { to, kind, from }: &ProviderRename,
) -> Result<Option<RenameConflict>, sqlx::Error> {
    /// So many are told.
    const MAX_LISTED: usize = 3;
    let other_kind: Option<(JobId, ProviderName, String)> = sqlx::query_as(
        "SELECT id, provider, kind FROM job
         WHERE provider IN (SELECT value FROM json_each(?1)) AND kind <> ?2 LIMIT 1",
    )
    .bind(json!(from).to_string())
    .bind(kind)
    .fetch_optional(&mut *connection)
    .await?;
    if let Some((job, from, job_kind)) = other_kind {
        return Ok(Some(RenameConflict::KindMismatch {
            to: to.clone(),
            kind,
            from,
            job,
            job_kind,
        }));
    }
    let names: Vec<_> = from.iter().chain([to]).collect();
    // As the index `job_identity` has it.
    let duplicates: Vec<(RemoteId, String)> = sqlx::query_as(
        "SELECT remote_id, group_concat(id, ' and ' ORDER BY id) FROM job
         WHERE provider IN (SELECT value FROM json_each(?1)) AND state NOT IN ('untracked', 'lost')
         GROUP BY remote_id HAVING count(*) > 1 ORDER BY min(id) LIMIT ?2",
    )
    .bind(json!(names).to_string())
    .bind(i64::try_from(MAX_LISTED + 1).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await?;
    let mut listed: Vec<_> = duplicates
        .iter()
        .take(MAX_LISTED)
        .map(|(id, jobs)| format!("{id} (jobs {jobs})"))
        .collect();
    listed.extend((duplicates.len() > MAX_LISTED).then(|| "others".to_owned()));
    Ok((!listed.is_empty())
        .then(|| RenameConflict::DuplicateJobs { to: to.clone(), duplicates: listed }))
}

/// Of the outages that last under several names one goes on, the provider's own first.
async fn merge_open_outages(
    connection: &mut SqliteConnection,
    ProviderRename { to, from, .. }: &ProviderRename,
    now: UtcTime,
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
