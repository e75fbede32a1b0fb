//! What an answer or a commit leads to outside the job: the follow-up, a poll record, an anomaly.
//!
//! Returned by the methods of a tracked job and carried out by [`super::registry`], so that a job needs
//! no access to queues and actions.

use crate::job::{Change, MonotonicTime, PollRecord};

/// What the tracker does with a job after an answer or a commit.
#[derive(Debug)]
pub(super) enum FollowUp {
    /// Queue the next poll.
    PollAt(MonotonicTime),
    /// A poll is in flight: wait for its answer.
    AwaitAnswer,
    Commit(Box<Change>),
    /// Stop tracking the job.
    Remove,
}

/// The result of applying one answer or one commit to a job.
#[derive(Debug)]
pub(super) struct JobEffects {
    pub(super) follow_up: FollowUp,
    /// None if the record is part of the change, or if no poll was answered.
    pub(super) poll_record: Option<PollRecord>,
    pub(super) anomaly: Option<String>,
}

impl From<FollowUp> for JobEffects {
    fn from(follow_up: FollowUp) -> Self {
        Self { follow_up, poll_record: None, anomaly: None }
    }
}
