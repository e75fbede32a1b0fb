//! The rows of the table `job` that a batch updates: those of changes, and those that were polled without a
//! change. Called by `write`.
//!
//! Invariant: every UPDATE names the state that it expects. `write` passes no job that is in another state,
//! as the begin of the transaction told.

use std::time::Duration;

use serde::Serialize;

use crate::job::{Change, JobDurations, JobId, Metadata, PollRecord, SimilarityKeys, UtcTime};

use super::batch_start::{BatchStart, StoredTimes};
use super::script::Script;
use super::stored_job::step_name;
use super::time::SqlTime;

/// What the record of a poll sets. A similarity key that the user chose, a JSON string, is never replaced.
macro_rules! set_poll_columns {
    () => {
        "last_success_sent_at = coalesce(new.last_success_sent_at, job.last_success_sent_at),
        submitted_at = coalesce(new.submitted_at, job.submitted_at),
        started_at = coalesce(new.started_at, job.started_at),
        ended_at = coalesce(new.ended_at, job.ended_at),
        expires_at = coalesce(new.expires_at, job.expires_at),
        list_time = coalesce(new.list_time, job.list_time),
        similarity_keys = iif(json_type(job.similarity_keys) = 'text', job.similarity_keys,
                              coalesce(new.similarity_keys, job.similarity_keys)),
        source = coalesce(new.source, job.source),
        credits = coalesce(new.credits, job.credits),
        detail = coalesce(new.detail, job.detail)"
    };
}

/// The beginning of a statement: the rows of its parameter with the values of their poll records.
macro_rules! with_poll_values {
    () => {
        "WITH element AS MATERIALIZED (SELECT value FROM jsonb_each(?)),
        new AS MATERIALIZED (
            SELECT value ->> 'job' AS id, value ->> 'expected_state' AS expected_state,
                value ->> '$.poll.last_polled_at' AS last_polled_at,
                value ->> '$.poll.next_poll_at' AS next_poll_at,
                value ->> '$.poll.last_success_sent_at' AS last_success_sent_at,
                value ->> '$.poll.polls' AS polls, value ->> '$.poll.failed_polls' AS failed_polls,
                value ->> '$.poll.last_poll_error' AS last_poll_error,
                value ->> '$.poll.metadata.submitted_at' AS submitted_at,
                value ->> '$.poll.metadata.started_at' AS started_at,
                value ->> '$.poll.metadata.ended_at' AS ended_at,
                value ->> '$.poll.metadata.expires_at' AS expires_at,
                value ->> '$.poll.metadata.message' AS poll_message,
                value ->> '$.poll.metadata.list_time' AS list_time,
                value -> '$.poll.metadata.similarity_keys' AS similarity_keys,
                value ->> '$.poll.metadata.source' AS source,
                value ->> '$.poll.metadata.credits' AS credits,
                value ->> '$.poll.metadata.detail' AS detail"
    };
}

const UPDATE_POLLED: &str = concat!(
    with_poll_values!(),
    " FROM element)
    UPDATE job
    SET last_polled_at = new.last_polled_at, next_poll_at = new.next_poll_at, polls = new.polls,
        failed_polls = new.failed_polls, last_poll_error = new.last_poll_error,
        message = coalesce(new.poll_message, job.message), ",
    set_poll_columns!(),
    " FROM new WHERE job.id = new.id AND job.state = new.expected_state"
);

/// A change without a poll record has no `polls`.
const UPDATE_CHANGED: &str = concat!(
    with_poll_values!(),
    ",
                value ->> 'expected_provider_state' AS expected_provider_state,
                value ->> 'state' AS state, value ->> 'provider_state' AS provider_state,
                value ->> 'terminal_at' AS terminal_at, value ->> 'message' AS message,
                value ->> 'queue_s' AS queue_s, value ->> 'run_s' AS run_s,
                value ->> 'total_s' AS total_s, value ->> 'detection_delay_s' AS detection_delay_s,
                value ->> 'detection_delay_max_s' AS detection_delay_max_s,
                value ->> 'last_transition_at' AS last_transition_at,
                value ->> 'furthest_step' AS furthest_step
            FROM element)
    UPDATE job
    SET state = new.state, provider_state = new.provider_state, terminal_at = new.terminal_at,
        queue_s = new.queue_s, run_s = new.run_s, total_s = new.total_s,
        detection_delay_s = new.detection_delay_s,
        detection_delay_max_s = new.detection_delay_max_s,
        last_transition_at = new.last_transition_at, furthest_step = new.furthest_step,
        last_polled_at = coalesce(new.last_polled_at, job.last_polled_at),
        next_poll_at = CASE WHEN new.polls IS NOT NULL THEN new.next_poll_at
                            WHEN new.terminal_at IS NULL THEN job.next_poll_at END,
        polls = coalesce(new.polls, job.polls),
        failed_polls = coalesce(new.failed_polls, job.failed_polls),
        last_poll_error = iif(new.polls IS NULL, job.last_poll_error, new.last_poll_error),
        message = coalesce(new.poll_message, new.message, job.message), ",
    set_poll_columns!(),
    " FROM new WHERE job.id = new.id AND job.state = new.expected_state
      AND job.provider_state IS new.expected_provider_state"
);

