//! Rows of the store, and what the tracker tells of a job → objects of the wire. The two have the same
//! names, and are two types so that neither the schema nor the contract moves with the other unseen.

use std::time::Duration;

use crate::api;
use crate::store::{JobRow, TransitionRow};
use crate::tracker::{NextPoll, Outlook, Reason};

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
            outlook: None,
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

impl From<Outlook> for api::Outlook {
    fn from(outlook: Outlook) -> Self {
        Self {
            next: match outlook.next {
                NextPoll::Now => api::NextPoll::Now {},
                NextPoll::Due(span) => api::NextPoll::Due { due_for_s: seconds(span) },
                NextPoll::In(span) => api::NextPoll::In { next_poll_in_s: seconds(span) },
            },
            reason: match outlook.reason {
                Reason::First => api::Reason::First,
                Reason::Backoff => api::Reason::Backoff,
                Reason::Price(price) => api::Reason::Price { price_s: seconds(price) },
                Reason::Promise => api::Reason::Promise,
            },
            past: outlook.past.map(|past| api::PastRuns {
                like: past.name,
                past_runs: past.count,
                past_median_s: seconds(past.median),
            }),
            ends_in_s: outlook.ends_in.map(seconds),
        }
    }
}

/// To a millisecond, as all times of ours.
pub(super) fn seconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1000.0).round() / 1000.0
}
