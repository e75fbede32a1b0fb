//! Registers the new jobs of a batch: inserts those that are not tracked yet, and merges labels and the
//! user's similarity keys into those that are.
//!
//! Called by `write`, inside its transaction. Invariant: nothing is read back of a job that is inserted; all
//! that the database holds of it is known.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnection;

use crate::job::{CurrentState, JobId, Labels, NewJob, ProviderTimes, SimilarityKeys, StoredJob};
use crate::store::{RegisterResult, UserLimits};

use super::audit::insert_label_changes;
use super::json_rows::to_json;
use super::stored_job::{parse_stored_jobs, select_stored_jobs};
use super::time::SqlTime;
use super::tracked_job::{TrackedJobs, find_tracked_jobs};
use super::user_limits::jobs_over_limit;

/// The jobs with their first transitions, in one call.
const INSERT_JOBS: &str = "
    INSERT INTO job (id, provider, kind, remote_id, state, labels, similarity_keys, added_by_uid,
                     added_by_user, registered_at, deadline_at, last_transition_at, furthest_step)
    SELECT value ->> 'id', value ->> 'provider', value ->> 'kind', value ->> 'remote_id', 'registered',
           value -> 'labels', value -> 'similarity_keys', value ->> 'added_by_uid',
           value ->> 'added_by_user', value ->> 'registered_at', value ->> 'deadline_at',
           value ->> 'registered_at', 'registered'
    FROM json_each(?1);
    INSERT INTO transition (job_id, from_state, to_state, evidence, observed_at)
    SELECT value ->> 'id', NULL, 'registered', 'local', value ->> 'registered_at'
    FROM json_each(?1)";

const UPDATE_SIMILARITY_KEYS: &str = "
    UPDATE job SET similarity_keys = new.keys
    FROM (SELECT value ->> 0 AS id, value -> 1 AS keys FROM json_each(?1)) AS new
    WHERE job.id = new.id";

/// Labels beyond the limit (`?2`) are not merged: a job with more could not be read back.
const MERGE_LABELS: &str = "
    UPDATE job SET labels = json_patch(job.labels, new.labels)
    FROM (SELECT value ->> 'id' AS id, value ->> 'labels' AS labels FROM json_each(?1)) AS new
    WHERE job.id = new.id AND job.state NOT IN ('untracked', 'lost')
      AND (SELECT count(*) FROM json_each(json_patch(job.labels, new.labels))) <= ?2";

/// A new job of the batch, and the job in the database that it is.
struct Registration<'a> {
    new_job: &'a NewJob,
    id: JobId,
    is_new: bool,
}

/// Registers the jobs; returns those of them that were registered, and why the others were not, by their
/// position.
pub(super) async fn register_jobs(
    connection: &mut SqliteConnection,
    new_jobs: &[NewJob],
    limits: UserLimits,
) -> Result<(Vec<RegisterResult>, BTreeMap<usize, String>), sqlx::Error> {
    let tracked = find_tracked_jobs(&mut *connection, new_jobs).await?;
    let over_limit = jobs_over_limit(&mut *connection, new_jobs, &tracked.ids, limits).await?;
    let registrations =
        assign_ids(new_jobs, &tracked, |position| over_limit.contains_key(&position));
    insert_jobs(&mut *connection, &registrations).await?;
    let known: Vec<_> = registrations.iter().filter(|registration| !registration.is_new).collect();
    let mut stored = HashMap::new();
    if !known.is_empty() {
        update_similarity_keys(&mut *connection, &known).await?;
        stored = read_jobs(&mut *connection, &known).await?;
        update_labels(&mut *connection, &known).await?;
    }
    let results = registrations.iter().map(|registration| {
        let id = registration.id;
        let job = match stored.get(&id) {
            Some(job) => job.clone(),
            None if registration.is_new => registration.stored_job(),
            // A trigger of another program may have deleted it.
            None => {
                return Err(sqlx::Error::Decode(format!("job {id} is missing").into()));
            }
        };
        Ok(RegisterResult { job, is_new: registration.is_new })
    });
    Ok((results.collect::<Result<_, _>>()?, over_limit))
}

/// Gives an id to each job that is not tracked. If the same job occurs twice in a batch, the first occurrence
/// is the new one.
fn assign_ids<'a>(
    new_jobs: &'a [NewJob],
    tracked: &TrackedJobs,
    is_rejected: impl Fn(usize) -> bool,
) -> Vec<Registration<'a>> {
    let mut greatest_id = tracked.greatest_id;
    let mut inserted = HashMap::new();
    let jobs = new_jobs.iter().zip(&tracked.ids).enumerate();
    let accepted = jobs.filter(|(position, _)| !is_rejected(*position));
    let registrations = accepted.map(|(_, (new_job, tracked))| {
        if let Some(id) = *tracked {
            return Registration { new_job, id, is_new: false };
        }
        let name = (&new_job.provider, new_job.remote_id.canonical_form());
        let mut is_new = false;
        let id = *inserted.entry(name).or_insert_with(|| {
            is_new = true;
            greatest_id.0 += 1;
            greatest_id
        });
        Registration { new_job, id, is_new }
    });
    registrations.collect()
}

