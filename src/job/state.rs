//! The states of a job, what an answer can say, and how we know a change. `ARCHITECTURE.md` draws
//! the same states; a test compares the two.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::id::InvalidName;

/// Where a job stands, in our words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Ours, at `add`: no answer has told anything yet.
    Registered,
    /// It waits at the provider.
    Pending,
    /// It runs.
    Running,
    /// The provider names a state that we do not know, and does not say that it is over.
    Unknown,
    /// Over, well.
    Succeeded,
    /// Over, badly.
    Failed,
    /// Over, because somebody stopped it.
    Cancelled,
    /// Over, and the provider no longer keeps its result.
    Expired,
    /// Over, in words that we do not know.
    Indeterminate,
    /// Ours: the provider says, again and again, that there is no such job.
    Lost,
    /// Ours: somebody asked us to stop tracking it, or we gave up.
    Untracked,
}

impl State {
    /// All states, in the order of a job's life.
    pub const ALL: [Self; 11] = [
        Self::Registered,
        Self::Pending,
        Self::Running,
        Self::Unknown,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Expired,
        Self::Indeterminate,
        Self::Lost,
        Self::Untracked,
    ];

    /// Whether no transition leads out of it.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Registered | Self::Pending | Self::Running | Self::Unknown => false,
            Self::Succeeded
            | Self::Failed
            | Self::Cancelled
            | Self::Expired
            | Self::Indeterminate
            | Self::Lost
            | Self::Untracked => true,
        }
    }

    /// The name used in the database, on the wire and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Unknown => "unknown",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Indeterminate => "indeterminate",
            Self::Lost => "lost",
            Self::Untracked => "untracked",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for State {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
            let all: Vec<_> = Self::ALL.iter().map(|state| state.as_str()).collect();
            InvalidName::new(format!("{text:?} is not a state: {}", all.join(", ")))
        })
    }
}

/// What a good answer can say of a job: every state but those that only we set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObservedState {
    /// It waits.
    Pending,
    /// It runs.
    Running,
    /// A word that we do not know; not over.
    Unknown,
    /// Over, well.
    Succeeded,
    /// Over, badly.
    Failed,
    /// Over, stopped.
    Cancelled,
    /// Over, its result gone.
    Expired,
    /// Over, in a word that we do not know.
    Indeterminate,
}

impl ObservedState {
    /// The state that a job is in when this is said of it.
    #[must_use]
    pub fn to_state(self) -> State {
        match self {
            Self::Pending => State::Pending,
            Self::Running => State::Running,
            Self::Unknown => State::Unknown,
            Self::Succeeded => State::Succeeded,
            Self::Failed => State::Failed,
            Self::Cancelled => State::Cancelled,
            Self::Expired => State::Expired,
            Self::Indeterminate => State::Indeterminate,
        }
    }
}

/// How we know that a transition happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Evidence {
    /// An answer said so.
    Observed,
    /// We did not see the step, but a later answer told when it was.
    Reported,
    /// Our own doing.
    Local,
}

impl Evidence {
    /// The name used in the database and on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observed => "observed",
            Self::Reported => "reported",
            Self::Local => "local",
        }
    }
}
