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
    Anomaly, Change, JobId, Labels, NewJob, Note, Outage, OutageEdge, State, Times, Tracked,
    Transition, Utc, register,
};

use super::lessons::{Forget, column, forget, learn, say};
use super::reader::{TRACKED_COLUMNS, TrackedRow};
use super::rename::{NameConflict, Renamed, Renaming, rename};
use super::upkeep::{ALIVE, Upkeep, mark};

/// What is to be written in one transaction. At most one change for each job.
#[derive(Debug, Default)]
pub struct Batch {
    /// Jobs to register.
    pub adds: Vec<NewJob>,
    /// Jobs that move.
    pub changes: Vec<Change>,
    /// Bookkeeping.
    pub notes: Vec<Note>,
    /// Contradictions.
    pub anomalies: Vec<Anomaly>,
    /// Outages that began or ended, in order.
    pub outages: Vec<Outage>,
    /// What is to be forgotten, before what the changes teach is learned.
    pub forgets: Vec<Forget>,
    /// Housekeeping.
    pub upkeep: Option<Upkeep>,
    /// Providers that bear another name. Such a batch holds nothing else.
    pub renamings: Vec<Renaming>,
    /// When it was handed over: a sign of life.
    pub at: Option<Utc>,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Committed {
    /// One for each of the batch's adds, in order.
    pub entered: Vec<Entered>,
    /// Jobs whose change was not written because the database holds another state: as it does.
    pub refused: Vec<(JobId, Option<Tracked>)>,
    /// Jobs whose note was not kept because the database holds another state: as it does.
    pub stale: Vec<(JobId, Option<Tracked>)>,
    /// One for each of the batch's forgets, in order: how many runs were forgotten.
    pub forgotten: Vec<u64>,
    /// Whether more of the housekeeping is left.
    pub upkeep_left: bool,
    /// The former names that were found and are gone.
    pub renamed: Vec<Renamed>,
    /// Why none is.
    pub conflict: Option<NameConflict>,
    /// The size of the WAL, in bytes.
    pub wal_bytes: u64,
}

/// A job that was to be registered.
#[derive(Debug, Clone)]
pub struct Entered {
    /// As it stands now.
    pub job: Tracked,
    /// Whether it is new; else it was there.
    pub is_new: bool,
}

pub(super) async fn newest_seq(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM transition").fetch_one(connection).await
}

/// Writes the batch; says what became of it, and the newest transition's number.
pub(super) async fn transact(
    connection: &mut SqliteConnection,
    batch: &Batch,
) -> Result<(Committed, i64), sqlx::Error> {
    let mut committed = Committed::default();
    if !batch.renamings.is_empty() {
        let now = batch.at.unwrap_or_else(Clock::wall);
        match rename(connection, &batch.renamings, now).await? {
            Ok(renamed) => committed.renamed = renamed,
            Err(conflict) => committed.conflict = Some(conflict),
        }
        return Ok((committed, newest_seq(connection).await?));
    }
    // A deferred transaction that begins to write ignores the busy time-out.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    if !batch.adds.is_empty() {
        committed.entered = enter(&mut transaction, &batch.adds).await?;
    }
    for what in &batch.forgets {
        committed.forgotten.push(forget(&mut transaction, what).await?);
    }
    let mut noted = Vec::new();
    if !batch.changes.is_empty() {
        let moved = change(&mut transaction, &batch.changes).await?;
        for change in &batch.changes {
            if moved.contains(&change.job) {
                noted.extend(
                    change.note.as_ref().map(|note| note_row(note, change.after.state.as_str())),
                );
            } else {
                let found = find(&mut transaction, change.job).await?;
                committed.refused.push((change.job, found));
            }
        }
    }
    noted.extend(batch.notes.iter().map(|note| note_row(note, note.expected.as_str())));
    if !noted.is_empty() {
        let noted = Value::Array(noted).to_string();
        let kept: Vec<i64> =
            sqlx::query_scalar(NOTE).bind(noted).fetch_all(&mut *transaction).await?;
        let kept: HashSet<JobId> = kept.into_iter().map(JobId).collect();
        for note in batch.notes.iter().filter(|note| !kept.contains(&note.job)) {
            let found = find(&mut transaction, note.job).await?;
            committed.stale.push((note.job, found));
        }
    }
    if !batch.anomalies.is_empty() {
        let rows = batch.anomalies.iter().map(
            |anomaly| json!({"job": anomaly.job.0, "at": anomaly.at.sql(), "what": anomaly.what}),
        );
        run(&mut transaction, ANOMALY, rows.collect()).await?;
    }
    for outage in &batch.outages {
        write_outage(&mut transaction, outage).await?;
    }
    if let Some(now) = batch.at {
        if let Some(upkeep) = &batch.upkeep {
            committed.upkeep_left = upkeep.within(&mut transaction, now).await?;
        }
        mark(&mut transaction, ALIVE, now).await?;
    }
    let newest = newest_seq(&mut transaction).await?;
    transaction.commit().await?;
    Ok((committed, newest))
}

