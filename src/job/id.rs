//! Identifiers: job ids, provider names, remote ids and job references.
//!
//! A value of these types is valid: each can only be constructed by a function that checks it. Only
//! [`JobId`] has no invalid values.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A text that is not a valid name, id, state, cursor, label or key. The message states what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidText(String);

impl InvalidText {
    pub(super) fn new(reason: String) -> Self {
        Self(reason)
    }
}

/// The number of a job, unique in a database for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub i64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of a configured provider: `[a-z][a-z0-9_]*`, at most 64 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProviderName(Arc<str>);

impl ProviderName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ProviderName {
    type Error = InvalidText;
    fn try_from(text: String) -> Result<Self, InvalidText> {
        let good = text.len() <= 64
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if good {
            Ok(Self(text.into()))
        } else {
            Err(InvalidText(format!(
                "provider name {text:?} must begin with a lower-case letter, followed by lower-case \
                 letters, digits or _; at most 64 characters"
            )))
        }
    }
}

/// The id of a job at its provider: 1 to 512 bytes without white space or control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RemoteId(Box<str>);

impl RemoteId {
    pub const MAX_BYTES: usize = 512;

    /// A text that was an id before.
    pub(super) fn from_valid(text: String) -> Self {
        Self(text.into_boxed_str())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form in which ids of one provider are compared. A ULID and a UUID are the same in capitals and in
    /// small letters, and a UUID is the same without its hyphens.
    #[must_use]
    pub fn canonical_form(&self) -> Cow<'_, str> {
        canonical_form(&self.0)
    }

    #[must_use]
    pub fn is_ulid(&self) -> bool {
        is_ulid(&self.0)
    }

    #[must_use]
    pub fn is_uuid(&self) -> bool {
        is_uuid(&self.0)
    }

    /// Whether the text is this id, perhaps in another spelling.
    #[must_use]
    pub fn is_same_id(&self, text: &str) -> bool {
        self.canonical_form() == canonical_form(text)
    }

    /// The spellings of a ULID or UUID, each of which may be in capitals or in small letters. None for an id that
    /// has no other spelling.
    #[must_use]
    pub fn spellings(&self) -> Vec<String> {
        match canonical_form(&self.0) {
            Cow::Owned(digits) if digits.len() == UUID_DIGITS => {
                vec![hyphenated(&digits), digits]
            }
            Cow::Owned(lower_case) => vec![lower_case],
            Cow::Borrowed(_) => Vec::new(),
        }
    }
}

fn canonical_form(id: &str) -> Cow<'_, str> {
    if is_uuid(id) {
        Cow::Owned(id.replace('-', "").to_ascii_lowercase())
    } else if is_ulid(id) {
        Cow::Owned(id.to_ascii_lowercase())
    } else {
        Cow::Borrowed(id)
    }
}

/// 26 characters of Crockford's Base32, which has no I, L, O and U; 128 bits.
fn is_ulid(text: &str) -> bool {
    let is_base32 = |c: u8| c.is_ascii_alphanumeric() && !b"ILOU".contains(&c.to_ascii_uppercase());
    text.len() == 26
        && text.starts_with(|c| ('0'..='7').contains(&c))
        && text.bytes().all(is_base32)
}

const UUID_DIGITS: usize = 32;
/// Where the hyphens of a UUID are, if it has any.
const UUID_HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// 32 hexadecimal digits, perhaps in groups of 8, 4, 4, 4 and 12.
fn is_uuid(text: &str) -> bool {
    match text.len() {
        UUID_DIGITS => text.bytes().all(|byte| byte.is_ascii_hexdigit()),
        36 => text.bytes().enumerate().all(|(at, byte)| {
            if UUID_HYPHENS.contains(&at) { byte == b'-' } else { byte.is_ascii_hexdigit() }
        }),
        _ => false,
    }
}

/// The 32 digits of a UUID with hyphens.
fn hyphenated(digits: &str) -> String {
    let mut text = digits.to_owned();
    for at in UUID_HYPHENS {
        text.insert(at, '-');
    }
    text
}

impl TryFrom<String> for RemoteId {
    type Error = InvalidText;
    fn try_from(text: String) -> Result<Self, InvalidText> {
        if text.is_empty() {
            return Err(InvalidText("the id is empty".into()));
        }
        if text.len() > Self::MAX_BYTES {
            return Err(InvalidText(format!(
                "the id has {} bytes; at most {} are allowed",
                text.len(),
                Self::MAX_BYTES
            )));
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(InvalidText(format!("id {text:?} has white space or control characters")));
        }
        Ok(Self(text.into_boxed_str()))
    }
}

/// A user's reference to a job.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum JobRef {
    /// Digits only.
    Id(JobId),
    /// `PROVIDER/REMOTE_ID`; the text before the first slash is the provider.
    Remote(ProviderName, RemoteId),
    /// `REMOTE_ID`: what is before its first slash, if it has one, is no provider's name.
    RemoteIdAlone(RemoteId),
}

