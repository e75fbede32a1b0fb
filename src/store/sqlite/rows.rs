//! The rows of the views `jobs` and `history`, whose columns docs/sql.md documents.

use serde_json::{Map, Value};
use sqlx::FromRow;

use crate::job::{
    EventCursor, Evidence, JobId, Labels, PollPrice, ProviderName, RemoteId, SimilarityKeys, State,
    UtcTime,
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
    pub price: Option<PollPrice>,
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
    pub pinned: bool,
}

/// The jobs of one state that the maintenance would delete.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct PrunableRow {
    pub state: State,
    pub jobs: i64,
    /// When jobtrack learned of the end of the job that ended first.
    pub oldest_terminal_at: UtcTime,
    pub newest_terminal_at: UtcTime,
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
