//! Which fields of an answer decide a state, and which are only kept.
//!
//! Each kind of provider has one table for each of its answers. Used by all stages of reading.

/// The fields of an object that are read; other fields are ignored.
#[derive(Debug)]
pub(in crate::provider) struct FieldTable {
    /// The deciding field that names the job, if the object is about one.
    pub(in crate::provider) id: Option<&'static str>,
    /// The fields that decide which job is in which state: ids, states, flags. An answer in which one of
    /// them is damaged or occurs twice is refused.
    pub(in crate::provider) deciding: &'static [&'static str],
    /// The fields that are only recorded: texts, numbers, times. A damaged one is repaired or dropped.
    pub(in crate::provider) kept: &'static [&'static str],
}

impl FieldTable {
    /// The table of an object whose fields are all ignored.
    pub(in crate::provider) const EMPTY: Self = Self { id: None, deciding: &[], kept: &[] };

    /// The name of a key in this table. A deciding field is also found if its key is spelled with other
    /// letter case or without underscores: ignoring it could change what the answer means.
    pub(super) fn find(&self, key: &str) -> Option<&'static str> {
        let exact = self.deciding.iter().chain(self.kept).find(|name| **name == key);
        exact.or_else(|| self.deciding.iter().find(|name| is_same_name(name, key))).copied()
    }

    pub(super) fn is_deciding(&self, name: &str) -> bool {
        self.deciding.contains(&name)
    }
}

fn is_same_name(a: &str, b: &str) -> bool {
    let letters = |name: &str| {
        name.bytes().filter(|byte| *byte != b'_').map(|byte| byte.to_ascii_lowercase()).collect()
    };
    let (a, b): (Vec<u8>, Vec<u8>) = (letters(a), letters(b));
    a == b
}