/// Updates the jobs of these changes, with their poll records. To be followed by a check that each was updated.
pub(super) fn push_changed_jobs(
    script: &mut Script,
    changes: &[&Change],
    start: &BatchStart,
) -> Result<(), sqlx::Error> {
    let rows = changes.iter().map(|change| {
        let stored = start.times.get(&change.job);
        let durations = stored.map(|stored| durations(stored, change)).unwrap_or_default();
        ChangedJobRow::new(change, durations)
    });
    script.push_rows(UPDATE_CHANGED, &rows.collect::<Vec<_>>())
}

/// Updates jobs that were polled and did not change.
pub(super) fn push_polled_jobs<'a>(
    script: &mut Script,
    records: impl Iterator<Item = &'a PollRecord>,
) -> Result<(), sqlx::Error> {
    let rows = records.map(|record| PolledJobRow {
        job: record.job,
        expected_state: record.expected_state.as_str(),
        poll: PollRow::from(record),
    });
    script.push_rows(UPDATE_POLLED, &rows.collect::<Vec<_>>())
}

const UPDATE_NEXT_POLLS: &str = "
    UPDATE job SET next_poll_at = new.at
    FROM (SELECT value ->> 0 AS id, value ->> 1 AS at FROM json_each(?)) AS new
    WHERE job.id = new.id AND job.terminal_at IS NULL";

/// Updates the times of the next polls of unfinished jobs.
pub(super) fn push_next_polls(
    script: &mut Script,
    next_polls: &[(JobId, UtcTime)],
) -> Result<(), sqlx::Error> {
    let rows = next_polls.iter().map(|(job, at)| (job, SqlTime(*at)));
    script.push_rows(UPDATE_NEXT_POLLS, &rows.collect::<Vec<_>>())
}

#[derive(Serialize)]
struct PolledJobRow<'a> {
    job: JobId,
    expected_state: &'static str,
    poll: PollRow<'a>,
}

/// The durations of the job that the change ends; none if the change does not end it.
fn durations(stored: &StoredTimes, change: &Change) -> JobDurations {
    let is_end = change.new_state.state().is_terminal();
    let Some(end) = change.transitions.last().filter(|_| is_end) else {
        return JobDurations::default();
    };
    let metadata =
        change.poll_record.as_ref().and_then(|poll_record| poll_record.metadata.as_ref());
    let before = stored.provider;
    let times = metadata.map_or(before, |metadata| metadata.times.or(before));
    let reported_run = metadata.and_then(|metadata| metadata.reported_duration);
    JobDurations::new(stored.registered_at, times, reported_run, end)
}

#[derive(Serialize)]
struct ChangedJobRow<'a> {
    job: JobId,
    expected_state: &'static str,
    expected_provider_state: Option<&'a str>,
    state: &'static str,
    provider_state: Option<&'a str>,
    terminal_at: Option<SqlTime>,
    message: Option<&'a str>,
    queue_s: Option<f64>,
    run_s: Option<f64>,
    total_s: Option<f64>,
    detection_delay_s: Option<f64>,
    detection_delay_max_s: Option<f64>,
    last_transition_at: SqlTime,
    furthest_step: &'static str,
    poll: Option<PollRow<'a>>,
}

