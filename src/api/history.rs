//! Transitions, as pages of the history and as events of a stream.

use serde::{Deserialize, Serialize};

use crate::job::{EventCursor, Evidence, JobId, ProviderName, RemoteId, State, UtcTime};

/// A transition, as the `history` view shows it; also the data of an event.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TransitionEvent {
    /// The position of the transition in the history: reading can continue after it.
    pub cursor: EventCursor,
    pub job_id: JobId,
    pub provider: ProviderName,
    pub remote_id: RemoteId,
    /// None in a job's first transition.
    pub from_state: Option<State>,
    pub to_state: State,
    /// The state as the provider named it.
    pub provider_state: Option<String>,
    pub evidence: Evidence,
    /// When the transition happened, by the provider's clock.
    pub occurred_at: Option<UtcTime>,
    /// When the daemon learned of the transition, by its own clock.
    pub observed_at: UtcTime,
    /// The transition did not happen before this time, by the daemon's clock.
    pub earliest_at: Option<UtcTime>,
    pub message: Option<String>,
}

/// The data of an event `pruned` of an event stream: some transitions that the client has not seen are
/// no longer in the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrunedTransitions {
    /// The deleted transitions are between these two positions, the second included.
    pub after: EventCursor,
    pub up_to: EventCursor,
    /// How many transitions are deleted, those that the stream's filter leaves out included.
    pub count: u64,
}

/// The response of `GET /v1/history` and `GET /v1/jobs/{id}/history`.
#[derive(Debug, Serialize, Deserialize)]
pub struct TransitionList {
    /// Oldest first.
    pub transitions: Vec<TransitionEvent>,
    /// The `after` parameter of the next page; none on the last page.
    pub next_cursor: Option<EventCursor>,
}
