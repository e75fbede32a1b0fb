//! Rows of the store → objects of the wire. The two have the same names, and are two types so that
//! neither the schema nor the contract moves with the other unseen.

use crate::api;
use crate::store::{JobRow, TransitionRow};

impl From<JobRow> for api::Job {
    fn from(row: JobRow) -> Self {
        Self {
            id: row.id,
            provider: row.provider,
            kind: row.kind,
            remote_id: row.remote_id,
            state: row.state,
            provider_state: row.provider_state,
            terminal: row.terminal,
            labels: row.labels,
            added_by: row.added_by,
            registered_at: row.registered_at,
            submitted_at: row.submitted_at,
            started_at: row.started_at,
            ended_at: row.ended_at,
            terminal_at: row.terminal_at,
            expires_at: row.expires_at,
            message: row.message,
            last_polled_at: row.last_polled_at,
            next_poll_at: row.next_poll_at,
            polls: row.polls,
            failed_polls: row.failed_polls,
            last_poll_error: row.last_poll_error,
            detail: row.detail,
            likeness: row.likeness.unwrap_or_default(),
        }
    }
}

impl From<TransitionRow> for api::Event {
    fn from(row: TransitionRow) -> Self {
        Self {
            seq: row.seq,
            job_id: row.job_id,
            provider: row.provider,
            remote_id: row.remote_id,
            from_state: row.from_state,
            to_state: row.to_state,
            provider_state: row.provider_state,
            evidence: row.evidence,
            occurred_at: row.occurred_at,
            observed_at: row.observed_at,
            earliest_at: row.earliest_at,
            message: row.message,
        }
    }
}
