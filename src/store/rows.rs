//! What the [`Reader`](super::Reader) returns, and the filters of its queries. [`JobRow`] and
//! [`TransitionRow`] have the columns of the views `jobs` and `history`, which docs/sql.md documents.

use serde_json::{Map, Value};
use sqlx::FromRow;

use crate::job::{
    DurationSample, EventCursor, Evidence, JobId, Labels, ProviderName, RemoteId, SimilarityKeys,
    State, StateFilter, UtcTime,
};

/// A row of the view `jobs`.
#[derive(Debug, FromRow)]
#[expect(missing_docs, reason = "docs/sql.md documents the columns")]
pub struct JobRow {
    pub id: JobId,
    pub provider: ProviderName,
    pub kind: String,
    pub remote_id: RemoteId,
    pub source: Option<String>,
    pub state: State,
    pub provider_state: Option<String>,
    pub terminal: bool,
    #[sqlx(json)]
    pub labels: Labels,
    pub similarity_keys: Option<SimilarityKeys>,
    pub added_by_uid: Option<u32>,
    pub added_by_user: Option<String>,
    pub registered_at: UtcTime,
    pub submitted_at: Option<UtcTime>,
    pub started_at: Option<UtcTime>,
    pub ended_at: Option<UtcTime>,
    pub terminal_at: Option<UtcTime>,
    pub expires_at: Option<UtcTime>,
    pub deadline_at: Option<UtcTime>,
    pub message: Option<String>,
    pub last_polled_at: Option<UtcTime>,
    pub next_poll_at: Option<UtcTime>,
    pub polls: u32,
    pub failed_polls: u32,
    pub last_poll_error: Option<String>,
    pub queue_s: Option<f64>,
    pub run_s: Option<f64>,
    pub total_s: Option<f64>,
    pub detection_delay_s: Option<f64>,
    pub detection_delay_max_s: Option<f64>,
    pub credits: Option<f64>,
    #[sqlx(json)]
    pub detail: Map<String, Value>,
}

/// A row of the view `history`.
#[derive(Debug, FromRow)]
#[expect(missing_docs, reason = "docs/sql.md documents the columns")]
pub struct TransitionRow {
    #[sqlx(rename = "seq")]
    pub cursor: EventCursor,
    pub job_id: JobId,
    pub provider: ProviderName,
    pub remote_id: RemoteId,
    pub from_state: Option<State>,
    pub to_state: State,
    pub provider_state: Option<String>,
    pub evidence: Evidence,
    pub occurred_at: Option<UtcTime>,
    pub observed_at: UtcTime,
    pub earliest_at: Option<UtcTime>,
    pub message: Option<String>,
}

/// A duration sample that an earlier run of the daemon may have written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDurationSample {
    /// Ascending in the order in which the samples were inserted.
    pub id: i64,
    /// The provider of the job.
    pub provider: ProviderName,
    /// What the job's end contributed.
    pub sample: DurationSample,
}

/// Selects jobs. `None` and an empty list do not filter.
#[derive(Debug, Default)]
pub struct JobFilter {
    /// In one of these states.
    pub states: Vec<StateFilter>,
    /// Of this provider.
    pub provider: Option<ProviderName>,
    /// With this remote id.
    pub remote_id: Option<RemoteId>,
    /// With all of these labels.
    pub labels: Vec<(String, String)>,
    /// Registered at this time or later.
    pub registered_since: Option<UtcTime>,
    /// With a lower id than this.
    pub before_id: Option<JobId>,
    /// The maximum number of rows.
    pub limit: u32,
}

/// Selects transitions. `None` and an empty list do not filter.
#[derive(Debug, Default, Clone)]
pub struct HistoryFilter {
    /// Of this job.
    pub job: Option<JobId>,
    /// After this event.
    pub after: Option<EventCursor>,
    /// Up to and including this event.
    pub up_to: Option<EventCursor>,
    /// Observed at this time or later.
    pub observed_since: Option<UtcTime>,
    /// Of this provider.
    pub provider: Option<ProviderName>,
    /// Into one of these states.
    pub states: Vec<StateFilter>,
    /// Of jobs with all of these labels.
    pub labels: Vec<(String, String)>,
    /// The maximum number of rows.
    pub limit: u32,
}