async fn run(
    connection: &mut SqliteConnection,
    statement: &'static str,
    rows: Vec<Value>,
) -> Result<(), sqlx::Error> {
    sqlx::query(statement).bind(Value::Array(rows).to_string()).execute(connection).await.map(drop)
}

/// Those that are there are passed over before they are tried: a refused row uses up its number.
const ENTER: &str = "
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
const TRANSITION: &str = "
    INSERT INTO transition (job_id, from_state, to_state, provider_state, evidence,
                            occurred_at, observed_at, earliest_at, message)
    SELECT value ->> 'job', value ->> 'from', value ->> 'to', value ->> 'word', value ->> 'evidence',
           value ->> 'occurred_at', value ->> 'observed_at', value ->> 'earliest_at', value ->> 'message'
    FROM json_each(?1) ORDER BY key";

const CHANGE: &str = "
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
const NOTE: &str = "
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

const ANOMALY: &str = "
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

async fn enter(
    connection: &mut SqliteConnection,
    adds: &[NewJob],
) -> Result<Vec<Entered>, sqlx::Error> {
    let rows: Vec<_> = adds
        .iter()
        .map(|job| {
            json!({
                "provider": job.provider,
                "kind": job.kind,
                "remote_id": job.remote_id,
                "labels": json!(job.labels).to_string(),
                "added_by": job.added_by,
                "give_up_after_s": job.give_up_after.map(|span| span.as_secs()),
                "at": job.registered_at.sql(),
                "likeness": column(&job.likeness),
            })
        })
        .collect();
    let rows = Value::Array(rows).to_string();
    let new: Vec<i64> = sqlx::query_scalar(ENTER).bind(&rows).fetch_all(&mut *connection).await?;
    let mut new: HashSet<JobId> = new.into_iter().map(JobId).collect();
    say(&mut *connection, adds, &rows).await?;

    let mut find = sqlx::QueryBuilder::new("SELECT new.key AS place, ");
    find.push(TRACKED_COLUMNS).push(" FROM json_each(").push_bind(rows).push(
        ") AS new CROSS JOIN job ON job.remote_id = new.value ->> 'remote_id'
             AND job.provider = new.value ->> 'provider' AND job.state NOT IN ('untracked', 'lost')
             ORDER BY new.key",
    );
    let found: Vec<TrackedRow> = find
        .build()
        .fetch_all(&mut *connection)
        .await?
        .iter()
        .map(TrackedRow::from_row)
        .collect::<Result<_, _>>()?;
    if found.len() != adds.len() {
        return Err(sqlx::Error::RowNotFound);
    }
    let mut first_rows = Vec::new();
    // Of several rows for one job an UPDATE … FROM would take any: one for each.
    let mut labels: BTreeMap<JobId, BTreeMap<&str, &str>> = BTreeMap::new();
    let mut entered = Vec::new();
    for (add, row) in adds.iter().zip(found) {
        let id = row.id;
        // Of the same job twice in one batch, the first is new.
        let is_new = new.remove(&id);
        if is_new {
            first_rows.push(transition_row(id, &register(add.registered_at)));
        } else if !add.labels.is_empty() {
            labels.entry(id).or_default().extend(add.labels.iter());
        }
        entered.push(Entered { job: row.into_tracked(), is_new });
    }
    run(connection, TRANSITION, first_rows).await?;
    if !labels.is_empty() {
        let rows = labels
            .iter()
            .map(|(id, labels)| json!({"id": id.0, "labels": json!(labels).to_string()}));
        sqlx::query(MERGE_LABELS)
            .bind(rows.collect::<Value>().to_string())
            .bind(i64::try_from(Labels::MAX).unwrap_or(i64::MAX))
            .execute(connection)
            .await?;
    }
    Ok(entered)
}

