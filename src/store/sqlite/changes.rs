//! Writes the state changes of a batch: the job's row, its transitions, its duration sample, and, if the
//! change ends the job, how long the job took. Called by `write`, inside its transaction.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::FromRow;
use sqlx::sqlite::SqliteConnection;

use crate::job::{Change, JobDurations, JobId, ProviderTimes, State, Transition, UtcTime};

use super::audit::insert_entries;
use super::durations::insert_samples;
use super::json_rows::insert_rows;
use super::stored_job::step_name;
use super::time::to_sql;

pub(super) const INSERT_TRANSITIONS: &str = "
    INSERT INTO transition (job_id, from_state, to_state, provider_state, evidence,
                            occurred_at, observed_at, earliest_at, message)
    SELECT value ->> 'job', value ->> 'from_state', value ->> 'to_state', value ->> 'provider_state',
           value ->> 'evidence', value ->> 'occurred_at', value ->> 'observed_at',
           value ->> 'earliest_at', value ->> 'message'
    FROM json_each(?1) ORDER BY key";

const SELECT_TIMES: &str = "
    SELECT id, registered_at, submitted_at, started_at, ended_at, expires_at
    FROM job WHERE id IN (SELECT value FROM json_each(?1))";

const UPDATE_STATE: &str = "
    UPDATE job
    SET state = new.state, provider_state = new.provider_state, terminal_at = new.terminal_at,
        message = coalesce(new.message, job.message),
        next_poll_at = iif(new.terminal_at IS NULL, job.next_poll_at, NULL),
        queue_s = new.queue_s, run_s = new.run_s, total_s = new.total_s,
        detection_delay_s = new.detection_delay_s,
        detection_delay_max_s = new.detection_delay_max_s,
        last_transition_at = new.last_transition_at, furthest_step = new.furthest_step
    FROM (SELECT value ->> 'job' AS id, value ->> 'expected_state' AS expected_state,
                 value ->> 'expected_provider_state' AS expected_provider_state,
                 value ->> 'state' AS state, value ->> 'provider_state' AS provider_state,
                 value ->> 'terminal_at' AS terminal_at, value ->> 'message' AS message,
                 value ->> 'queue_s' AS queue_s, value ->> 'run_s' AS run_s,
                 value ->> 'total_s' AS total_s, value ->> 'detection_delay_s' AS detection_delay_s,
                 value ->> 'detection_delay_max_s' AS detection_delay_max_s,
                 value ->> 'last_transition_at' AS last_transition_at,
                 value ->> 'furthest_step' AS furthest_step
          FROM json_each(?1)) AS new
    WHERE job.id = new.id AND job.state = new.expected_state
      AND job.provider_state IS new.expected_provider_state
    RETURNING job.id";

/// Writes the changes of the jobs that are in the expected state; returns those jobs.
pub(super) async fn apply_changes(
    connection: &mut SqliteConnection,
    changes: &[Change],
) -> Result<HashSet<JobId>, sqlx::Error> {
    if changes.is_empty() {
        return Ok(HashSet::new());
    }
    let durations = compute_durations(&mut *connection, changes).await?;
    let rows = changes
        .iter()
        .map(|change| change_json(change, durations.get(&change.job).copied().unwrap_or_default()));
    let ids: Vec<i64> = sqlx::query_scalar(UPDATE_STATE)
        .bind(Value::Array(rows.collect()).to_string())
        .fetch_all(&mut *connection)
        .await?;
    let updated: HashSet<JobId> = ids.into_iter().map(JobId).collect();
    let written = || changes.iter().filter(|change| updated.contains(&change.job));
    let rows = written()
        .flat_map(|change| change.transitions.iter().map(|one| transition_json(change.job, one)));
    insert_rows(&mut *connection, INSERT_TRANSITIONS, rows.collect()).await?;
    insert_entries(&mut *connection, written().flat_map(|change| &change.audit)).await?;
    insert_samples(connection, written()).await?;
    Ok(updated)
}

/// The times of a job before this batch.
#[derive(Debug, FromRow)]
struct StoredTimesRow {
    id: JobId,
    registered_at: UtcTime,
    submitted_at: Option<UtcTime>,
    started_at: Option<UtcTime>,
    ended_at: Option<UtcTime>,
    expires_at: Option<UtcTime>,
}

impl StoredTimesRow {
    fn durations(&self, change: &Change, end: &Transition) -> JobDurations {
        let stored = ProviderTimes {
            submitted_at: self.submitted_at,
            started_at: self.started_at,
            ended_at: self.ended_at,
            expires_at: self.expires_at,
        };
        let metadata =
            change.poll_record.as_ref().and_then(|poll_record| poll_record.metadata.as_ref());
        let times = metadata.map_or(stored, |metadata| metadata.times.or(stored));
        let reported_run = metadata.and_then(|metadata| metadata.reported_duration);
        JobDurations::new(self.registered_at, times, reported_run, end)
    }
}

/// The durations of the jobs that these changes end.
async fn compute_durations(
    connection: &mut SqliteConnection,
    changes: &[Change],
) -> Result<HashMap<JobId, JobDurations>, sqlx::Error> {
    let ends: HashMap<JobId, (&Change, &Transition)> = changes
        .iter()
        .filter(|change| change.new_state.state().is_terminal())
        .filter_map(|change| Some((change.job, (change, change.transitions.last()?))))
        .collect();
    if ends.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<i64> = ends.keys().map(|job| job.0).collect();
    let stored: Vec<StoredTimesRow> =
        sqlx::query_as(SELECT_TIMES).bind(json!(ids).to_string()).fetch_all(connection).await?;
    let durations = stored.iter().filter_map(|row| {
        let (change, end) = ends.get(&row.id)?;
        Some((row.id, row.durations(change, end)))
    });
    Ok(durations.collect())
}

fn change_json(change: &Change, durations: JobDurations) -> Value {
    let new_state = &change.new_state;
    let seconds = |duration: Option<Duration>| duration.map(|duration| duration.as_secs_f64());
    json!({
        "job": change.job.0,
        "expected_state": change.expected_state.as_str(),
        "expected_provider_state": change.expected_provider_state,
        "state": new_state.state().as_str(),
        "provider_state": new_state.provider_state,
        "terminal_at": new_state.state().is_terminal().then(|| to_sql(new_state.observed_at)),
        "message": change.transitions.last().and_then(|last| last.message.as_ref()),
        "queue_s": seconds(durations.queue),
        "run_s": seconds(durations.run),
        "total_s": seconds(durations.total),
        "detection_delay_s": seconds(durations.detection_delay),
        "detection_delay_max_s": seconds(durations.detection_delay_max),
        "last_transition_at": to_sql(new_state.observed_at),
        "furthest_step": step_name(new_state.furthest_step),
    })
}

pub(super) fn transition_json(job: JobId, transition: &Transition) -> Value {
    json!({
        "job": job.0,
        "from_state": transition.from.map(State::as_str),
        "to_state": transition.to.as_str(),
        "provider_state": transition.provider_state,
        "evidence": transition.evidence.as_str(),
        "occurred_at": transition.occurred_at.map(to_sql),
        "observed_at": to_sql(transition.observed_at),
        "earliest_at": transition.earliest_at.map(to_sql),
        "message": transition.message,
    })
}
