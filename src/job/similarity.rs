//! Similarity keys: the names under which the durations of similar jobs are learned.
//!
//! A provider or a user assigns the keys. Keys are compared within one provider and never parsed.

use std::fmt;
use std::time::Duration;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::id::InvalidText;
use super::time::UtcTime;

/// The past runs that a job is compared with. In JSON and in the database: null, a string, or an array
/// of strings.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
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

impl<'de> Deserialize<'de> for SimilarityKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SimilarityKeysVisitor)
    }
}

/// Written by hand, because the derived code first copies the value, and a start reads one for each job.
struct SimilarityKeysVisitor;

impl<'de> Visitor<'de> for SimilarityKeysVisitor {
    type Value = SimilarityKeys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, a string, or an array of strings")
    }

    fn visit_unit<E: de::Error>(self) -> Result<SimilarityKeys, E> {
        Ok(SimilarityKeys::Unknown)
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<SimilarityKeys, E> {
        Ok(SimilarityKeys::UserProvided(key.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut keys: A) -> Result<SimilarityKeys, A::Error> {
        let mut found: Vec<Box<str>> = Vec::new();
        while let Some(key) = keys.next_element()? {
            found.push(key);
        }
        Ok(SimilarityKeys::ProviderReported(found.into()))
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

/// From when the duration of a job counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DurationStart {
    pub kind: DurationKind,
    pub at: UtcTime,
}

/// The durations of a job that has ended. The table of samples does not have the times.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DurationSample {
    pub similarity_keys: SimilarityKeys,
    pub total: Option<Duration>,
    pub run: Option<Duration>,
    /// When `total` begins.
    pub total_from: Option<UtcTime>,
    /// When `run` begins.
    pub run_from: Option<UtcTime>,
}

impl DurationSample {
    /// The duration of each kind and when it begins.
    #[must_use]
    pub fn by_kind(&self) -> [(DurationKind, Option<Duration>, Option<UtcTime>); 2] {
        [
            (DurationKind::Total, self.total, self.total_from),
            (DurationKind::Run, self.run, self.run_from),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_back_as_they_were_written() {
        for keys in [
            SimilarityKeys::Unknown,
            SimilarityKeys::UserProvided("nightly \"é\"".into()),
            SimilarityKeys::from_provider(["query 1".to_owned(), "team".to_owned()]),
        ] {
            let json = serde_json::to_string(&keys).expect("JSON");
            assert_eq!(serde_json::from_str::<SimilarityKeys>(&json).expect(&json), keys);
        }
        for other in ["7", "{}", "[1]", "true"] {
            assert!(serde_json::from_str::<SimilarityKeys>(other).is_err(), "{other}");
        }
    }
}