/// Writes the changes whose jobs stand where they should; says whose did.
async fn change(
    connection: &mut SqliteConnection,
    changes: &[Change],
) -> Result<HashSet<JobId>, sqlx::Error> {
    let rows = changes.iter().map(|change| {
        let last = change.rows.last();
        json!({
            "job": change.job.0,
            "expected": change.expected.as_str(),
            "expected_word": change.expected_word,
            "state": change.after.state.as_str(),
            "word": change.after.word,
            "terminal_at": change.after.state.is_terminal().then(|| change.after.observed_at.sql()),
            "message": last.and_then(|row| row.message.as_ref()),
        })
    });
    let moved: Vec<i64> = sqlx::query_scalar(CHANGE)
        .bind(Value::Array(rows.collect()).to_string())
        .fetch_all(&mut *connection)
        .await?;
    let moved: HashSet<JobId> = moved.into_iter().map(JobId).collect();
    let written = || changes.iter().filter(|change| moved.contains(&change.job));
    let rows =
        written().flat_map(|change| change.rows.iter().map(|row| transition_row(change.job, row)));
    run(&mut *connection, TRANSITION, rows.collect()).await?;
    learn(connection, written()).await?;
    Ok(moved)
}

async fn find(
    connection: &mut SqliteConnection,
    job: JobId,
) -> Result<Option<Tracked>, sqlx::Error> {
    let mut find = sqlx::QueryBuilder::new("SELECT ");
    find.push(TRACKED_COLUMNS).push(" FROM job WHERE job.id = ").push_bind(job.0);
    let row = find.build().fetch_optional(connection).await?;
    row.as_ref().map(TrackedRow::from_row).transpose().map(|row| row.map(TrackedRow::into_tracked))
}

fn transition_row(job: JobId, row: &Transition) -> Value {
    json!({
        "job": job.0,
        "from": row.from.map(State::as_str),
        "to": row.to.as_str(),
        "word": row.word,
        "evidence": row.evidence.as_str(),
        "occurred_at": row.occurred_at.map(Utc::sql),
        "observed_at": row.observed_at.sql(),
        "earliest_at": row.earliest_at.map(Utc::sql),
        "message": row.message,
    })
}

fn note_row(note: &Note, expected: &str) -> Value {
    let told = note.told.as_ref();
    let time = |of: fn(&Times) -> Option<Utc>| told.and_then(|told| of(&told.times)).map(Utc::sql);
    json!({
        "job": note.job.0,
        "expected": expected,
        "polled_at": note.last_polled_at.sql(),
        "next_poll_at": note.next_poll_at.map(Utc::sql),
        "answered_from": note.answered_from.map(Utc::sql),
        "polls": note.polls,
        "failed_polls": note.failed_polls,
        "error": note.last_poll_error,
        "submitted_at": time(|times| times.submitted_at),
        "started_at": time(|times| times.started_at),
        "ended_at": time(|times| times.ended_at),
        "expires_at": time(|times| times.expires_at),
        "message": told.and_then(|told| told.message.as_ref()),
        "likeness": told.and_then(|told| column(&told.likeness)),
        "listed_at": told.and_then(|told| told.listed_at).map(Utc::sql),
        "detail": told.map(|told| told.detail.as_str()),
    })
}
