//! Registers the new jobs of a batch: inserts those that are not tracked yet, and merges labels and the
//! user's similarity keys into those that are.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};
use sqlx::FromRow;
use sqlx::sqlite::SqliteConnection;

use crate::job::{JobId, Labels, NewJob, registration_transition};
use crate::store::RegisterResult;

use super::audit::insert_label_changes;
use super::changes::{INSERT_TRANSITIONS, transition_json};
use super::durations::{similarity_keys_json, update_similarity_keys};
use super::json_rows::insert_rows;
use super::stored_job::{STORED_JOB_COLUMNS, StoredJobRow};
use super::time::to_sql;

/// The WHERE clause skips tracked jobs before the insert: a conflict would use up an id.
const INSERT_JOBS: &str = "
    INSERT INTO job (provider, kind, remote_id, state, labels, similarity_keys, added_by_uid,
                     added_by_user, registered_at, deadline_at)
    SELECT value ->> 'provider', value ->> 'kind', value ->> 'remote_id', 'registered',
           value ->> 'labels', value ->> 'similarity_keys', value ->> 'added_by_uid',
           value ->> 'added_by_user', value ->> 'registered_at', value ->> 'deadline_at'
    FROM json_each(?1)
    WHERE NOT EXISTS (SELECT 1 FROM job WHERE job.remote_id = value ->> 'remote_id'
                      AND job.provider = value ->> 'provider' AND job.state NOT IN ('untracked', 'lost'))
    ORDER BY key
    ON CONFLICT DO NOTHING
    RETURNING id";

/// Labels beyond the limit (`?2`) are not merged: a job with more could not be read back.
const MERGE_LABELS: &str = "
    UPDATE job SET labels = json_patch(job.labels, new.labels)
    FROM (SELECT value ->> 'id' AS id, value ->> 'labels' AS labels FROM json_each(?1)) AS new
    WHERE job.id = new.id AND job.state NOT IN ('untracked', 'lost')
      AND (SELECT count(*) FROM json_each(json_patch(job.labels, new.labels))) <= ?2";

const FROM_TRACKED_JOBS: &str = " FROM json_each(?1) AS new
    CROSS JOIN job ON job.remote_id = new.value ->> 'remote_id'
        AND job.provider = new.value ->> 'provider' AND job.state NOT IN ('untracked', 'lost')
    ORDER BY new.key";

pub(super) async fn register_jobs(
    connection: &mut SqliteConnection,
    new_jobs: &[NewJob],
) -> Result<Vec<RegisterResult>, sqlx::Error> {
    let rows = Value::Array(new_jobs.iter().map(new_job_json).collect()).to_string();
    let new_ids: Vec<i64> =
        sqlx::query_scalar(INSERT_JOBS).bind(&rows).fetch_all(&mut *connection).await?;
    let mut new_ids: HashSet<JobId> = new_ids.into_iter().map(JobId).collect();
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

fn new_job_json(job: &NewJob) -> Value {
    let added_by = job.added_by.as_ref();
    json!({
        "provider": job.provider,
        "kind": job.kind,
        "remote_id": job.remote_id,
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
    let sql = format!("SELECT {STORED_JOB_COLUMNS}{FROM_TRACKED_JOBS}");
    let found = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(rows).fetch_all(connection).await?;
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
