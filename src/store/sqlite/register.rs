//! Registers the new jobs of a batch: inserts those that are not tracked yet, and merges labels and the
//! user's similarity keys into those that are.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, FromRow};

use crate::job::{JobId, Labels, NewJob, registration_transition};
use crate::store::{RegisterResult, UserLimits};

use super::audit::insert_label_changes;
use super::changes::{INSERT_TRANSITIONS, transition_json};
use super::durations::{similarity_keys_json, update_similarity_keys};
use super::json_rows::insert_rows;
use super::stored_job::{STORED_JOB_COLUMNS, StoredJobRow};
use super::time::to_sql;
use super::tracked_job::TRACKED_JOB_ID;
use super::user_limits::jobs_over_limit;

/// Followed by the condition that the job is not tracked: a conflict would use up an id.
const INSERT_JOBS: &str = "
    INSERT INTO job (provider, kind, remote_id, state, labels, similarity_keys, added_by_uid,
                     added_by_user, registered_at, deadline_at)
    SELECT value ->> 'provider', value ->> 'kind', value ->> 'remote_id', 'registered',
           value ->> 'labels', value ->> 'similarity_keys', value ->> 'added_by_uid',
           value ->> 'added_by_user', value ->> 'registered_at', value ->> 'deadline_at'
    FROM json_each(?1) AS new";

/// Labels beyond the limit (`?2`) are not merged: a job with more could not be read back.
const MERGE_LABELS: &str = "
    UPDATE job SET labels = json_patch(job.labels, new.labels)
    FROM (SELECT value ->> 'id' AS id, value ->> 'labels' AS labels FROM json_each(?1)) AS new
    WHERE job.id = new.id AND job.state NOT IN ('untracked', 'lost')
      AND (SELECT count(*) FROM json_each(json_patch(job.labels, new.labels))) <= ?2";

/// Registers the jobs; returns those of them that were registered, and why the others were not, by their
/// position.
pub(super) async fn register_jobs(
    connection: &mut SqliteConnection,
    new_jobs: &[NewJob],
    limits: UserLimits,
) -> Result<(Vec<RegisterResult>, BTreeMap<usize, String>), sqlx::Error> {
    let rows = Value::Array(new_jobs.iter().map(new_job_json).collect()).to_string();
    let over_limit = jobs_over_limit(&mut *connection, new_jobs, &rows, limits).await?;
    if over_limit.is_empty() {
        return Ok((register_accepted(connection, new_jobs, rows).await?, over_limit));
    }
    let accepted = new_jobs.iter().enumerate();
    let accepted = accepted.filter(|(position, _)| !over_limit.contains_key(position));
    let accepted: Vec<NewJob> = accepted.map(|(_, job)| job.clone()).collect();
    let rows = Value::Array(accepted.iter().map(new_job_json).collect()).to_string();
    Ok((register_accepted(connection, &accepted, rows).await?, over_limit))
}

