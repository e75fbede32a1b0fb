//! One batch, one transaction, one statement for each table: `json_each` makes rows of what waits,
//! several times faster than a statement a row.
//!
//! Every UPDATE names the state that it expects; a job found in another is reported, not
//! overwritten.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, FromRow};

use crate::clock::Clock;
use crate::job::{
    Anomaly, Change, JobId, Labels, NewJob, Outage, OutageEdge, PollRecord, ProviderTimes, State,
    StoredJob, Transition, UtcTime, registration_transition,
};

use super::durations::{
    ForgetDurations, delete_samples, insert_samples, similarity_keys_json, update_similarity_keys,
};
use super::maintenance::{HEARTBEAT, MaintenanceTask, record_event_time};
use super::provider_rename::{AppliedRename, ProviderRename, RenameConflict, rename_providers};
use super::reader::{STORED_JOB_COLUMNS, StoredJobRow};

/// What is to be written in one transaction. At most one change for each job.
#[derive(Debug, Default)]
pub struct Batch {
    /// Jobs to register.
    pub new_jobs: Vec<NewJob>,
    /// Jobs that move.
    pub changes: Vec<Change>,
    /// Bookkeeping.
    pub poll_records: Vec<PollRecord>,
    /// Contradictions.
    pub anomalies: Vec<Anomaly>,
    /// Outages that began or ended, in order.
    pub outages: Vec<Outage>,
    /// What is to be forgotten, before what the changes teach is learned.
    pub forget_durations: Vec<ForgetDurations>,
    /// Housekeeping.
    pub maintenance: Option<MaintenanceTask>,
    /// Providers that bear another name. Such a batch holds nothing else.
    pub provider_renames: Vec<ProviderRename>,
    /// When it was handed over: a sign of life.
    pub written_at: Option<UtcTime>,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub struct CommitReport {
    /// One for each of the batch's adds, in order.
    pub registered: Vec<Registered>,
    /// Jobs whose change was not written because the database holds another state: as it does.
    pub rejected_changes: Vec<(JobId, Option<StoredJob>)>,
    /// Jobs whose note was not kept because the database holds another state: as it does.
    pub stale_poll_records: Vec<(JobId, Option<StoredJob>)>,
    /// One for each of the batch's forgets, in order: how many runs were forgotten.
    pub forgotten_samples: Vec<u64>,
    /// Whether more of the housekeeping is left.
    pub maintenance_unfinished: bool,
    /// The former names that were found and are gone.
    pub applied_renames: Vec<AppliedRename>,
    /// Why none is.
    pub rename_conflict: Option<RenameConflict>,
    /// The size of the WAL, in bytes.
    pub wal_bytes: u64,
}

/// A job that was to be registered.
#[derive(Debug, Clone)]
pub struct Registered {
    /// As it stands now.
    pub job: StoredJob,
    /// Whether it is new; else it was there.
    pub is_new: bool,
}

pub(super) async fn newest_seq(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM transition").fetch_one(connection).await
}

/// Writes the batch; says what became of it, and the newest transition's number.
pub(super) async fn write_batch(
    connection: &mut SqliteConnection,
    batch: &Batch,
) -> Result<(CommitReport, i64), sqlx::Error> {
    let mut report = CommitReport::default();
    if !batch.provider_renames.is_empty() {
        let now = batch.written_at.unwrap_or_else(Clock::utc_now);
        match rename_providers(connection, &batch.provider_renames, now).await? {
            Ok(applied) => report.applied_renames = applied,
            Err(conflict) => report.rename_conflict = Some(conflict),
        }
        return Ok((report, newest_seq(connection).await?));
    }
    // A deferred transaction that begins to write ignores the busy time-out.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    if !batch.new_jobs.is_empty() {
        report.registered = register_jobs(&mut transaction, &batch.new_jobs).await?;
    }
    for request in &batch.forget_durations {
        report.forgotten_samples.push(delete_samples(&mut transaction, request).await?);
    }
    let mut record_rows = Vec::new();
    if !batch.changes.is_empty() {
        let changed = apply_changes(&mut transaction, &batch.changes).await?;
        for change in &batch.changes {
            if changed.contains(&change.job) {
                record_rows.extend(
                    change
                        .poll_record
                        .as_ref()
                        .map(|record| poll_record_json(record, change.new_state.state().as_str())),
                );
            } else {
                let stored = find_stored_job(&mut transaction, change.job).await?;
                report.rejected_changes.push((change.job, stored));
            }
        }
    }
    record_rows.extend(
        batch
            .poll_records
            .iter()
            .map(|record| poll_record_json(record, record.expected_state.as_str())),
    );
    if !record_rows.is_empty() {
        let record_json = Value::Array(record_rows).to_string();
        let updated: Vec<i64> = sqlx::query_scalar(UPDATE_POLL_RECORD)
            .bind(record_json)
            .fetch_all(&mut *transaction)
            .await?;
        let updated: HashSet<JobId> = updated.into_iter().map(JobId).collect();
        for record in batch.poll_records.iter().filter(|note| !updated.contains(&note.job)) {
            let stored = find_stored_job(&mut transaction, record.job).await?;
            report.stale_poll_records.push((record.job, stored));
        }
    }
    if !batch.anomalies.is_empty() {
        let rows = batch.anomalies.iter().map(
            |anomaly| json!({"job": anomaly.job.0, "at": anomaly.at.to_sql(), "what": anomaly.description}),
        );
        execute_with_rows(&mut transaction, INSERT_ANOMALIES, rows.collect()).await?;
    }
    for outage in &batch.outages {
        write_outage(&mut transaction, outage).await?;
    }
    if let Some(now) = batch.written_at {
        if let Some(task) = &batch.maintenance {
            report.maintenance_unfinished = task.run_in_transaction(&mut transaction, now).await?;
        }
        record_event_time(&mut transaction, HEARTBEAT, now).await?;
    }
    let newest = newest_seq(&mut transaction).await?;
    transaction.commit().await?;
    Ok((report, newest))
}

