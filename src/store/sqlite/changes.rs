//! Writes the state changes of a batch: the job's row, its transitions, its duration sample, and, if the
//! change ends the job, how long the job took. Called by `write`, for its script.

use serde::Serialize;

use crate::job::{Change, JobDurations, JobId, State, Transition};

use super::batch_start::{BatchStart, StoredTimes};
use super::durations::push_samples;
use super::job_updates::push_changed_jobs;
use super::script::Script;
use super::time::SqlTime;

const INSERT_TRANSITIONS: &str = "
    INSERT INTO transition (job_id, from_state, to_state, provider_state, evidence,
                            occurred_at, observed_at, earliest_at, message)
    SELECT value ->> 'job', value ->> 'from_state', value ->> 'to_state', value ->> 'provider_state',
           value ->> 'evidence', value ->> 'occurred_at', value ->> 'observed_at',
           value ->> 'earliest_at', value ->> 'message'
    FROM json_each(?) ORDER BY key";

/// Writes changes of jobs that are in the expected state; returns the number of their transitions.
pub(super) fn push_changes(
    script: &mut Script,
    changes: &[&Change],
    start: &BatchStart,
) -> Result<usize, sqlx::Error> {
    let transitions = changes.iter().flat_map(|change| {
        change.transitions.iter().map(|transition| TransitionRow::new(change.job, transition))
    });
    let transitions: Vec<_> = transitions.collect();
    script.push_rows(INSERT_TRANSITIONS, &transitions)?;
    push_samples(script, changes)?;
    let updates = changes.iter().map(|change| {
        let times = start.times.get(&change.job);
        (*change, times.map(|times| durations(times, change)).unwrap_or_default())
    });
    push_changed_jobs(script, updates)?;
    Ok(transitions.len())
}

/// The durations of the job that the change ends; none if the change does not end it.
fn durations(stored: &StoredTimes, change: &Change) -> JobDurations {
    let is_end = change.new_state.state().is_terminal();
    let Some(end) = change.transitions.last().filter(|_| is_end) else {
        return JobDurations::default();
    };
    let metadata =
        change.poll_record.as_ref().and_then(|poll_record| poll_record.metadata.as_ref());
    let before = stored.provider_times();
    let times = metadata.map_or(before, |metadata| metadata.times.or(before));
    let reported_run = metadata.and_then(|metadata| metadata.reported_duration);
    JobDurations::new(stored.registered_at, times, reported_run, end)
}

#[derive(Serialize)]
struct TransitionRow<'a> {
    job: JobId,
    from_state: Option<&'static str>,
    to_state: &'static str,
    provider_state: Option<&'a str>,
    evidence: &'static str,
    occurred_at: Option<SqlTime>,
    observed_at: SqlTime,
    earliest_at: Option<SqlTime>,
    message: Option<&'a str>,
}

impl<'a> TransitionRow<'a> {
    fn new(job: JobId, transition: &'a Transition) -> Self {
        Self {
            job,
            from_state: transition.from.map(State::as_str),
            to_state: transition.to.as_str(),
            provider_state: transition.provider_state.as_deref(),
            evidence: transition.evidence.as_str(),
            occurred_at: transition.occurred_at.map(SqlTime),
            observed_at: SqlTime(transition.observed_at),
            earliest_at: transition.earliest_at.map(SqlTime),
            message: transition.message.as_deref(),
        }
    }
}
