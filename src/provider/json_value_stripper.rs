//! Replaces the values of some keys by `null` while a JSON text is received, so that result rows of any
//! size are never in memory.
//!
//! Used by `http` for the kinds that ask for it. Works byte by byte with constant memory. Text that is
//! not JSON passes, and the parser rejects it.

/// Drops the values of `dropped_keys` at any depth.
#[derive(Debug, Clone)]
pub(super) struct JsonValueStripper {
    dropped_keys: &'static [&'static str],
    position: ScanPosition,
    /// The beginning of the last string: at most [`MAX_KEY_BYTES`] and one byte, so that a longer string
    /// is not equal to a key.
    last_string: Vec<u8>,
}

/// No dropped key is longer.
const MAX_KEY_BYTES: usize = 16;

#[derive(Debug, Clone, Copy)]
enum ScanPosition {
    /// In text that is kept.
    Kept(KeptPosition),
    /// After the colon of a dropped key, up to the end of its value.
    Dropped(DroppedPosition),
}

#[derive(Debug, Clone, Copy)]
enum KeptPosition {
    OutsideString,
    InString,
    /// After a backslash in a string.
    InEscape,
    /// After a string. A colon makes the string a key.
    AfterString,
}

#[derive(Debug, Clone, Copy)]
enum DroppedPosition {
    BeforeValue,
    /// In the value, at this depth of brackets.
    InValue(u64),
    /// In a string of the value.
    InString(u64),
    /// After a backslash in a string of the value.
    InEscape(u64),
}

impl JsonValueStripper {
    pub(super) fn new(dropped_keys: &'static [&'static str]) -> Self {
        debug_assert!(dropped_keys.iter().all(|key| key.len() <= MAX_KEY_BYTES));
        let position = ScanPosition::Kept(KeptPosition::OutsideString);
        Self { dropped_keys, position, last_string: Vec::new() }
    }

    /// Reads the next bytes and appends those that pass to `output`.
    pub(super) fn filter_chunk(&mut self, bytes: &[u8], output: &mut Vec<u8>) {
        for &byte in bytes {
            self.position = match self.position {
                ScanPosition::Kept(position) => self.scan_kept(position, byte, output),
                ScanPosition::Dropped(position) => scan_dropped(position, byte, output),
            };
        }
    }

    fn scan_kept(
        &mut self,
        position: KeptPosition,
        byte: u8,
        output: &mut Vec<u8>,
    ) -> ScanPosition {
        let next = match (position, byte) {
            (KeptPosition::InEscape, _) => {
                // No key contains an escape.
                self.remember(0);
                KeptPosition::InString
            }
            (KeptPosition::InString, b'\\') => KeptPosition::InEscape,
            (KeptPosition::InString, b'"') => KeptPosition::AfterString,
            (KeptPosition::InString, _) => {
                self.remember(byte);
                KeptPosition::InString
            }
            (KeptPosition::AfterString, b':') if self.is_dropped_key() => {
                output.extend_from_slice(b":null");
                return ScanPosition::Dropped(DroppedPosition::BeforeValue);
            }
            (KeptPosition::AfterString, _) if byte.is_ascii_whitespace() => {
                KeptPosition::AfterString
            }
            (KeptPosition::OutsideString | KeptPosition::AfterString, b'"') => {
                self.last_string.clear();
                KeptPosition::InString
            }
            (KeptPosition::OutsideString | KeptPosition::AfterString, _) => {
                KeptPosition::OutsideString
            }
        };
        output.push(byte);
        ScanPosition::Kept(next)
    }

    fn remember(&mut self, byte: u8) {
        if self.last_string.len() <= MAX_KEY_BYTES {
            self.last_string.push(byte);
        }
    }

    fn is_dropped_key(&self) -> bool {
        self.dropped_keys.iter().any(|key| key.as_bytes() == self.last_string)
    }
}