impl Registration<'_> {
    fn deadline_at(&self) -> Option<SqlTime> {
        let limit = self.new_job.give_up_after?;
        Some(SqlTime(self.new_job.registered_at.plus(limit)))
    }

    /// The job as it is inserted.
    fn stored_job(&self) -> StoredJob {
        let registered_at = self.new_job.registered_at;
        StoredJob {
            id: self.id,
            provider: self.new_job.provider.clone(),
            remote_id: self.new_job.remote_id.clone(),
            current_state: CurrentState::registered(registered_at),
            registered_at,
            give_up_after: self
                .deadline_at()
                .map(|deadline| deadline.0.duration_since(registered_at)),
            next_poll_at: None,
            polls: 0,
            failed_polls: 0,
            list_time: None,
            similarity_keys: self.new_job.similarity_keys.clone(),
            times: ProviderTimes::default(),
        }
    }
}

/// A row of the table `job`.
#[derive(Serialize)]
struct NewJobRow<'a> {
    id: JobId,
    provider: &'a str,
    kind: &'a str,
    remote_id: &'a str,
    labels: &'a Labels,
    #[serde(skip_serializing_if = "Option::is_none")]
    similarity_keys: Option<&'a SimilarityKeys>,
    added_by_uid: Option<u32>,
    added_by_user: Option<&'a str>,
    registered_at: SqlTime,
    deadline_at: Option<SqlTime>,
}

impl<'a> From<&'a Registration<'_>> for NewJobRow<'a> {
    fn from(registration: &'a Registration<'_>) -> Self {
        let job = registration.new_job;
        let keys = &job.similarity_keys;
        let added_by = job.added_by.as_ref();
        Self {
            id: registration.id,
            provider: job.provider.as_str(),
            kind: job.kind,
            remote_id: job.remote_id.as_str(),
            labels: &job.labels,
            similarity_keys: (*keys != SimilarityKeys::Unknown).then_some(keys),
            added_by_uid: added_by.map(|added_by| added_by.uid),
            added_by_user: added_by.and_then(|added_by| added_by.user.as_deref()),
            registered_at: SqlTime(job.registered_at),
            deadline_at: registration.deadline_at(),
        }
    }
}

async fn insert_jobs(
    connection: &mut SqliteConnection,
    registrations: &[Registration<'_>],
) -> Result<(), sqlx::Error> {
    let new: Vec<_> = registrations.iter().filter(|registration| registration.is_new).collect();
    if new.is_empty() {
        return Ok(());
    }
    let rows = to_json(new.iter().copied().map(NewJobRow::from))?;
    let inserted = sqlx::query(INSERT_JOBS).bind(rows).execute(connection).await?.rows_affected();
    // A job and a transition each; a trigger of another program may have prevented some.
    if inserted == 2 * new.len() as u64 {
        return Ok(());
    }
    let reason = format!("{} new jobs and transitions gave {inserted} rows", new.len());
    Err(sqlx::Error::Decode(reason.into()))
}

/// Stores the similarity keys that users chose for jobs that are registered already. If a job occurs twice in
/// a batch, its last key counts.
async fn update_similarity_keys(
    connection: &mut SqliteConnection,
    known: &[&Registration<'_>],
) -> Result<(), sqlx::Error> {
    let keys = known.iter().map(|known| (known.id, &known.new_job.similarity_keys));
    let chosen: BTreeMap<_, _> =
        keys.filter(|(_, keys)| **keys != SimilarityKeys::Unknown).collect();
    if chosen.is_empty() {
        return Ok(());
    }
    let rows = to_json(chosen.iter())?;
    sqlx::query(UPDATE_SIMILARITY_KEYS).bind(rows).execute(connection).await.map(drop)
}

async fn read_jobs(
    connection: &mut SqliteConnection,
    known: &[&Registration<'_>],
) -> Result<HashMap<JobId, StoredJob>, sqlx::Error> {
    let jobs = "job WHERE job.id IN (SELECT value FROM json_each(?1))";
    let ids = to_json(known.iter().map(|known| known.id))?;
    let query = sqlx::query_scalar(select_stored_jobs(jobs)).bind(ids);
    let json: String = query.fetch_one(connection).await?;
    Ok(parse_stored_jobs(&json)?.into_iter().map(|job| (job.id, job)).collect())
}

async fn update_labels(
    connection: &mut SqliteConnection,
    known: &[&Registration<'_>],
) -> Result<(), sqlx::Error> {
    // An UPDATE … FROM applies only one of several rows for the same job, so they are merged here.
    let mut merged: BTreeMap<JobId, BTreeMap<&str, &str>> = BTreeMap::new();
    let mut relabelled = Vec::new();
    for known in known.iter().filter(|known| !known.new_job.labels.is_empty()) {
        merged.entry(known.id).or_default().extend(known.new_job.labels.iter());
        relabelled.push((known.id, known.new_job));
    }
    if merged.is_empty() {
        return Ok(());
    }
    insert_label_changes(&mut *connection, &relabelled).await?;
    let rows =
        merged.iter().map(|(id, labels)| json!({"id": id.0, "labels": json!(labels).to_string()}));
    sqlx::query(MERGE_LABELS)
        .bind(rows.collect::<Value>().to_string())
        .bind(i64::try_from(Labels::MAX_COUNT).unwrap_or(i64::MAX))
        .execute(connection)
        .await
        .map(drop)
}