impl FromStr for JobRef {
    type Err = InvalidText;
    fn from_str(text: &str) -> Result<Self, InvalidText> {
        if !text.is_empty() && text.chars().all(|c| c.is_ascii_digit()) {
            return text
                .parse()
                .map(|number| Self::Id(JobId(number)))
                .map_err(|_| InvalidText(format!("job number {text} is too large")));
        }
        let remote_id = |text: &str| {
            RemoteId::try_from(text.to_owned()).map_err(|error| {
                InvalidText(format!(
                    "{text:?} is not a job: give its number, PROVIDER/REMOTE_ID or REMOTE_ID; {error}"
                ))
            })
        };
        if let Some((provider, id)) = text.split_once('/')
            && let Ok(provider) = ProviderName::try_from(provider.to_owned())
        {
            return Ok(Self::Remote(provider, remote_id(id)?));
        }
        remote_id(text).map(Self::RemoteIdAlone)
    }
}

impl fmt::Display for JobRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Remote(provider, remote_id) => write!(f, "{provider}/{remote_id}"),
            Self::RemoteIdAlone(remote_id) => remote_id.fmt(f),
        }
    }
}

macro_rules! text_name {
    ($name:ident) => {
        impl FromStr for $name {
            type Err = InvalidText;
            fn from_str(text: &str) -> Result<Self, InvalidText> {
                text.to_owned().try_into()
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                (*name.0).to_owned()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}
text_name!(ProviderName);
text_name!(RemoteId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_only_what_is_allowed() {
        for good in ["dune", "d", "lake_2"] {
            assert!(good.parse::<ProviderName>().is_ok(), "{good}");
        }
        for bad in ["", "Dune", "2x", "_x", "a-b", "a/b", &"a".repeat(65)] {
            assert!(bad.parse::<ProviderName>().is_err(), "{bad}");
        }
        for good in ["01GBM4W2N0NMCGPZYW8AYK4YF1", "脚本/a1", "a.b-c_d", &"a".repeat(512)] {
            assert!(good.parse::<RemoteId>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "a\nb", "\0", &"a".repeat(513)] {
            assert!(bad.parse::<RemoteId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn fault_45_ulids_and_uuids_are_the_same_in_every_spelling() {
        let same = [
            ("01GBM4W2N0NMCGPZYW8AYK4YF1", "01gbm4w2n0nmcgpzyw8ayk4yf1"),
            ("01gBm4W2N0NmCGPZYW8AYK4yf1", "01GBM4W2N0NMCGPZYW8AYK4YF1"),
            ("208b08d4-0dc2-4dd7-8879-ddd4c020d7aa", "208B08D4-0DC2-4DD7-8879-DDD4C020D7AA"),
            ("208b08d4-0dc2-4dd7-8879-ddd4c020d7aa", "208B08D40DC24DD78879DDD4C020D7AA"),
            ("208b08d40dc24dd78879ddd4c020d7aa", "208B08D40dc24dd78879ddd4c020d7aa"),
            ("etl/a1AD", "etl/a1AD"),
        ];
        for (id, text) in same {
            let (id, other): (RemoteId, RemoteId) =
                (id.parse().expect(id), text.parse().expect(text));
            assert!(id.is_same_id(text) && other.is_same_id(id.as_str()), "{text}");
            assert_eq!(id.canonical_form(), other.canonical_form(), "{text}");
            assert_eq!(id.spellings(), other.spellings(), "{text}");
        }
        let different = [
            ("01GBM4W2N0NMCGPZYW8AYK4YF1", "01GBM4W2N0NMCGPZYW8AYK4YF2"),
            // Crockford's Base32 reads an l as a 1, but no service writes one.
            ("01GBM4W2N0NMCGPZYW8AYK4YF1", "0lGBM4W2N0NMCGPZYW8AYK4YFl"),
            ("91GBM4W2N0NMCGPZYW8AYK4YF1", "91gbm4w2n0nmcgpzyw8ayk4yf1"),
            ("208b08d4-0dc2-4dd7-8879-ddd4c020d7aa", "208b08d4-0dc2-4dd7-8879-ddd4c020d7ab"),
            ("208b08d40-dc2-4dd7-8879-ddd4c020d7aa", "208b08d40dc24dd78879ddd4c020d7aa"),
            ("etl/a1ad", "etl/A1AD"),
            ("abc", "ABC"),
        ];
        for (id, text) in different {
            let id: RemoteId = id.parse().expect(id);
            assert!(!id.is_same_id(text), "{id} {text}");
        }
    }

    #[test]
    fn a_job_is_named_by_number_or_by_provider_and_id() {
        assert_eq!("17".parse(), Ok(JobRef::Id(JobId(17))));
        let name: JobRef = "scripts/etl/a1ad".parse().expect("a name");
        assert_eq!(name.to_string(), "scripts/etl/a1ad");
        for (text, alone) in
            [("01GB", true), ("DUNE/x", true), ("脚本/a1", true), ("dune/x", false)]
        {
            let name: JobRef = text.parse().expect(text);
            assert_eq!(matches!(name, JobRef::RemoteIdAlone(_)), alone, "{text}");
            assert_eq!(name.to_string(), text);
        }
        for bad in ["", "dune/", "99999999999999999999", "a b", "dune/a b"] {
            assert!(bad.parse::<JobRef>().is_err(), "{bad}");
        }
    }
}
