//! Parses collections of which only the first entries are kept.
//!
//! Used by the messages that the daemon receives: many short entries occupy many times the memory of
//! their text. One entry more than the limit is kept, so that the receiver sees that there were too many.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The first `MAX` entries of a list, and one more if there are more.
pub(super) fn limited_list<'de, T: Deserialize<'de>, D: Deserializer<'de>, const MAX: usize>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_seq(LimitedList::<T, MAX>(PhantomData))
}

/// The first `MAX` keys of a map with their values, and one more if there are more.
pub(super) fn limited_map<'de, D: Deserializer<'de>, const MAX: usize>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    deserializer.deserialize_map(LimitedMap::<MAX>)
}

struct LimitedList<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for LimitedList<T, MAX> {
    type Value = Vec<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Vec<T>, A::Error> {
        let mut kept = Vec::new();
        while kept.len() <= MAX {
            let Some(entry) = entries.next_element()? else { return Ok(kept) };
            kept.push(entry);
        }
        while entries.next_element::<IgnoredAny>()?.is_some() {}
        Ok(kept)
    }
}

struct LimitedMap<const MAX: usize>;

impl<'de, const MAX: usize> Visitor<'de> for LimitedMap<MAX> {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(
        self,
        mut entries: A,
    ) -> Result<BTreeMap<String, String>, A::Error> {
        let mut kept = BTreeMap::new();
        while let Some((key, value)) = entries.next_entry::<String, String>()? {
            if kept.len() <= MAX || kept.contains_key(&key) {
                kept.insert(key, value);
            }
        }
        Ok(kept)
    }
}
