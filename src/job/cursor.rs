//! The position of an event in the history, as an opaque text.
//!
//! The control API returns cursors to clients and receives them in later requests. Only the store
//! creates and parses the text. Invariant: two cursors are equal if and only if they are the position of
//! the same event.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::id::InvalidText;

/// The position of an event, from which a client can continue to read the history.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventCursor(Box<str>);

impl EventCursor {
    const MAX_BYTES: usize = 64;
}

impl TryFrom<String> for EventCursor {
    type Error = InvalidText;
    fn try_from(text: String) -> Result<Self, InvalidText> {
        let is_valid = (1..=Self::MAX_BYTES).contains(&text.len())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if is_valid {
            Ok(Self(text.into()))
        } else {
            Err(InvalidText::new(
                "a cursor is the text that an earlier answer gave as `cursor` or `next_cursor`"
                    .to_owned(),
            ))
        }
    }
}

impl FromStr for EventCursor {
    type Err = InvalidText;
    fn from_str(text: &str) -> Result<Self, InvalidText> {
        text.to_owned().try_into()
    }
}

impl From<EventCursor> for String {
    fn from(cursor: EventCursor) -> Self {
        cursor.0.into()
    }
}

impl fmt::Display for EventCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
