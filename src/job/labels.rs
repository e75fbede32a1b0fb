//! The labels that a user attaches to a job.
//!
//! Built by the client and by `control` from what a user wrote, and read back from the database. A value of
//! [`Labels`] is valid: it can only be constructed by a conversion that checks it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

use super::id::InvalidText;

/// The labels of a job: keys of 1 to 64 characters `[A-Za-z0-9_.-]`, values of at most 256 bytes without control
/// characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>")]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// The maximum number of labels on a job.
    pub const MAX_COUNT: usize = 32;

    /// Sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<BTreeMap<String, String>> for Labels {
    type Error = InvalidText;
    fn try_from(map: BTreeMap<String, String>) -> Result<Self, InvalidText> {
        if map.len() > Self::MAX_COUNT {
            return Err(InvalidText::new(format!(
                "too many labels; at most {} are allowed",
                Self::MAX_COUNT
            )));
        }
        map.iter().try_for_each(|(key, value)| check_label(key, value))?;
        Ok(Self(map))
    }
}

fn check_label(key: &str, value: &str) -> Result<(), InvalidText> {
    let is_good_key = (1..=64).contains(&key.len())
        && key.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if !is_good_key {
        return Err(InvalidText::new(format!(
            "label {key:?} must be 1 to 64 letters, digits, _, . or -"
        )));
    }
    if value.len() > 256 || value.chars().any(char::is_control) {
        return Err(InvalidText::new(format!(
            "the value of label {key} must have at most 256 bytes and no control characters"
        )));
    }
    Ok(())
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// Parses `KEY=VALUE`, as on the command line and in the query of a URL.
///
/// # Errors
/// If there is no `=`, or no label has such a key or value.
pub fn parse_label(text: &str) -> Result<(String, String), InvalidText> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| InvalidText::new(format!("label {text:?} must be KEY=VALUE")))?;
    check_label(key, value)?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_checked() {
        let labels_with = |key: &str, value: &str| {
            Labels::try_from(BTreeMap::from([(key.to_owned(), value.to_owned())]))
        };
        assert!(labels_with("team", "a = b").is_ok());
        assert!(labels_with(&"k".repeat(64), &"v".repeat(256)).is_ok());
        assert!(labels_with(&"k".repeat(65), "x").is_err());
        assert!(labels_with("k", &"v".repeat(257)).is_err());
        assert!(labels_with("", "x").is_err());
        assert!(labels_with("a b", "x").is_err());
        assert!(labels_with("a", "x\ny").is_err());
        for text in ["team", "=x", "a b=x", "a=x\ny"] {
            assert!(parse_label(text).is_err(), "{text:?}");
        }
    }
}
