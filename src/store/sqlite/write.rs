//! Writes one batch in one transaction. Called by the writer.
//!
//! A batch is written with two calls to the thread of the connection: one that begins the transaction and
//! reads what the batch depends on, and one that writes and commits. Only limits of users, new jobs that
//! are tracked already, commands, maintenance and look-ups of jobs in another state take
//! calls of their own. Rows are passed to a statement as one JSON array.
//! Invariant: every UPDATE of a job names the state that it expects; a job in another state is reported
//! and not overwritten.

use serde::Serialize;
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use crate::job::{Anomaly, Change, JobId, OutageBoundary, OutageEvent, StoredJob};
use crate::store::{Batch, CommitReport, UserLimits};

use super::audit::push_entries;
use super::batch_start::{BatchStart, begin};
use super::changes::push_history;
use super::cursor::SELECT_NEWEST_SEQ;
use super::identity::{COUNT_COMMIT, COUNT_COMMIT_IF_CHANGED, Identity};
use super::job_updates::{push_changed_jobs, push_next_polls, push_polled_jobs};
use super::maintenance::{CLOCK_BEHIND, push_times, record_event, run_in_transaction};
use super::register::register_jobs;
use super::script::Script;
use super::store_commands::execute_commands;
use super::stored_job::find_stored_job;
use super::time::SqlTime;

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
    let written = write_in_transaction(connection, batch, expected, limits).await;
    if !matches!(written, Ok(Some(_))) {
        // An error says that no transaction is open: SQLite has rolled back by itself, or not begun.
        let _ = sqlx::query("ROLLBACK").execute(connection).await;
    }
    written
}

async fn write_in_transaction(
    connection: &mut SqliteConnection,
    batch: &Batch,
    expected: &Identity,
    limits: UserLimits,
) -> Result<Option<WrittenBatch>, sqlx::Error> {
    let mut report = CommitReport::default();
    let start = begin(connection, batch).await?;
    // A failed commit may have happened, so the number may have grown.
    if !expected.can_become(&start.identity) {
        return Ok(None);
    }
    let mut script = Script::default();
    if !batch.new_jobs.is_empty() {
        let registered =
            register_jobs(&mut *connection, &mut script, &batch.new_jobs, &start.tracked, limits);
        (report.registered, report.jobs_over_limit) = registered.await?;
    }
    let command_audit = execute_commands(&mut *connection, batch, &mut report).await?;
    report_conflicts(&mut *connection, batch, &start, &mut report).await?;

    let changes = batch.changes.iter().filter(|change| !start.conflicting.contains(&change.job));
    let changes: Vec<&Change> = changes.collect();
    let audit = command_audit.iter().chain(&batch.audit);
    push_entries(&mut script, audit.chain(changes.iter().flat_map(|change| &change.audit)))?;
    push_history(&mut script, &changes)?;
    let records = batch.poll_records.iter();
    let records = records.filter(|record| !start.conflicting.contains(&record.job));
    push_polled_jobs(&mut script, records)?;
    push_anomalies(&mut script, &batch.anomalies)?;
    for outage in &batch.outages {
        push_outage(&mut script, outage)?;
    }
    push_changed_jobs(&mut script, &changes, &start)?;
    push_count(&mut script, changes.len())?;
    push_next_polls(&mut script, &batch.next_polls)?;
    if let (Some(task), Some(times)) = (&batch.maintenance, &batch.times) {
        std::mem::take(&mut script).execute(&mut *connection).await?;
        if batch.has_backdated_rows() {
            record_event(&mut *connection, CLOCK_BEHIND, times.written_at).await?;
        }
        report.maintenance_unfinished = run_in_transaction(task, &mut *connection, times).await?;
    }
    if let Some(times) = &batch.times {
        push_times(&mut script, times, batch.has_backdated_rows() && batch.maintenance.is_none())?;
    }
    report.ended = start.ended;
    // Read, because a trigger of another program may have added transitions.
    script.push(SELECT_NEWEST_SEQ).push("COMMIT");
    let newest_seq = script.execute_for_row(connection).await?.try_get(0)?;
    Ok(Some(WrittenBatch { report, newest_seq, identity: start.identity.after_commit() }))
}

/// Counts the transaction, after a statement that is to have changed this number of rows.
fn push_count(script: &mut Script, changed_rows: usize) -> Result<(), sqlx::Error> {
    if changed_rows == 0 {
        script.push(COUNT_COMMIT);
        return Ok(());
    }
    let changed_rows = i64::try_from(changed_rows).unwrap_or(i64::MAX);
    script.push(COUNT_COMMIT_IF_CHANGED).bind(changed_rows).map(drop)
}

/// Reports the rows of jobs in another state, with the jobs as the database holds them.
async fn report_conflicts(
    connection: &mut SqliteConnection,
    batch: &Batch,
    start: &BatchStart,
    report: &mut CommitReport,
) -> Result<(), sqlx::Error> {
    let changes = batch.changes.iter().map(|change| change.job);
    report.conflicting_changes = find_conflicting(&mut *connection, start, changes).await?;
    let records = batch.poll_records.iter().map(|record| record.job);
    report.conflicting_poll_records = find_conflicting(connection, start, records).await?;
    Ok(())
}

async fn find_conflicting(
    connection: &mut SqliteConnection,
    start: &BatchStart,
    jobs: impl Iterator<Item = JobId>,
) -> Result<Vec<(JobId, Option<StoredJob>)>, sqlx::Error> {
    let mut found = Vec::new();
    for job in jobs.filter(|job| start.conflicting.contains(job)) {
        found.push((job, find_stored_job(&mut *connection, job).await?));
    }
    Ok(found)
}

const INSERT_ANOMALIES: &str = "
    INSERT INTO provider_event (kind, provider, job_id, began_at, reason)
    SELECT 'anomaly', job.provider, job.id, new.value ->> 'at', new.value ->> 'reason'
    FROM json_each(?) AS new JOIN job ON job.id = new.value ->> 'job' ORDER BY new.key";

#[derive(Serialize)]
struct AnomalyRow<'a> {
    job: JobId,
    at: SqlTime,
    reason: &'a str,
}

fn push_anomalies(script: &mut Script, anomalies: &[Anomaly]) -> Result<(), sqlx::Error> {
    let rows = anomalies.iter().map(|anomaly| AnomalyRow {
        job: anomaly.job,
        at: SqlTime(anomaly.at),
        reason: &anomaly.description,
    });
    script.push_rows(INSERT_ANOMALIES, &rows.collect::<Vec<_>>())
}

/// A provider has at most one open outage: an earlier run of the daemon may have left one.
const BEGIN_OUTAGE: &str = "
    INSERT OR IGNORE INTO provider_event (kind, provider, began_at, reason)
    VALUES ('outage', ?, ?, ?)";

const END_OUTAGE: &str = "
    UPDATE provider_event
    SET ended_at = max(began_at, ?), failed_polls = coalesce(failed_polls, 0) + ?
    WHERE kind = 'outage' AND ended_at IS NULL AND provider = ?";

fn push_outage(script: &mut Script, outage: &OutageEvent) -> Result<(), sqlx::Error> {
    let provider = outage.provider.as_str();
    match &outage.boundary {
        OutageBoundary::Began { at, reason } => {
            script.push(BEGIN_OUTAGE).bind(provider)?.bind(*at)?.bind(reason)?;
        }
        OutageBoundary::Ended { at, failed_polls } => {
            script.push(END_OUTAGE).bind(*at)?.bind(*failed_polls)?.bind(provider)?;
        }
    }
    Ok(())
}
