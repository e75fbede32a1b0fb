//! Renames providers in the database: jobs, outages and duration samples of a previous name become
//! those of the current name. Called through the writer when the daemon starts, before any job is loaded.
//! Invariant: all renames of a request are committed, or none is.

use serde_json::json;
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;

use crate::job::{JobId, ProviderName, RemoteId, UtcTime};
use crate::store::{AppliedRename, ProviderRename, RenameConflict, RenameOutcome};

use super::identity::count_commit;

/// Applies all renames in one transaction. Writes nothing if no previous name is in the database.
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
    count_commit(&mut transaction).await?;
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
const RENAME_DURATION_SAMPLES: &str =
    "UPDATE duration_sample SET provider = ?2 WHERE provider = ?1";

async fn update_provider(
    connection: &mut SqliteConnection,
    statement: &'static str,
    from: &ProviderName,
    to: &ProviderName,
) -> Result<u64, sqlx::Error> {
    let query = sqlx::query(statement).bind(from.as_str()).bind(to.as_str());
    Ok(query.execute(connection).await?.rows_affected())
}

/// Whether the database contains a previous name. Reading outside the transaction is safe: this
/// connection is the only one that writes.
async fn has_previous_names(
    connection: &mut SqliteConnection,
    renames: &[ProviderRename],
) -> Result<bool, sqlx::Error> {
    let names: Vec<_> = renames.iter().flat_map(|rename| &rename.from).collect();
    sqlx::query_scalar(
        "WITH name AS (SELECT value FROM json_each(?1))
         SELECT EXISTS (SELECT 1 FROM job WHERE provider IN name)
             OR EXISTS (SELECT 1 FROM provider_event WHERE provider IN name)
             OR EXISTS (SELECT 1 FROM duration_sample WHERE provider IN name)",
    )
    .bind(json!(names).to_string())
    .fetch_one(connection)
    .await
}

async fn find_conflict(
    connection: &mut SqliteConnection,
    ProviderRename { to, kind, from }: &ProviderRename,
) -> Result<Option<RenameConflict>, sqlx::Error> {
    /// The error names this many ids.
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
    // Of unfinished jobs the renames would violate the unique index job_identity. A job that has ended under both names
    // was recorded twice; under one name it has run again.
    let duplicates: Vec<(RemoteId, String)> = sqlx::query_as(
        "SELECT remote_id, group_concat(id, ' and ' ORDER BY id) FROM job
         WHERE provider IN (SELECT value FROM json_each(?1)) AND state NOT IN ('untracked', 'lost')
         GROUP BY remote_id HAVING count(DISTINCT provider) > 1 ORDER BY min(id) LIMIT ?2",
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

/// Only one outage of a provider may be open: of the open outages of all names, ends all but one. The
/// outage of the current name continues, else the oldest.
async fn merge_open_outages(
    connection: &mut SqliteConnection,
    ProviderRename { to, from, .. }: &ProviderRename,
    now: UtcTime,
) -> Result<(), sqlx::Error> {
    let names: Vec<_> = from.iter().chain([to]).collect();
    sqlx::query(
        "WITH open AS (SELECT id FROM provider_event
                          WHERE kind = 'outage' AND ended_at IS NULL
                            AND provider IN (SELECT value FROM json_each(?1))
                          ORDER BY provider = ?2 DESC, began_at)
         UPDATE provider_event SET ended_at = max(began_at, ?3)
         WHERE id IN (SELECT id FROM open LIMIT -1 OFFSET 1)",
    )
    .bind(json!(names).to_string())
    .bind(to.as_str())
    .bind(now)
    .execute(connection)
    .await
    .map(drop)
}