impl<'a> ChangedJobRow<'a> {
    fn new(change: &'a Change, durations: JobDurations) -> Self {
        let state = &change.new_state;
        let seconds = |duration: Option<Duration>| duration.map(|duration| duration.as_secs_f64());
        Self {
            job: change.job,
            expected_state: change.expected_state.as_str(),
            expected_provider_state: change.expected_provider_state.as_deref(),
            state: state.state().as_str(),
            provider_state: state.provider_state.as_deref(),
            terminal_at: state.state().is_terminal().then_some(SqlTime(state.observed_at)),
            message: change.transitions.last().and_then(|last| last.message.as_deref()),
            queue_s: seconds(durations.queue),
            run_s: seconds(durations.run),
            total_s: seconds(durations.total),
            detection_delay_s: seconds(durations.detection_delay),
            detection_delay_max_s: seconds(durations.detection_delay_max),
            last_transition_at: SqlTime(state.observed_at),
            furthest_step: step_name(state.furthest_step),
            poll: change.poll_record.as_ref().map(PollRow::from),
        }
    }
}

#[derive(Serialize)]
struct PollRow<'a> {
    last_polled_at: SqlTime,
    next_poll_at: Option<SqlTime>,
    last_success_sent_at: Option<SqlTime>,
    polls: u32,
    failed_polls: u32,
    last_poll_error: Option<&'a str>,
    metadata: Option<MetadataRow<'a>>,
}

impl<'a> From<&'a PollRecord> for PollRow<'a> {
    fn from(record: &'a PollRecord) -> Self {
        Self {
            last_polled_at: SqlTime(record.last_polled_at),
            next_poll_at: record.next_poll_at.map(SqlTime),
            last_success_sent_at: record.last_success_sent_at.map(SqlTime),
            polls: record.polls,
            failed_polls: record.failed_polls,
            last_poll_error: record.last_poll_error.as_deref(),
            metadata: record.metadata.as_ref().map(MetadataRow::from),
        }
    }
}

#[derive(Serialize)]
struct MetadataRow<'a> {
    submitted_at: Option<SqlTime>,
    started_at: Option<SqlTime>,
    ended_at: Option<SqlTime>,
    expires_at: Option<SqlTime>,
    message: Option<&'a str>,
    list_time: Option<SqlTime>,
    /// Read as JSON, whose null would not be NULL.
    #[serde(skip_serializing_if = "Option::is_none")]
    similarity_keys: Option<&'a SimilarityKeys>,
    source: Option<&'a str>,
    credits: Option<f64>,
    detail: &'a str,
}

impl<'a> From<&'a Metadata> for MetadataRow<'a> {
    fn from(metadata: &'a Metadata) -> Self {
        let (times, keys) = (&metadata.times, &metadata.similarity_keys);
        Self {
            submitted_at: times.submitted_at.map(SqlTime),
            started_at: times.started_at.map(SqlTime),
            ended_at: times.ended_at.map(SqlTime),
            expires_at: times.expires_at.map(SqlTime),
            message: metadata.message.as_deref(),
            list_time: metadata.list_time.map(SqlTime),
            similarity_keys: (*keys != SimilarityKeys::Unknown).then_some(keys),
            source: metadata.source.as_deref(),
            credits: metadata.credits,
            detail: &metadata.detail,
        }
    }
}

#[cfg(test)]
mod tests {
    use sqlx::AssertSqlSafe;

    use super::*;
    use crate::store::SCHEMA_VERSION;
    use crate::store::sqlite::schema::database_with_schema;

    #[tokio::test]
    async fn jobs_are_updated_by_their_ids() {
        let mut connection = database_with_schema(SCHEMA_VERSION).await.expect("a database");
        for statement in [UPDATE_POLLED, UPDATE_CHANGED] {
            let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
            let plan: Vec<(i64, i64, i64, String)> =
                sqlx::query_as(explain).bind("[]").fetch_all(&mut connection).await.expect("SQL");
            let details: Vec<_> = plan.iter().map(|step| step.3.as_str()).collect();
            assert!(
                details.contains(&"SEARCH job USING INTEGER PRIMARY KEY (rowid=?)"),
                "{plan:?}"
            );
        }
    }
}
