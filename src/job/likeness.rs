//! What past runs tell of a job's: the names under which durations are learned, and what one run
//! that is over teaches.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::id::InvalidName;

/// Which past runs a job is compared with. On the wire and in the database: nothing, a text, or an
/// array of texts.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Likeness {
    /// Nothing is known of it yet.
    #[default]
    Unknown,
    /// By what its user said, whatever the provider tells.
    Given(Box<str>),
    /// By what the provider told: the closest name first, a wider one behind it.
    Told(Box<[Box<str>]>),
}

impl Likeness {
    /// What a user says.
    ///
    /// # Errors
    /// If it is no name.
    pub fn given(name: &str) -> Result<Self, InvalidName> {
        if !(1..=128).contains(&name.chars().count()) || name.chars().any(char::is_control) {
            let why = "the name of those alike must have 1 to 128 characters, none of them control";
            return Err(InvalidName::new(why.to_owned()));
        }
        Ok(Self::Given(name.into()))
    }

    /// What a provider told.
    #[must_use]
    pub fn told(names: impl IntoIterator<Item = String>) -> Self {
        let names: Box<[Box<str>]> = names.into_iter().map(String::into_boxed_str).collect();
        if names.is_empty() { Self::Unknown } else { Self::Told(names) }
    }

    /// The names, the closest first.
    #[must_use]
    pub fn names(&self) -> &[Box<str>] {
        match self {
            Self::Unknown => &[],
            Self::Given(name) => std::slice::from_ref(name),
            Self::Told(names) => names,
        }
    }

    /// Takes in what the provider tells now, unless its user knows better or it tells nothing.
    pub fn hear(&mut self, told: &Self) {
        let is_news = *told != Self::Unknown && self != told;
        if is_news && !matches!(self, Self::Given(_)) {
            self.clone_from(told);
        }
    }
}

/// From when a duration counts. A job that is known to run is compared with the runs, one that waits
/// with all of the wait and the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// From its submission, or from its registration where the provider tells none.
    Whole,
    /// From the start of its run.
    Running,
}

/// What a job that is over teaches of those like it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lesson {
    /// Which those are.
    pub likeness: Likeness,
    /// How long all of it took.
    pub whole: Option<Duration>,
    /// How long its run took.
    pub running: Option<Duration>,
}
