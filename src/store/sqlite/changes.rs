//! The transitions and the duration samples of a batch. Called by `write`, for its script; `job_updates` updates
//! the jobs.

use serde::Serialize;

use crate::job::{Change, JobId, State, Transition};

use super::durations::push_samples;
use super::script::Script;
use super::time::SqlTime;

const INSERT_TRANSITIONS: &str = "
    WITH new AS MATERIALIZED (SELECT key, value FROM jsonb_each(?))
    INSERT INTO transition (job_id, from_state, to_state, provider_state, evidence,
                            occurred_at, observed_at, earliest_at, message)
    SELECT value ->> 'job', value ->> 'from_state', value ->> 'to_state', value ->> 'provider_state',
           value ->> 'evidence', value ->> 'occurred_at', value ->> 'observed_at',
           value ->> 'earliest_at', value ->> 'message'
    FROM new ORDER BY key";

/// Writes the history of these changes.
pub(super) fn push_history(script: &mut Script, changes: &[&Change]) -> Result<(), sqlx::Error> {
    let transitions = changes.iter().flat_map(|change| {
        change.transitions.iter().map(|transition| TransitionRow::new(change.job, transition))
    });
    let transitions: Vec<_> = transitions.collect();
    script.push_rows(INSERT_TRANSITIONS, &transitions)?;
    push_samples(script, changes)
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
