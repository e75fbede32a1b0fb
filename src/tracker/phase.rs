//! The phase of a tracked job between a poll, the commit of its result, and the next poll.
//!
//! Every step from one phase to another is a method of [`PollPhase`], called by the job. Invariant: a job
//! has at most one poll in flight, and no poll starts while a change of the job is being committed.
//!
//! An empty cell means that the phase stays. "Removed" means that the tracker removes the job.
//!
//! | from | start_poll | end_poll | begin_commit | end_commit | finish |
//! |---|---|---|---|---|---|
//! | `Waiting` | `InFlight` | | `Committing` | | removed |
//! | `InFlight` | | `Waiting` | `CommittingDuringPoll` | | `FinishedDuringPoll` |
//! | `Committing` | | | | `Waiting` | removed |
//! | `CommittingDuringPoll` | | `Committing` | | `InFlight` | `FinishedDuringPoll` |
//! | `FinishedDuringPoll` | | removed | `CommittingDuringPoll` | | |

use crate::job::MonotonicTime;

use super::pending_change::PendingChange;

#[derive(Debug)]
pub(super) enum PollPhase {
    /// The job is in its provider's queue.
    Waiting { due: MonotonicTime },
    /// A poll is in flight. `on_demand`: a person waits for the result.
    InFlight { on_demand: bool },
    /// A change is being committed.
    Committing(Box<PendingChange>),
    /// The job was untracked while a poll was in flight: the answer will be ignored, unless the store
    /// rejects the change first.
    CommittingDuringPoll(Box<PendingChange>),
    /// The job needs no more polls, but one is still in flight. The tracker keeps the job until the
    /// answer arrives, so that no second poll starts meanwhile.
    FinishedDuringPoll,
}

/// What to do with an answer that has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswerUse {
    Apply {
        on_demand: bool,
    },
    /// The job is not waiting for an answer.
    Ignore,
    /// The tracker kept the job only until this answer.
    RemoveJob,
}

impl PollPhase {
    /// Whether a poll may be sent, or the next page of a list request that is in flight.
    pub(super) fn can_start_poll(&self) -> bool {
        match self {
            Self::Waiting { .. } | Self::InFlight { .. } => true,
            Self::Committing(_) | Self::CommittingDuringPoll(_) | Self::FinishedDuringPoll => false,
        }
    }

    /// A poll or a list request for this job was sent. The next page of a list request finds the job
    /// in flight already.
    pub(super) fn start_poll(&mut self, on_demand: bool) {
        match self {
            Self::Waiting { .. } => *self = Self::InFlight { on_demand },
            Self::InFlight { .. }
            | Self::Committing(_)
            | Self::CommittingDuringPoll(_)
            | Self::FinishedDuringPoll => {}
        }
    }

    /// The answer to the poll arrived, or the poll will not be answered.
    pub(super) fn end_poll(&mut self, now: MonotonicTime) -> AnswerUse {
        match std::mem::replace(self, Self::Waiting { due: now }) {
            Self::InFlight { on_demand } => AnswerUse::Apply { on_demand },
            Self::CommittingDuringPoll(pending) => {
                *self = Self::Committing(pending);
                AnswerUse::Ignore
            }
            Self::FinishedDuringPoll => AnswerUse::RemoveJob,
            unchanged @ (Self::Waiting { .. } | Self::Committing(_)) => {
                *self = unchanged;
                AnswerUse::Ignore
            }
        }
    }

    /// The job has a change to commit.
    pub(super) fn begin_commit(&mut self, pending: PendingChange) {
        let pending = Box::new(pending);
        *self = match self {
            Self::Waiting { .. } | Self::Committing(_) => Self::Committing(pending),
            Self::InFlight { .. } | Self::CommittingDuringPoll(_) | Self::FinishedDuringPoll => {
                Self::CommittingDuringPoll(pending)
            }
        };
    }

    /// The store committed or rejected the change, which is returned; none if there was none.
    pub(super) fn end_commit(&mut self, now: MonotonicTime) -> Option<PendingChange> {
        match std::mem::replace(self, Self::Waiting { due: now }) {
            Self::Committing(pending) => Some(*pending),
            Self::CommittingDuringPoll(pending) => {
                *self = Self::InFlight { on_demand: false };
                Some(*pending)
            }
            unchanged @ (Self::Waiting { .. }
            | Self::InFlight { .. }
            | Self::FinishedDuringPoll) => {
                *self = unchanged;
                None
            }
        }
    }

    /// Changes the due time of a waiting job; returns whether the job is waiting.
    pub(super) fn wait_until(&mut self, at: MonotonicTime) -> bool {
        match self {
            Self::Waiting { due } => {
                *due = at;
                true
            }
            Self::InFlight { .. }
            | Self::Committing(_)
            | Self::CommittingDuringPoll(_)
            | Self::FinishedDuringPoll => false,
        }
    }

    /// The job needs no more polls. Returns whether the tracker must keep the job for a poll in flight.
    pub(super) fn finish(&mut self) -> bool {
        match self {
            Self::Waiting { .. } | Self::Committing(_) => false,
            Self::InFlight { .. } | Self::CommittingDuringPoll(_) | Self::FinishedDuringPoll => {
                *self = Self::FinishedDuringPoll;
                true
            }
        }
    }

    /// A person waits for the answer in flight, if there is one.
    pub(super) fn mark_on_demand(&mut self) {
        match self {
            Self::InFlight { on_demand } => *on_demand = true,
            Self::Waiting { .. }
            | Self::Committing(_)
            | Self::CommittingDuringPoll(_)
            | Self::FinishedDuringPoll => {}
        }
    }

    /// When a waiting job is due; none if the job is not waiting.
    pub(super) fn due(&self) -> Option<MonotonicTime> {
        match self {
            Self::Waiting { due } => Some(*due),
            Self::InFlight { .. }
            | Self::Committing(_)
            | Self::CommittingDuringPoll(_)
            | Self::FinishedDuringPoll => None,
        }
    }

    pub(super) fn pending_change(&self) -> Option<&PendingChange> {
        match self {
            Self::Committing(pending) | Self::CommittingDuringPoll(pending) => Some(pending),
            Self::Waiting { .. } | Self::InFlight { .. } | Self::FinishedDuringPoll => None,
        }
    }

    pub(super) fn pending_change_mut(&mut self) -> Option<&mut PendingChange> {
        match self {
            Self::Committing(pending) | Self::CommittingDuringPoll(pending) => Some(pending),
            Self::Waiting { .. } | Self::InFlight { .. } | Self::FinishedDuringPoll => None,
        }
    }
}
