//! Writes one batch in one transaction. Called by the writer. Rows are passed to a
//! statement as one JSON array; only outages, deletions of duration samples and look-ups of jobs in another
//! state, which are few, take a statement each.
//! Invariant: every UPDATE of a job names the state that it expects; a job in another state is reported
//! and not overwritten.

use std::collections::HashSet;

use serde_json::{Value, json};
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;

use crate::job::{AuditOutcome, JobId, OutageBoundary, OutageEvent, PollRecord, State};
use crate::store::{Batch, CommitReport, ForgetDurations, UserLimits};

use super::audit::insert_entries;
use super::changes::apply_changes;
use super::cursor::newest_seq;
use super::durations::{delete_samples, similarity_keys_json};
use super::identity::{Identity, count_commit};
use super::json_rows::insert_rows;
use super::maintenance::{CLOCK_BEHIND, record_event, record_times, run_in_transaction};
use super::register::register_jobs;
use super::stored_job::find_stored_job;
use super::time::to_sql;

/// The result of a transaction.
#[derive(Debug)]
pub(super) struct WrittenBatch {
    pub(super) report: CommitReport,
    /// The `seq` of the newest transition.
    pub(super) newest_seq: i64,
    /// The identity of the database after the transaction.
    pub(super) identity: Identity,
}

/// Writes all of `batch` or nothing. Returns `None`, having written nothing, if the content of the
/// database is not that which had the identity `expected` before.
pub(super) async fn write_batch(
    connection: &mut SqliteConnection,
    batch: &Batch,
    expected: &Identity,
    limits: UserLimits,
) -> Result<Option<WrittenBatch>, sqlx::Error> {
    let mut report = CommitReport::default();
    // A deferred transaction that starts to write ignores the busy timeout.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let identity = count_commit(&mut transaction).await?;
    // A failed commit may have happened, so the number may have grown by more than one.
    if !expected.can_become(&identity) || identity == *expected {
        transaction.rollback().await?;
        return Ok(None);
    }
    if !batch.new_jobs.is_empty() {
        (report.registered, report.jobs_over_limit) =
            register_jobs(&mut transaction, &batch.new_jobs, limits).await?;
    }
    for request in &batch.forget_durations {
        let count = delete_samples(&mut transaction, request).await?;
        let detail = forgotten_detail(request, count);
        let entry = request.audit.clone();
        let entry = entry.map(|entry| entry.with_result(AuditOutcome::Done, &detail));
        insert_entries(&mut transaction, entry.iter()).await?;
        report.forgotten_samples.push(count);
    }
    insert_entries(&mut transaction, batch.audit.iter()).await?;
    let changed = apply_changes(&mut transaction, &batch.changes).await?;
    for change in batch.changes.iter().filter(|change| !changed.contains(&change.job)) {
        let stored = find_stored_job(&mut *transaction, change.job).await?;
        report.conflicting_changes.push((change.job, stored));
    }
    let updated = update_poll_records(&mut transaction, batch, &changed).await?;
    for record in batch.poll_records.iter().filter(|record| !updated.contains(&record.job)) {
        let stored = find_stored_job(&mut *transaction, record.job).await?;
        report.conflicting_poll_records.push((record.job, stored));
    }
    let anomalies = batch.anomalies.iter().map(|anomaly| {
        json!({"job": anomaly.job.0, "at": to_sql(anomaly.at), "reason": anomaly.description})
    });
    insert_rows(&mut transaction, INSERT_ANOMALIES, anomalies.collect()).await?;
    for outage in &batch.outages {
        write_outage(&mut transaction, outage).await?;
    }
    if let Some(times) = &batch.times {
        if batch.has_backdated_rows() {
            record_event(&mut transaction, CLOCK_BEHIND, times.written_at).await?;
        }
        if let Some(task) = &batch.maintenance {
            report.maintenance_unfinished =
                run_in_transaction(task, &mut transaction, times).await?;
        }
        record_times(&mut transaction, times).await?;
    }
    let newest_seq = newest_seq(&mut transaction).await?;
    transaction.commit().await?;
    Ok(Some(WrittenBatch { report, newest_seq, identity }))
}

fn forgotten_detail(request: &ForgetDurations, count: u64) -> String {
    match &request.similarity_key {
        Some(key) => format!("{count} durations of {key:?}"),
        None => format!("{count} durations"),
    }
}