/// Drops the byte, unless it ends the value.
fn scan_dropped(position: DroppedPosition, byte: u8, output: &mut Vec<u8>) -> ScanPosition {
    let next = match (position, byte) {
        (DroppedPosition::BeforeValue, _) if byte.is_ascii_whitespace() => {
            DroppedPosition::BeforeValue
        }
        (DroppedPosition::BeforeValue, b'"') => DroppedPosition::InString(0),
        (DroppedPosition::BeforeValue, b'[' | b'{') => DroppedPosition::InValue(1),
        (DroppedPosition::BeforeValue, _) => DroppedPosition::InValue(0),
        // The next key, or the end of the object that holds the value.
        (DroppedPosition::InValue(0), b',' | b']' | b'}') => {
            output.push(byte);
            return ScanPosition::Kept(KeptPosition::OutsideString);
        }
        (DroppedPosition::InValue(depth), b'"') => DroppedPosition::InString(depth),
        (DroppedPosition::InValue(0), _) => DroppedPosition::InValue(0),
        (DroppedPosition::InValue(depth), b'[' | b'{') => DroppedPosition::InValue(depth + 1),
        (DroppedPosition::InValue(depth), b']' | b'}') => DroppedPosition::InValue(depth - 1),
        (DroppedPosition::InValue(depth), _) => DroppedPosition::InValue(depth),
        (DroppedPosition::InEscape(depth), _) => DroppedPosition::InString(depth),
        (DroppedPosition::InString(depth), b'\\') => DroppedPosition::InEscape(depth),
        (DroppedPosition::InString(depth), b'"') => DroppedPosition::InValue(depth),
        (DroppedPosition::InString(depth), _) => DroppedPosition::InString(depth),
    };
    ScanPosition::Dropped(next)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEYS: &[&str] = &["rows", "rawResult"];

    fn filtered(chunks: &[&[u8]]) -> String {
        let mut filter = JsonValueStripper::new(KEYS);
        let mut output = Vec::new();
        for chunk in chunks {
            filter.filter_chunk(chunk, &mut output);
        }
        String::from_utf8(output).expect("UTF-8 stays so")
    }

    #[test]
    fn a_string_of_any_length_takes_constant_memory() {
        let mut filter = JsonValueStripper::new(KEYS);
        for text in [r#"{""#.to_owned(), "x".repeat(1000), r"\n".repeat(1000)] {
            filter.filter_chunk(text.as_bytes(), &mut Vec::new());
        }
        assert_eq!(filter.last_string.len(), MAX_KEY_BYTES + 1);
    }

    #[test]
    fn drops_the_values_of_its_keys_and_nothing_else() {
        let cases = [
            (r#"{"rows": [[1,"]"],{"a":[]}], "b":2}"#, r#"{"rows":null, "b":2}"#),
            (r#"{"rows":"x\"]","b":"rows"}"#, r#"{"rows":null,"b":"rows"}"#),
            (r#"{"rows":12.5}"#, r#"{"rows":null}"#),
            (r#"{"rows" : null , "c":1}"#, r#"{"rows" :null, "c":1}"#),
            (r#"{"rowCount":1,"a":"\"rows\":[1]"}"#, r#"{"rowCount":1,"a":"\"rows\":[1]"}"#),
            (r#"[{"rawResult":{"x":"}"}},{"rows":[]}]"#, r#"[{"rawResult":null},{"rows":null}]"#),
            (r#"{"a":["rows","b"]}"#, r#"{"a":["rows","b"]}"#),
            (r#"{"r\"ows":1,"ro\ws":2}"#, r#"{"r\"ows":1,"ro\ws":2}"#),
            ("not JSON at all", "not JSON at all"),
        ];
        for (text, expected) in cases {
            assert_eq!(filtered(&[text.as_bytes()]), expected);
        }
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            "[a-z\"\\\\\\]}]{0,8}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            let key =
                prop_oneof![Just("rows".to_owned()), Just("rawResult".to_owned()), "[a-z]{0,6}"];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                prop::collection::btree_map(key, inner, 0..5)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn null_dropped_keys(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(map) => {
                for (key, value) in map.iter_mut() {
                    if KEYS.contains(&key.as_str()) {
                        *value = serde_json::Value::Null;
                    }
                    null_dropped_keys(value);
                }
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(null_dropped_keys),
            _ => {}
        }
    }

    proptest! {
        #[test]
        fn output_does_not_depend_on_chunk_size(value in any_json(), chunk_size in 1usize..9) {
            let text = serde_json::to_string_pretty(&value).expect("JSON");
            let chunks: Vec<&[u8]> = text.as_bytes().chunks(chunk_size).collect();
            let mut expected = value;
            null_dropped_keys(&mut expected);
            let filtered_value: serde_json::Value = serde_json::from_str(&filtered(&chunks)).expect("still JSON");
            prop_assert_eq!(filtered_value, expected);
        }
    }
}
