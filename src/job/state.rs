//! The states of a job, the states that an answer can report, and the evidence for a transition.
//!
//! `ARCHITECTURE.md` shows the possible transitions in a diagram, which a test compares with the code.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use super::id::InvalidText;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Added; no poll has succeeded yet.
    Registered,
    /// Waiting at the provider.
    Pending,
    Running,
    /// The provider reports a state that is not in its state map, and the job is not known to have ended.
    Unknown,
    Succeeded,
    Failed,
    Cancelled,
    /// Ended, and the provider has deleted the result.
    Expired,
    /// Ended, with a provider state that is not in the state map.
    Indeterminate,
    /// Decided locally: the provider repeatedly reported that the job does not exist.
    Lost,
    /// Decided locally: a user stopped the tracking, or the job exceeded its give-up limit.
    Untracked,
}

impl State {
    /// All states, in the order of a job's lifecycle.
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

    /// Whether the state is final: no transition leads out of it.
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
    type Err = InvalidText;
    fn from_str(text: &str) -> Result<Self, InvalidText> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
            let all: Vec<_> = Self::ALL.iter().map(|state| state.as_str()).collect();
            InvalidText::new(format!("{text:?} is not a state; expected one of {}", all.join(", ")))
        })
    }
}

/// A state that an answer can report: every state except those that are decided locally.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObservedState {
    Pending,
    Running,
    /// Not in the state map; the job is not known to have ended.
    Unknown,
    Succeeded,
    Failed,
    Cancelled,
    /// Ended, and the result is deleted.
    Expired,
    /// Ended; not in the state map.
    Indeterminate,
}

impl ObservedState {
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

/// The provider's own word for a state, verbatim. A copy costs no allocation, and takes 8 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProviderState(Arc<String>);

impl ProviderState {
    /// Whether all other copies of this value are dropped.
    #[must_use]
    pub fn is_only_copy(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl From<&str> for ProviderState {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<String> for ProviderState {
    fn from(text: String) -> Self {
        Self(Arc::new(text))
    }
}

impl Deref for ProviderState {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ProviderState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl Serialize for ProviderState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

/// How a transition became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Evidence {
    /// An answer reported the new state.
    Observed,
    /// No poll observed the state, but a later answer reported when it began.
    Reported,
    /// No answer reported it: jobtrack decided it (`lost`, `untracked`) or recorded it at the registration.
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
