//! Registers the new jobs of a batch: inserts those that are not tracked yet, and merges labels, prices and the
//! user's similarity keys into those that are.
//!
//! Called by `write`, inside its transaction. Invariant: nothing is read back of a job that is inserted; all
//! that the database holds of it is known.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use sqlx::sqlite::SqliteConnection;

use crate::job::{
    CurrentState, JobId, JobPrice, Labels, NewJob, PollPrice, ProviderTimes, SimilarityKeys,
    StoredJob,
};
use crate::store::{RegisterResult, UserLimits};

use super::audit::push_label_changes;
use super::json_rows::to_json;
use super::script::Script;
use super::stored_job::{parse_stored_jobs, select_stored_jobs};
use super::time::SqlTime;
use super::tracked_job::TrackedJobs;
use super::user_limits::jobs_over_limit;

const INSERT_JOBS: &str = "
    WITH new AS MATERIALIZED (SELECT value FROM jsonb_each(?))
    INSERT INTO job (id, provider, kind, remote_id, state, labels, similarity_keys, added_by_uid,
                     added_by_user, registered_at, deadline_at, price, last_transition_at, furthest_step)
    SELECT value ->> 'id', value ->> 'provider', value ->> 'kind', value ->> 'remote_id', 'registered',
           value -> 'labels', value -> 'similarity_keys', value ->> 'added_by_uid',
           value ->> 'added_by_user', value ->> 'registered_at', value ->> 'deadline_at',
           value ->> 'price', value ->> 'registered_at', 'registered'
    FROM new";

/// The first transitions of the jobs that are new: their ids are greater than each id before.
const INSERT_FIRST_TRANSITIONS: &str = "
    INSERT INTO transition (job_id, from_state, to_state, evidence, observed_at)
    SELECT id, NULL, 'registered', 'local', registered_at FROM job WHERE id > ? ORDER BY id";

const UPDATE_SIMILARITY_KEYS: &str = "
    UPDATE job SET similarity_keys = new.keys
    FROM (SELECT value ->> 0 AS id, value -> 1 AS keys FROM json_each(?)) AS new
    WHERE job.id = new.id";

/// The time of the next poll was planned with another price.
const UPDATE_PRICES: &str = "
    UPDATE job SET price = new.price, next_poll_at = NULL
    FROM (SELECT value ->> 0 AS id, value ->> 1 AS price FROM json_each(?)) AS new
    WHERE job.id = new.id AND job.price IS NOT new.price";

/// Labels beyond the limit, the last parameter, are not merged: a job with more could not be read back.
const MERGE_LABELS: &str = "
    UPDATE job SET labels = json_patch(job.labels, new.labels)
    FROM (SELECT value ->> 0 AS id, value ->> 1 AS labels FROM json_each(?)) AS new
    WHERE job.id = new.id AND job.state NOT IN ('untracked', 'lost')
      AND (SELECT count(*) FROM json_each(json_patch(job.labels, new.labels))) <= ?";

/// A new job of the batch, and the job in the database that it is.
struct Registration<'a> {
    new_job: &'a NewJob,
    id: JobId,
    is_new: bool,
}

