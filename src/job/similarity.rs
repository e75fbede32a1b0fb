//! What past runs tell of a job's: the names under which durations are learned, and what one run
//! that is over teaches.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::id::InvalidName;

/// Which past runs a job is compared with. On the wire and in the database: nothing, a text, or an
/// array of texts.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SimilarityKeys {
    /// Nothing is known of it yet.
    #[default]
    Unknown,
    /// By what its user said, whatever the provider tells.
    UserProvided(Box<str>),
    /// By what the provider told: the closest name first, a wider one behind it.
    ProviderReported(Box<[Box<str>]>),
}

impl SimilarityKeys {
    /// What a user says.
    ///
    /// # Errors
    /// If it is no name.
    pub fn from_user(key: &str) -> Result<Self, InvalidName> {
        if !(1..=128).contains(&key.chars().count()) || key.chars().any(char::is_control) {
            let reason =
                "the name of those alike must have 1 to 128 characters, none of them control";
            return Err(InvalidName::new(reason.to_owned()));
        }
        Ok(Self::UserProvided(key.into()))
    }

    /// What a provider told.
    #[must_use]
    pub fn from_provider(keys: impl IntoIterator<Item = String>) -> Self {
        let keys: Box<[Box<str>]> = keys.into_iter().map(String::into_boxed_str).collect();
        if keys.is_empty() { Self::Unknown } else { Self::ProviderReported(keys) }
    }

    /// The names, the closest first.
    #[must_use]
    pub fn keys(&self) -> &[Box<str>] {
        match self {
            Self::Unknown => &[],
            Self::UserProvided(name) => std::slice::from_ref(name),
            Self::ProviderReported(names) => names,
        }
    }

    /// Takes in what the provider tells now, unless its user knows better or it tells nothing.
    pub fn update_from_provider(&mut self, reported: &Self) {
        let is_new = *reported != Self::Unknown && self != reported;
        if is_new && !matches!(self, Self::UserProvided(_)) {
            self.clone_from(reported);
        }
    }
}

/// From when a duration counts. A job that is known to run is compared with the runs, one that waits
/// with all of the wait and the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DurationKind {
    /// From its submission, or from its registration where the provider tells none.
    Total,
    /// From the start of its run.
    Run,
}

/// What a job that is over teaches of those like it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurationSample {
    /// Which those are.
    pub similarity_keys: SimilarityKeys,
    /// How long all of it took.
    pub total: Option<Duration>,
    /// How long its run took.
    pub run: Option<Duration>,
}
