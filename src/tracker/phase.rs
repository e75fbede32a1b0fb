//! Where a job is between a question and its row, and what comes next.

use std::time::Duration;

use crate::job::{
    Change, CurrentState, DurationSample, LocalOutcome, MonotonicTime, Observation, PollRecord,
    RequestTimes,
};

/// What is being done with a job just now. Each is in exactly one stage, so that it has one poll in
/// flight at most, and none while a change of it is not committed.
#[derive(Debug)]
pub(super) enum PollPhase {
    /// It stands in its lane's queue under this time.
    Waiting(MonotonicTime),
    /// A poll is under way.
    Polling {
        /// Somebody waits for it.
        on_demand: bool,
    },
    /// A change was handed to the store.
    Committing(Box<PendingChange>),
}

/// A change on its way into the database.
#[derive(Debug)]
pub(super) struct PendingChange {
    pub(super) cause: ChangeCause,
    pub(super) new_state: CurrentState,
    pub(super) poll_record: Option<PollRecord>,
    pub(super) next_due: MonotonicTime,
    /// The store found another state than we expected, once already.
    pub(super) already_retried: bool,
}

/// Why a job moves; kept until the change is written, to plan it anew on what the store has.
#[derive(Debug, Clone)]
pub(super) enum ChangeCause {
    Observed(Box<Observation>, RequestTimes, Option<LearnedSample>),
    Local(LocalOutcome, String),
}

/// What the end of a job teaches.
#[derive(Debug, Clone)]
pub(super) struct LearnedSample {
    pub(super) duration_sample: DurationSample,
    /// How late it was seen, if that is known.
    pub(super) detection_delay: Option<Duration>,
}

impl ChangeCause {
    pub(super) fn learned_sample(&self) -> Option<&LearnedSample> {
        match self {
            Self::Observed(_, _, learned_sample) => learned_sample.as_ref(),
            Self::Local(..) => None,
        }
    }
}

/// What is to be done after an answer was heard or a change was written.
#[derive(Debug)]
pub(super) enum FollowUp {
    /// Ask again then.
    PollAt(MonotonicTime),
    /// Write this first; the record is in [`Stage::Writing`].
    Commit(Box<Change>),
    /// Nothing: it is over.
    Remove,
}

/// What one answer makes of a job.
#[derive(Debug)]
pub(super) struct PollOutcome {
    pub(super) follow_up: FollowUp,
    /// The bookkeeping; none where it goes with the change.
    pub(super) poll_record: Option<PollRecord>,
    pub(super) anomaly: Option<String>,
}