/// Appends to `script` what registers the jobs; returns those of them that are registered then, and why the
/// others are not, by their position.
pub(super) async fn register_jobs(
    connection: &mut SqliteConnection,
    script: &mut Script,
    new_jobs: &[NewJob],
    tracked: &TrackedJobs,
    limits: UserLimits,
) -> Result<(Vec<RegisterResult>, BTreeMap<usize, String>), sqlx::Error> {
    let over_limit = jobs_over_limit(&mut *connection, new_jobs, &tracked.ids, limits).await?;
    let registrations =
        assign_ids(new_jobs, tracked, |position| over_limit.contains_key(&position));
    let (new, known): (Vec<_>, Vec<_>) =
        registrations.iter().partition(|registration| registration.is_new);
    let mut jobs = read_jobs(connection, &known).await?;
    jobs.extend(new.iter().map(|registration| (registration.id, registration.stored_job())));
    push_jobs(script, &new, tracked.greatest_id)?;
    for (id, keys) in push_similarity_keys(script, &known)? {
        jobs.entry(id).and_modify(|job| job.similarity_keys.clone_from(keys));
    }
    for (id, price) in push_prices(script, &known)? {
        if let Some(job) = jobs.get_mut(&id).filter(|job| job.price != price) {
            (job.price, job.next_poll_at) = (price, None);
        }
    }
    push_labels(script, &known)?;
    let results = registrations.iter().map(|registration| {
        let id = registration.id;
        let job = jobs.get(&id).cloned();
        let job = job.ok_or_else(|| sqlx::Error::Decode(format!("job {id} is missing").into()))?;
        Ok(RegisterResult { job, is_new: registration.is_new })
    });
    Ok((results.collect::<Result<_, sqlx::Error>>()?, over_limit))
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
            price: self.new_job.price.and_then(JobPrice::own),
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
    price: Option<PollPrice>,
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
            price: job.price.and_then(JobPrice::own),
        }
    }
}

fn push_jobs(
    script: &mut Script,
    new: &[&Registration<'_>],
    greatest_id: JobId,
) -> Result<(), sqlx::Error> {
    if new.is_empty() {
        return Ok(());
    }
    script.push(INSERT_JOBS).bind(to_json(new.iter().copied().map(NewJobRow::from))?)?;
    script.push(INSERT_FIRST_TRANSITIONS).bind(greatest_id.0).map(drop)
}

/// Appends what stores the similarity keys that users chose for jobs that are registered already; returns them.
/// If a job occurs twice in a batch, its last key counts.
fn push_similarity_keys<'a>(
    script: &mut Script,
    known: &[&Registration<'a>],
) -> Result<BTreeMap<JobId, &'a SimilarityKeys>, sqlx::Error> {
    let keys = known.iter().map(|known| (known.id, &known.new_job.similarity_keys));
    let chosen: BTreeMap<_, _> =
        keys.filter(|(_, keys)| **keys != SimilarityKeys::Unknown).collect();
    script.push_rows(UPDATE_SIMILARITY_KEYS, &chosen.iter().collect::<Vec<_>>())?;
    Ok(chosen)
}

/// Appends what stores the prices that users chose for jobs that are registered already; returns them. If a job
/// occurs twice in a batch, its last price counts.
fn push_prices(
    script: &mut Script,
    known: &[&Registration<'_>],
) -> Result<BTreeMap<JobId, Option<PollPrice>>, sqlx::Error> {
    let prices = known.iter().filter_map(|known| Some((known.id, known.new_job.price?.own())));
    let chosen: BTreeMap<_, _> = prices.collect();
    script.push_rows(UPDATE_PRICES, &chosen.iter().collect::<Vec<_>>())?;
    Ok(chosen)
}

/// The jobs that were tracked before this batch, of those that are known.
async fn read_jobs(
    connection: &mut SqliteConnection,
    known: &[&Registration<'_>],
) -> Result<HashMap<JobId, StoredJob>, sqlx::Error> {
    if known.is_empty() {
        return Ok(HashMap::new());
    }
    let jobs = "job WHERE job.id IN (SELECT value FROM json_each(?1))";
    let ids = to_json(known.iter().map(|known| known.id))?;
    let query = sqlx::query_scalar(select_stored_jobs(jobs)).bind(ids);
    let json: String = query.fetch_one(connection).await?;
    Ok(parse_stored_jobs(&json)?.into_iter().map(|job| (job.id, job)).collect())
}

fn push_labels(script: &mut Script, known: &[&Registration<'_>]) -> Result<(), sqlx::Error> {
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
    push_label_changes(script, &relabelled)?;
    let max_labels = i64::try_from(Labels::MAX_COUNT).unwrap_or(i64::MAX);
    script.push(MERGE_LABELS).bind(to_json(merged.iter())?)?.bind(max_labels).map(drop)
}