async fn execute_with_rows(
    connection: &mut SqliteConnection,
    statement: &'static str,
    rows: Vec<Value>,
) -> Result<(), sqlx::Error> {
    sqlx::query(statement).bind(Value::Array(rows).to_string()).execute(connection).await.map(drop)
}

/// Those that are there are passed over before they are tried: a refused row uses up its number.
const INSERT_JOBS: &str = "
    INSERT INTO job (provider, kind, remote_id, state, labels, added_by, give_up_after_s, registered_at,
                     likeness)
    SELECT value ->> 'provider', value ->> 'kind', value ->> 'remote_id', 'registered',
           value ->> 'labels', value ->> 'added_by', value ->> 'give_up_after_s', value ->> 'at',
           value ->> 'likeness'
    FROM json_each(?1)
    WHERE NOT EXISTS (SELECT 1 FROM job WHERE job.remote_id = value ->> 'remote_id'
                      AND job.provider = value ->> 'provider' AND job.state NOT IN ('untracked', 'lost'))
    ORDER BY key
    ON CONFLICT DO NOTHING
    RETURNING id";

/// Not beyond as many as a job may have (`?2`): nobody could read it any more.
const MERGE_LABELS: &str = "
    UPDATE job SET labels = json_patch(job.labels, new.labels)
    FROM (SELECT value ->> 'id' AS id, value ->> 'labels' AS labels FROM json_each(?1)) AS new
    WHERE job.id = new.id AND job.state NOT IN ('untracked', 'lost')
      AND (SELECT count(*) FROM json_each(json_patch(job.labels, new.labels))) <= ?2";

/// A row without its number; `state` is what the job's row must not contradict.
const INSERT_TRANSITIONS: &str = "
    INSERT INTO transition (job_id, from_state, to_state, provider_state, evidence,
                            occurred_at, observed_at, earliest_at, message)
    SELECT value ->> 'job', value ->> 'from', value ->> 'to', value ->> 'word', value ->> 'evidence',
           value ->> 'occurred_at', value ->> 'observed_at', value ->> 'earliest_at', value ->> 'message'
    FROM json_each(?1) ORDER BY key";

const UPDATE_STATE: &str = "
    UPDATE job
    SET state = new.state, provider_state = new.word, terminal_at = new.terminal_at,
        message = coalesce(new.message, job.message),
        next_poll_at = iif(new.terminal_at IS NULL, job.next_poll_at, NULL)
    FROM (SELECT value ->> 'job' AS id, value ->> 'expected' AS expected,
                 value ->> 'expected_word' AS expected_word, value ->> 'state' AS state,
                 value ->> 'word' AS word, value ->> 'terminal_at' AS terminal_at,
                 value ->> 'message' AS message
          FROM json_each(?1)) AS new
    WHERE job.id = new.id AND job.state = new.expected AND job.provider_state IS new.expected_word
    RETURNING job.id";

