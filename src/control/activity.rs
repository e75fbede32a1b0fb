//! What a connection of the control socket is doing, and when it may be closed for another one.
//!
//! Handlers report it through the permit of the connection; the registry decides by it. Invariant: a
//! request that changes something is not interrupted once its handling has begun.

use std::time::Duration;

use crate::job::MonotonicTime;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activity {
    /// Between two requests, or the head of a request is incomplete.
    Idle,
    /// The head of a request has arrived, its body is incomplete.
    ReceivingBody,
    /// A request is handled.
    Handling,
    /// A request waits for its turn among those of its user: to be handled, or to query the database.
    WaitingForTurn,
    /// A request is handled that lasts until a provider answers.
    OnDemand,
    /// An event stream, or a request that waits for the end of a job: a client repeats both.
    Following,
    /// A response is sent, except for an event stream.
    SendingResponse { since: MonotonicTime },
}

impl Activity {
    /// A client that needs more time to read a response may be interrupted for another.
    pub(super) const MIN_SENDING_TIME: Duration = Duration::from_millis(50);

    /// Whether the connection may be closed for another one at `now`.
    pub(super) fn is_interruptible(self, now: MonotonicTime) -> bool {
        match self {
            Self::Idle | Self::ReceivingBody | Self::WaitingForTurn => true,
            Self::Handling | Self::OnDemand | Self::Following => false,
            Self::SendingResponse { since } => now.duration_since(since) >= Self::MIN_SENDING_TIME,
        }
    }

    /// Whether a client waits for jobs or providers.
    pub(super) fn is_waiting(self) -> bool {
        match self {
            Self::OnDemand | Self::Following => true,
            Self::Idle
            | Self::ReceivingBody
            | Self::Handling
            | Self::WaitingForTurn
            | Self::SendingResponse { .. } => false,
        }
    }
}
