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
    /// The beginning of the last string, long enough to compare it with the keys.
    last_string: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum ScanPosition {
    /// Not in a string.
    OutsideString,
    /// In a string. The flag is set after a backslash.
    InString(bool),
    /// After a string. A colon makes the string a key.
    AfterString,
    /// Before a value that is dropped.
    BeforeDroppedValue,
    /// In a value that is dropped, at this depth of brackets.
    InDroppedValue(u64),
    /// In a string of a value that is dropped.
    InDroppedString(u64, bool),
}

impl JsonValueStripper {
    pub(super) fn new(dropped_keys: &'static [&'static str]) -> Self {
        Self { dropped_keys, position: ScanPosition::OutsideString, last_string: Vec::new() }
    }

    /// Reads the next bytes and appends those that pass to `output`.
    pub(super) fn filter_chunk(&mut self, bytes: &[u8], output: &mut Vec<u8>) {
        for &byte in bytes {
            if self.keep_byte(byte, output) {
                output.push(byte);
            }
        }
    }

    fn keep_byte(&mut self, byte: u8, output: &mut Vec<u8>) -> bool {
        let is_whitespace = byte.is_ascii_whitespace();
        let (position, keep) = match (self.position, byte) {
            (ScanPosition::InString(true), _) => {
                // No key contains an escape.
                self.last_string.push(0);
                (ScanPosition::InString(false), true)
            }
            (ScanPosition::InString(false), b'\\') => (ScanPosition::InString(true), true),
            (ScanPosition::InString(false), b'"') => (ScanPosition::AfterString, true),
            (ScanPosition::InString(false), _) => {
                // One byte more than the longest key, so that a longer string is not equal to it.
                if self.last_string.len() <= 16 {
                    self.last_string.push(byte);
                }
                (ScanPosition::InString(false), true)
            }
            (ScanPosition::AfterString, b':') if self.is_dropped_key() => {
                output.extend_from_slice(b":null");
                (ScanPosition::BeforeDroppedValue, false)
            }
            (ScanPosition::AfterString, _) if is_whitespace => (ScanPosition::AfterString, true),
            (ScanPosition::OutsideString | ScanPosition::AfterString, b'"') => {
                self.last_string.clear();
                (ScanPosition::InString(false), true)
            }
            (ScanPosition::OutsideString | ScanPosition::AfterString, _) => {
                (ScanPosition::OutsideString, true)
            }

            (ScanPosition::BeforeDroppedValue, _) if is_whitespace => {
                (ScanPosition::BeforeDroppedValue, false)
            }
            (ScanPosition::BeforeDroppedValue | ScanPosition::InDroppedValue(0), b'"') => {
                (ScanPosition::InDroppedString(0, false), false)
            }
            (ScanPosition::BeforeDroppedValue, b'[' | b'{') => {
                (ScanPosition::InDroppedValue(1), false)
            }
            (ScanPosition::BeforeDroppedValue, _) => (ScanPosition::InDroppedValue(0), false),
            // The next key, or the end of the object that holds the value.
            (ScanPosition::InDroppedValue(0), b',' | b']' | b'}') => {
                (ScanPosition::OutsideString, true)
            }
            (ScanPosition::InDroppedValue(0), _) => (ScanPosition::InDroppedValue(0), false),
            (ScanPosition::InDroppedValue(depth), b'"') => {
                (ScanPosition::InDroppedString(depth, false), false)
            }
            (ScanPosition::InDroppedValue(depth), b'[' | b'{') => {
                (ScanPosition::InDroppedValue(depth + 1), false)
            }
            (ScanPosition::InDroppedValue(depth), b']' | b'}') => {
                (ScanPosition::InDroppedValue(depth - 1), false)
            }
            (ScanPosition::InDroppedValue(depth), _) => {
                (ScanPosition::InDroppedValue(depth), false)
            }
            (ScanPosition::InDroppedString(depth, true), _) => {
                (ScanPosition::InDroppedString(depth, false), false)
            }
            (ScanPosition::InDroppedString(depth, false), b'\\') => {
                (ScanPosition::InDroppedString(depth, true), false)
            }
            (ScanPosition::InDroppedString(depth, false), b'"') => {
                (ScanPosition::InDroppedValue(depth), false)
            }
            (ScanPosition::InDroppedString(depth, false), _) => {
                (ScanPosition::InDroppedString(depth, false), false)
            }
        };
        self.position = position;
        keep
    }

    fn is_dropped_key(&self) -> bool {
        self.dropped_keys.iter().any(|key| key.as_bytes() == self.last_string)
    }
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
