//! Which of the new jobs exceed the limits of their user. Called by `register` before the insert, inside
//! its transaction, so that parallel adds cannot exceed a limit together.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnection;

use crate::job::{JobId, Labels, NewJob};
use crate::store::UserLimits;

use super::json_rows::to_json;

const SELECT_LABELS: &str = "
    SELECT id, labels, added_by_uid FROM job WHERE id IN (SELECT value FROM json_each(?1))";

const SELECT_USAGE: &str = "
    SELECT added_by_uid, count(*), sum(iif(labels = '{}', 0, length(CAST(labels AS BLOB))))
    FROM job WHERE terminal_at IS NULL AND added_by_uid IN (SELECT value FROM json_each(?1))
    GROUP BY added_by_uid";

/// What the unfinished jobs of a user take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Usage {
    jobs: u64,
    label_bytes: u64,
}

/// The positions in `new_jobs` of the jobs that must not be registered, each with the reason. A job that is
/// tracked already only counts with labels that it does not have yet, and these count for the user who
/// added the job, whoever adds the labels. `tracked` are the jobs that the new jobs already are.
pub(super) async fn jobs_over_limit(
    connection: &mut SqliteConnection,
    new_jobs: &[NewJob],
    tracked: &[Option<JobId>],
    limits: UserLimits,
) -> Result<BTreeMap<usize, String>, sqlx::Error> {
    let mut rejected = BTreeMap::new();
    if limits == UserLimits::default() {
        return Ok(rejected);
    }
    let stored = read_labels(&mut *connection, tracked).await?;
    let users = new_jobs.iter().filter_map(|job| job.added_by.as_ref()).map(|by| by.uid);
    let owners = stored.values().filter_map(|(_, owner)| *owner);
    let mut usage = read_usage(connection, users.chain(owners).collect()).await?;
    let mut seen = HashSet::new();
    for (position, (job, tracked)) in new_jobs.iter().zip(tracked).enumerate() {
        let Some(uid) = job.added_by.as_ref().map(|added_by| added_by.uid) else { continue };
        let name = (&job.provider, job.remote_id.canonical_form());
        let (uid, growth) = if let Some((labels, owner)) = tracked.and_then(|id| stored.get(&id)) {
            let label_bytes = label_growth(labels, &job.labels);
            (owner.unwrap_or(uid), Usage { jobs: 0, label_bytes })
        } else {
            let label_bytes = json_bytes(&job.labels);
            let is_first = seen.insert(name.clone());
            (uid, Usage { jobs: u64::from(is_first), label_bytes })
        };
        let before = usage.entry(uid).or_default();
        let (jobs, label_bytes) =
            (before.jobs + growth.jobs, before.label_bytes + growth.label_bytes);
        // What takes nothing can be added again, whatever the limit is now.
        let exceeded =
            limits.exceeded(uid, jobs, label_bytes).filter(|_| growth != Usage::default());
        match exceeded {
            Some(reason) => {
                if growth.jobs > 0 {
                    seen.remove(&name);
                }
                rejected.insert(position, reason);
            }
            None => *before = Usage { jobs, label_bytes },
        }
    }
    Ok(rejected)
}

/// The labels of the jobs and the users who added them.
async fn read_labels(
    connection: &mut SqliteConnection,
    tracked: &[Option<JobId>],
) -> Result<HashMap<JobId, (String, Option<u32>)>, sqlx::Error> {
    let ids = to_json(tracked.iter().flatten())?;
    let rows: Vec<(JobId, String, Option<u32>)> =
        sqlx::query_as(SELECT_LABELS).bind(ids).fetch_all(connection).await?;
    Ok(rows.into_iter().map(|(id, labels, owner)| (id, (labels, owner))).collect())
}

async fn read_usage(
    connection: &mut SqliteConnection,
    uids: HashSet<u32>,
) -> Result<HashMap<u32, Usage>, sqlx::Error> {
    let rows: Vec<(u32, i64, i64)> = sqlx::query_as(SELECT_USAGE)
        .bind(uids.into_iter().map(Value::from).collect::<Value>().to_string())
        .fetch_all(connection)
        .await?;
    let usage = rows.into_iter().map(|(uid, jobs, label_bytes)| {
        (uid, Usage { jobs: jobs.unsigned_abs(), label_bytes: label_bytes.unsigned_abs() })
    });
    Ok(usage.collect())
}

/// By how much the labels of a tracked job grow.
fn label_growth(stored: &str, new: &Labels) -> u64 {
    let merged: Result<BTreeMap<String, String>, _> = serde_json::from_str(stored);
    let Ok(mut merged) = merged else { return json_bytes(new) };
    merged.extend(new.iter().map(|(key, value)| (key.to_owned(), value.to_owned())));
    json_bytes(&merged).saturating_sub(stored.len() as u64)
}

/// The size of labels as JSON; none have no size.
fn json_bytes(labels: &impl Serialize) -> u64 {
    let bytes = json!(labels).to_string().len() as u64;
    if bytes <= "{}".len() as u64 { 0 } else { bytes }
}