/// A likeness that its user gave, a text, stays.
const UPDATE_POLL_RECORD: &str = "
    UPDATE job
    SET last_polled_at = new.polled_at, next_poll_at = new.next_poll_at,
        answered_from = coalesce(new.answered_from, job.answered_from),
        polls = new.polls, failed_polls = new.failed_polls, last_poll_error = new.error,
        submitted_at = coalesce(new.submitted_at, job.submitted_at),
        started_at = coalesce(new.started_at, job.started_at),
        ended_at = coalesce(new.ended_at, job.ended_at),
        expires_at = coalesce(new.expires_at, job.expires_at),
        message = coalesce(new.message, job.message),
        listed_at = coalesce(new.listed_at, job.listed_at),
        likeness = iif(json_type(job.likeness) = 'text', job.likeness, coalesce(new.likeness, job.likeness)),
        detail = coalesce(new.detail, job.detail)
    FROM (SELECT value ->> 'job' AS id, value ->> 'expected' AS expected,
                 value ->> 'polled_at' AS polled_at, value ->> 'next_poll_at' AS next_poll_at,
                 value ->> 'answered_from' AS answered_from, value ->> 'polls' AS polls,
                 value ->> 'failed_polls' AS failed_polls, value ->> 'error' AS error,
                 value ->> 'submitted_at' AS submitted_at, value ->> 'started_at' AS started_at,
                 value ->> 'ended_at' AS ended_at, value ->> 'expires_at' AS expires_at,
                 value ->> 'message' AS message, value ->> 'listed_at' AS listed_at,
                 value ->> 'likeness' AS likeness, value ->> 'detail' AS detail
          FROM json_each(?1)) AS new
    WHERE job.id = new.id AND job.state = new.expected
    RETURNING job.id";

const INSERT_ANOMALIES: &str = "
    INSERT INTO provider_event (kind, provider, job_id, began_at, reason)
    SELECT 'anomaly', job.provider, job.id, new.value ->> 'at', new.value ->> 'what'
    FROM json_each(?1) AS new JOIN job ON job.id = new.value ->> 'job' ORDER BY new.key";

/// A provider has one open outage at most: an earlier life may have left it.
async fn write_outage(
    connection: &mut SqliteConnection,
    outage: &Outage,
) -> Result<(), sqlx::Error> {
    let provider = outage.provider.as_str();
    let query = match &outage.edge {
        OutageEdge::Began { at, reason } => sqlx::query(
            "INSERT OR IGNORE INTO provider_event (kind, provider, began_at, reason)
             VALUES ('outage', ?1, ?2, ?3)",
        )
        .bind(provider)
        .bind(*at)
        .bind(reason),
        OutageEdge::Ended { at, failed_polls } => sqlx::query(
            "UPDATE provider_event
             SET ended_at = max(began_at, ?2), failed_polls = coalesce(failed_polls, 0) + ?3
             WHERE kind = 'outage' AND ended_at IS NULL AND provider = ?1",
        )
        .bind(provider)
        .bind(*at)
        .bind(*failed_polls),
    };
    query.execute(connection).await.map(drop)
}

async fn register_jobs(
    connection: &mut SqliteConnection,
    new_jobs: &[NewJob],
) -> Result<Vec<Registered>, sqlx::Error> {
    let rows: Vec<_> = new_jobs
        .iter()
        .map(|job| {
            json!({
                "provider": job.provider,
                "kind": job.kind,
                "remote_id": job.remote_id,
                "labels": json!(job.labels).to_string(),
                "added_by": job.added_by,
                "give_up_after_s": job.give_up_after.map(|span| span.as_secs()),
                "at": job.registered_at.to_sql(),
                "likeness": similarity_keys_json(&job.similarity_keys),
            })
        })
        .collect();
    let rows = Value::Array(rows).to_string();
    let new_ids: Vec<i64> =
        sqlx::query_scalar(INSERT_JOBS).bind(&rows).fetch_all(&mut *connection).await?;
    let mut new_ids: HashSet<JobId> = new_ids.into_iter().map(JobId).collect();
    update_similarity_keys(&mut *connection, new_jobs, &rows).await?;

    let mut query = sqlx::QueryBuilder::new("SELECT new.key AS place, ");
    query.push(STORED_JOB_COLUMNS).push(" FROM json_each(").push_bind(rows).push(
        ") AS new CROSS JOIN job ON job.remote_id = new.value ->> 'remote_id'
             AND job.provider = new.value ->> 'provider' AND job.state NOT IN ('untracked', 'lost')
             ORDER BY new.key",
    );
    let found: Vec<StoredJobRow> = query
        .build()
        .fetch_all(&mut *connection)
        .await?
        .iter()
        .map(StoredJobRow::from_row)
        .collect::<Result<_, _>>()?;
    if found.len() != new_jobs.len() {
        return Err(sqlx::Error::RowNotFound);
    }
    let mut first_transitions = Vec::new();
    // Of several rows for one job an UPDATE … FROM would take any: one for each.
    let mut labels: BTreeMap<JobId, BTreeMap<&str, &str>> = BTreeMap::new();
    let mut registered = Vec::new();
    for (add, row) in new_jobs.iter().zip(found) {
        let id = row.id;
        // Of the same job twice in one batch, the first is new.
        let is_new = new_ids.remove(&id);
        if is_new {
            first_transitions
                .push(transition_json(id, &registration_transition(add.registered_at)));
        } else if !add.labels.is_empty() {
            labels.entry(id).or_default().extend(add.labels.iter());
        }
        registered.push(Registered { job: row.into_stored_job(), is_new });
    }
    execute_with_rows(connection, INSERT_TRANSITIONS, first_transitions).await?;
    if !labels.is_empty() {
        let rows = labels
            .iter()
            .map(|(id, labels)| json!({"id": id.0, "labels": json!(labels).to_string()}));
        sqlx::query(MERGE_LABELS)
            .bind(rows.collect::<Value>().to_string())
            .bind(i64::try_from(Labels::MAX_COUNT).unwrap_or(i64::MAX))
            .execute(connection)
            .await?;
    }
    Ok(registered)
}