/// Inserts the jobs that are not tracked yet and updates the others; `rows` are the jobs as JSON.
async fn register_accepted(
    connection: &mut SqliteConnection,
    new_jobs: &[NewJob],
    rows: String,
) -> Result<Vec<RegisterResult>, sqlx::Error> {
    let mut new_ids = insert_jobs(&mut *connection, new_jobs).await?;
    update_similarity_keys(&mut *connection, new_jobs, &rows).await?;
    let tracked = find_tracked_jobs(&mut *connection, &rows).await?;
    if tracked.len() != new_jobs.len() {
        // A trigger of another program may have deleted or changed them.
        let missing = new_jobs.len().saturating_sub(tracked.len());
        let reason =
            format!("{missing} of {} new jobs are missing after the insert", new_jobs.len());
        return Err(sqlx::Error::Decode(reason.into()));
    }
    let mut first_transitions = Vec::new();
    // An UPDATE … FROM applies only one of several rows for the same job, so they are merged here.
    let mut labels: BTreeMap<JobId, BTreeMap<&str, &str>> = BTreeMap::new();
    let mut relabelled = Vec::new();
    let mut registered = Vec::new();
    for (new_job, row) in new_jobs.iter().zip(tracked) {
        let id = row.id;
        // If the same job occurs twice in a batch, the first occurrence is the new one.
        let is_new = new_ids.remove(&id);
        if is_new {
            first_transitions
                .push(transition_json(id, &registration_transition(new_job.registered_at)));
        } else if !new_job.labels.is_empty() {
            labels.entry(id).or_default().extend(new_job.labels.iter());
            relabelled.push((id, new_job));
        }
        registered.push(RegisterResult { job: row.into_stored_job(), is_new });
    }
    insert_rows(&mut *connection, INSERT_TRANSITIONS, first_transitions).await?;
    insert_label_changes(&mut *connection, &relabelled).await?;
    merge_labels(connection, &labels).await?;
    Ok(registered)
}

/// Inserts the jobs that are not tracked. Returns their ids.
async fn insert_jobs(
    connection: &mut SqliteConnection,
    new_jobs: &[NewJob],
) -> Result<HashSet<JobId>, sqlx::Error> {
    // The statement does not see its own rows.
    let mut seen = HashSet::new();
    let first_occurrences = new_jobs
        .iter()
        .filter(|job| seen.insert((&job.provider, job.remote_id.canonical_form())))
        .map(new_job_json);
    let rows = first_occurrences.collect::<Value>().to_string();
    let sql = format!(
        "{INSERT_JOBS} WHERE {TRACKED_JOB_ID} IS NULL ORDER BY key ON CONFLICT DO NOTHING RETURNING id"
    );
    let ids: Vec<i64> =
        sqlx::query_scalar(AssertSqlSafe(sql)).bind(rows).fetch_all(connection).await?;
    Ok(ids.into_iter().map(JobId).collect())
}

fn new_job_json(job: &NewJob) -> Value {
    let added_by = job.added_by.as_ref();
    json!({
        "provider": job.provider,
        "kind": job.kind,
        "remote_id": job.remote_id,
        "spellings": job.remote_id.spellings(),
        "labels": json!(job.labels).to_string(),
        "similarity_keys": similarity_keys_json(&job.similarity_keys),
        "added_by_uid": added_by.map(|added_by| added_by.uid),
        "added_by_user": added_by.and_then(|added_by| added_by.user.as_ref()),
        "registered_at": to_sql(job.registered_at),
        "deadline_at": job.give_up_after.map(|limit| to_sql(job.registered_at.plus(limit))),
    })
}

/// The job of each of `rows`, in the same order.
async fn find_tracked_jobs(
    connection: &mut SqliteConnection,
    rows: &str,
) -> Result<Vec<StoredJobRow>, sqlx::Error> {
    let sql = format!(
        "SELECT {STORED_JOB_COLUMNS} FROM json_each(?1) AS new
         CROSS JOIN job ON job.id = {TRACKED_JOB_ID} ORDER BY new.key"
    );
    let found = sqlx::query(AssertSqlSafe(sql)).bind(rows).fetch_all(connection).await?;
    found.iter().map(StoredJobRow::from_row).collect()
}

async fn merge_labels(
    connection: &mut SqliteConnection,
    labels: &BTreeMap<JobId, BTreeMap<&str, &str>>,
) -> Result<(), sqlx::Error> {
    if labels.is_empty() {
        return Ok(());
    }
    let rows =
        labels.iter().map(|(id, labels)| json!({"id": id.0, "labels": json!(labels).to_string()}));
    sqlx::query(MERGE_LABELS)
        .bind(rows.collect::<Value>().to_string())
        .bind(i64::try_from(Labels::MAX_COUNT).unwrap_or(i64::MAX))
        .execute(connection)
        .await
        .map(drop)
}
