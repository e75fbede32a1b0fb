//! Word → meaning, the one place where any kind looks its words up: those that the kind knows, and
//! those that the user's `states` adds. What is known is not up to the user: nobody turns a failure
//! into a success by a line of config.

use std::collections::BTreeMap;

use crate::config::StateName;
use crate::job::Said;

/// The words that a kind knows.
pub(super) type Known = &'static [(&'static str, Said)];

/// The words of one configured provider.
#[derive(Debug)]
pub(super) struct Words {
    /// May stand before any word, and adds nothing to it.
    prefix: &'static str,
    known: Known,
    added: BTreeMap<String, Said>,
}

impl Words {
    /// Those of a kind, and those of the user.
    pub(super) fn new(
        prefix: &'static str,
        known: Known,
        states: &BTreeMap<String, StateName>,
    ) -> Result<Self, String> {
        let mut words = Self { prefix, known, added: BTreeMap::new() };
        for (word, state) in states {
            if let Some(said) = words.said(word) {
                return Err(format!(
                    "states: {word} cannot be set, it is known already: {}",
                    said.state()
                ));
            }
            words.added.insert(words.bare(word).to_owned(), said_by(*state));
        }
        Ok(words)
    }

    /// What a word means, if anybody knows.
    pub(super) fn said(&self, word: &str) -> Option<Said> {
        let bare = self.bare(word);
        let known = self.known.iter().find(|(known, _)| *known == bare).map(|(_, said)| *said);
        known.or_else(|| self.added.get(bare).copied())
    }

    fn bare<'a>(&self, word: &'a str) -> &'a str {
        word.strip_prefix(self.prefix).unwrap_or(word)
    }
}

fn said_by(state: StateName) -> Said {
    match state {
        StateName::Pending => Said::Pending,
        StateName::Running => Said::Running,
        StateName::Succeeded => Said::Succeeded,
        StateName::Failed => Said::Failed,
        StateName::Cancelled => Said::Cancelled,
        StateName::Expired => Said::Expired,
    }
}