/// A similarity key that the user chose, a JSON string, is never replaced.
const UPDATE_POLL_RECORD: &str = "
    UPDATE job
    SET last_polled_at = new.last_polled_at, next_poll_at = new.next_poll_at,
        last_success_sent_at = coalesce(new.last_success_sent_at, job.last_success_sent_at),
        polls = new.polls, failed_polls = new.failed_polls, last_poll_error = new.last_poll_error,
        submitted_at = coalesce(new.submitted_at, job.submitted_at),
        started_at = coalesce(new.started_at, job.started_at),
        ended_at = coalesce(new.ended_at, job.ended_at),
        expires_at = coalesce(new.expires_at, job.expires_at),
        message = coalesce(new.message, job.message),
        list_time = coalesce(new.list_time, job.list_time),
        similarity_keys = iif(json_type(job.similarity_keys) = 'text', job.similarity_keys,
                              coalesce(new.similarity_keys, job.similarity_keys)),
        source = coalesce(new.source, job.source),
        credits = coalesce(new.credits, job.credits),
        detail = coalesce(new.detail, job.detail)
    FROM (SELECT value ->> 'job' AS id, value ->> 'expected_state' AS expected_state,
                 value ->> 'last_polled_at' AS last_polled_at,
                 value ->> 'next_poll_at' AS next_poll_at,
                 value ->> 'last_success_sent_at' AS last_success_sent_at,
                 value ->> 'polls' AS polls, value ->> 'failed_polls' AS failed_polls,
                 value ->> 'last_poll_error' AS last_poll_error,
                 value ->> 'submitted_at' AS submitted_at, value ->> 'started_at' AS started_at,
                 value ->> 'ended_at' AS ended_at, value ->> 'expires_at' AS expires_at,
                 value ->> 'message' AS message, value ->> 'list_time' AS list_time,
                 value ->> 'similarity_keys' AS similarity_keys, value ->> 'source' AS source,
                 value ->> 'credits' AS credits, value ->> 'detail' AS detail
          FROM json_each(?1)) AS new
    WHERE job.id = new.id AND job.state = new.expected_state
    RETURNING job.id";

const INSERT_ANOMALIES: &str = "
    INSERT INTO provider_event (kind, provider, job_id, began_at, reason)
    SELECT 'anomaly', job.provider, job.id, new.value ->> 'at', new.value ->> 'reason'
    FROM json_each(?1) AS new JOIN job ON job.id = new.value ->> 'job' ORDER BY new.key";

/// Writes the poll records of the batch and of its written changes; returns the jobs that were in the
/// expected state.
async fn update_poll_records(
    connection: &mut SqliteConnection,
    batch: &Batch,
    changed: &HashSet<JobId>,
) -> Result<HashSet<JobId>, sqlx::Error> {
    let of_changes = batch
        .changes
        .iter()
        .filter(|change| changed.contains(&change.job))
        .filter_map(|change| Some((change.poll_record.as_ref()?, change.new_state.state())));
    let by_themselves = batch.poll_records.iter().map(|record| (record, record.expected_state));
    let rows: Vec<_> = of_changes
        .chain(by_themselves)
        .map(|(record, expected_state)| poll_record_json(record, expected_state))
        .collect();
    if rows.is_empty() {
        return Ok(HashSet::new());
    }
    let updated: Vec<i64> = sqlx::query_scalar(UPDATE_POLL_RECORD)
        .bind(Value::Array(rows).to_string())
        .fetch_all(connection)
        .await?;
    Ok(updated.into_iter().map(JobId).collect())
}

/// A provider has at most one open outage: an earlier run of the daemon may have left one.
async fn write_outage(
    connection: &mut SqliteConnection,
    outage: &OutageEvent,
) -> Result<(), sqlx::Error> {
    let provider = outage.provider.as_str();
    let query = match &outage.boundary {
        OutageBoundary::Began { at, reason } => sqlx::query(
            "INSERT OR IGNORE INTO provider_event (kind, provider, began_at, reason)
             VALUES ('outage', ?1, ?2, ?3)",
        )
        .bind(provider)
        .bind(*at)
        .bind(reason),
        OutageBoundary::Ended { at, failed_polls } => sqlx::query(
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

fn poll_record_json(record: &PollRecord, expected_state: State) -> Value {
    let metadata = record.metadata.as_ref();
    let times = metadata.map(|metadata| metadata.times).unwrap_or_default();
    json!({
        "job": record.job.0,
        "expected_state": expected_state.as_str(),
        "last_polled_at": to_sql(record.last_polled_at),
        "next_poll_at": record.next_poll_at.map(to_sql),
        "last_success_sent_at": record.last_success_sent_at.map(to_sql),
        "polls": record.polls,
        "failed_polls": record.failed_polls,
        "last_poll_error": record.last_poll_error,
        "submitted_at": times.submitted_at.map(to_sql),
        "started_at": times.started_at.map(to_sql),
        "ended_at": times.ended_at.map(to_sql),
        "expires_at": times.expires_at.map(to_sql),
        "message": metadata.and_then(|metadata| metadata.message.as_ref()),
        "list_time": metadata.and_then(|metadata| metadata.list_time).map(to_sql),
        "similarity_keys":
            metadata.and_then(|metadata| similarity_keys_json(&metadata.similarity_keys)),
        "source": metadata.and_then(|metadata| metadata.source.as_ref()),
        "credits": metadata.and_then(|metadata| metadata.credits),
        "detail": metadata.map(|metadata| metadata.detail.as_str()),
    })
}