/// Writes the changes whose jobs stand where they should; says whose did.
async fn apply_changes(
    connection: &mut SqliteConnection,
    changes: &[Change],
) -> Result<HashSet<JobId>, sqlx::Error> {
    let rows = changes.iter().map(|change| {
        let last = change.transitions.last();
        json!({
            "job": change.job.0,
            "expected": change.expected_state.as_str(),
            "expected_word": change.expected_provider_state,
            "state": change.new_state.state().as_str(),
            "word": change.new_state.provider_state,
            "terminal_at": change.new_state.state().is_terminal().then(|| change.new_state.observed_at.to_sql()),
            "message": last.and_then(|row| row.message.as_ref()),
        })
    });
    let ids: Vec<i64> = sqlx::query_scalar(UPDATE_STATE)
        .bind(Value::Array(rows.collect()).to_string())
        .fetch_all(&mut *connection)
        .await?;
    let updated: HashSet<JobId> = ids.into_iter().map(JobId).collect();
    let written = || changes.iter().filter(|change| updated.contains(&change.job));
    let rows = written()
        .flat_map(|change| change.transitions.iter().map(|row| transition_json(change.job, row)));
    execute_with_rows(&mut *connection, INSERT_TRANSITIONS, rows.collect()).await?;
    insert_samples(connection, written()).await?;
    Ok(updated)
}

async fn find_stored_job(
    connection: &mut SqliteConnection,
    job: JobId,
) -> Result<Option<StoredJob>, sqlx::Error> {
    let mut query = sqlx::QueryBuilder::new("SELECT ");
    query.push(STORED_JOB_COLUMNS).push(" FROM job WHERE job.id = ").push_bind(job.0);
    let row = query.build().fetch_optional(connection).await?;
    row.as_ref()
        .map(StoredJobRow::from_row)
        .transpose()
        .map(|row| row.map(StoredJobRow::into_stored_job))
}

fn transition_json(job: JobId, row: &Transition) -> Value {
    json!({
        "job": job.0,
        "from": row.from.map(State::as_str),
        "to": row.to.as_str(),
        "word": row.word,
        "evidence": row.evidence.as_str(),
        "occurred_at": row.occurred_at.map(UtcTime::to_sql),
        "observed_at": row.observed_at.to_sql(),
        "earliest_at": row.earliest_at.map(UtcTime::to_sql),
        "message": row.message,
    })
}

fn poll_record_json(record: &PollRecord, expected: &str) -> Value {
    let metadata = record.metadata.as_ref();
    let time = |of: fn(&ProviderTimes) -> Option<UtcTime>| {
        metadata.and_then(|metadata| of(&metadata.times)).map(UtcTime::to_sql)
    };
    json!({
        "job": record.job.0,
        "expected": expected,
        "polled_at": record.last_polled_at.to_sql(),
        "next_poll_at": record.next_poll_at.map(UtcTime::to_sql),
        "answered_from": record.last_success_sent_at.map(UtcTime::to_sql),
        "polls": record.polls,
        "failed_polls": record.failed_polls,
        "error": record.last_poll_error,
        "submitted_at": time(|times| times.submitted_at),
        "started_at": time(|times| times.started_at),
        "ended_at": time(|times| times.ended_at),
        "expires_at": time(|times| times.expires_at),
        "message": metadata.and_then(|told| told.message.as_ref()),
        "likeness": metadata.and_then(|told| similarity_keys_json(&told.similarity_keys)),
        "listed_at": metadata.and_then(|told| told.list_time).map(UtcTime::to_sql),
        "detail": metadata.map(|told| told.detail.as_str()),
    })
}
