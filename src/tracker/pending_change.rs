//! A change of a job that is being committed, with everything that is needed after the commit.
//!
//! Built by [`super::job_commit`] and held by the job's phase. The store works on its own copy,
//! [`crate::job::Change`]. Invariant: `transitions` is never empty.

use std::time::Duration;

use crate::job::{
    DurationSample, LocalOutcome, MonotonicTime, Observation, PollRecord, RequestTimes, State,
    Transition,
};

/// A change from its decision until the store has committed or rejected it.
#[derive(Debug)]
pub(super) struct PendingChange {
    pub(super) cause: ChangeCause,
    pub(super) transitions: Vec<Transition>,
    /// The state after the transitions.
    pub(super) new_state: State,
    pub(super) poll_record: Option<PollRecord>,
    /// When the job is due after the commit, unless it is terminal then.
    pub(super) next_due: MonotonicTime,
    /// Whether the change was planned again after the store rejected it once.
    pub(super) is_retry: bool,
    /// The job is untracked after this commit, for this reason.
    pub(super) untrack_reason: Option<String>,
}

/// Why a job changes. Kept until the commit, because the change is planned again on the stored state
/// if the store rejects it.
#[derive(Debug)]
pub(super) enum ChangeCause {
    Observed {
        observation: Box<Observation>,
        request_times: RequestTimes,
        learned_sample: Option<LearnedSample>,
    },
    Local {
        outcome: LocalOutcome,
        reason: String,
    },
}

impl ChangeCause {
    pub(super) fn learned_sample(&self) -> Option<&LearnedSample> {
        match self {
            Self::Observed { learned_sample, .. } => learned_sample.as_ref(),
            Self::Local { .. } => None,
        }
    }
}

/// What the end of a job adds to the duration history.
#[derive(Debug, Clone)]
pub(super) struct LearnedSample {
    pub(super) duration_sample: DurationSample,
    /// The time from the job's end to its observation; none if the time of the end is unknown.
    pub(super) detection_delay: Option<Duration>,
}
