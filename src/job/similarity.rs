//! Similarity keys: the names under which the durations of similar jobs are learned.
//!
//! A provider or a user assigns the keys. Keys are compared within one provider and never parsed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::id::InvalidText;

/// The past runs that a job is compared with. In JSON and in the database: null, a string, or an array
/// of strings.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SimilarityKeys {
    #[default]
    Unknown,
    /// Takes precedence over what the provider reports.
    UserProvided(Box<str>),
    /// From the closest key to the widest.
    ProviderReported(Box<[Box<str>]>),
}

impl SimilarityKeys {
    /// The key that a user provides.
    ///
    /// # Errors
    /// If the key is empty, too long, or contains control characters.
    pub fn from_user(key: &str) -> Result<Self, InvalidText> {
        if !(1..=128).contains(&key.chars().count()) || key.chars().any(char::is_control) {
            let reason = "a similarity key must have 1 to 128 characters and no control characters";
            return Err(InvalidText::new(reason.to_owned()));
        }
        Ok(Self::UserProvided(key.into()))
    }

    /// The keys that a provider reports, from the closest to the widest.
    #[must_use]
    pub fn from_provider(keys: impl IntoIterator<Item = String>) -> Self {
        let keys: Box<[Box<str>]> = keys.into_iter().map(String::into_boxed_str).collect();
        if keys.is_empty() { Self::Unknown } else { Self::ProviderReported(keys) }
    }

    /// From the closest key to the widest.
    #[must_use]
    pub fn keys(&self) -> &[Box<str>] {
        match self {
            Self::Unknown => &[],
            Self::UserProvided(name) => std::slice::from_ref(name),
            Self::ProviderReported(names) => names,
        }
    }

    /// Whether these keys give way to the keys that a provider reports: unless the user provided one, or
    /// nothing new is reported.
    #[must_use]
    pub fn is_replaced_by(&self, reported: &Self) -> bool {
        let is_new = *reported != Self::Unknown && self != reported;
        is_new && !matches!(self, Self::UserProvided(_))
    }
}

/// Where a duration begins. A running job is compared with durations of runs, and a waiting job with
/// durations of wait and run together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DurationKind {
    /// From the submission, or from the registration if the provider reports no submission.
    Total,
    /// From the start of the run.
    Run,
}

/// The durations of a job that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurationSample {
    pub similarity_keys: SimilarityKeys,
    pub total: Option<Duration>,
    pub run: Option<Duration>,
}
