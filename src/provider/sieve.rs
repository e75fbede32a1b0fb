//! Lets a JSON text pass but for the values of some keys, while it comes in: result rows are never
//! kept, however many there are.
//!
//! Works on bytes, needs no whole value at any time, and nests nothing. What is no JSON passes as it
//! is, for the parser to refuse.

/// Drops the values of `keys`, wherever they stand; `null` takes their place.
#[derive(Debug, Clone)]
pub(super) struct Sieve {
    keys: &'static [&'static str],
    place: Place,
    /// The string read last, as far as it can be one of the keys.
    last: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    /// Between strings.
    Open,
    /// In a string; the flag: after a backslash.
    Text(bool),
    /// Behind a string: a colon would make it a key.
    AfterText,
    /// Before the value that is dropped.
    BeforeDropped,
    /// In it, so many brackets deep.
    Dropped(u64),
    /// In a string in it.
    DroppedText(u64, bool),
}

impl Sieve {
    pub(super) fn new(keys: &'static [&'static str]) -> Self {
        Self { keys, place: Place::Open, last: Vec::new() }
    }

    /// Takes the next bytes and adds what passes to `kept`.
    pub(super) fn pass(&mut self, bytes: &[u8], kept: &mut Vec<u8>) {
        for &byte in bytes {
            if self.keeps(byte, kept) {
                kept.push(byte);
            }
        }
    }

    fn keeps(&mut self, byte: u8, kept: &mut Vec<u8>) -> bool {
        let blank = byte.is_ascii_whitespace();
        let (place, keep) = match (self.place, byte) {
            (Place::Text(true), _) => {
                // With an escape in it, it is none of the keys.
                self.last.push(0);
                (Place::Text(false), true)
            }
            (Place::Text(false), b'\\') => (Place::Text(true), true),
            (Place::Text(false), b'"') => (Place::AfterText, true),
            (Place::Text(false), _) => {
                // One byte more than any key, so that a longer string is none.
                if self.last.len() <= 16 {
                    self.last.push(byte);
                }
                (Place::Text(false), true)
            }
            (Place::AfterText, b':') if self.is_key() => {
                kept.extend_from_slice(b":null");
                (Place::BeforeDropped, false)
            }
            (Place::AfterText, _) if blank => (Place::AfterText, true),
            (Place::Open | Place::AfterText, b'"') => {
                self.last.clear();
                (Place::Text(false), true)
            }
            (Place::Open | Place::AfterText, _) => (Place::Open, true),

            (Place::BeforeDropped, _) if blank => (Place::BeforeDropped, false),
            (Place::BeforeDropped | Place::Dropped(0), b'"') => {
                (Place::DroppedText(0, false), false)
            }
            (Place::BeforeDropped, b'[' | b'{') => (Place::Dropped(1), false),
            (Place::BeforeDropped, _) => (Place::Dropped(0), false),
            // The end of what holds it, or the next key.
            (Place::Dropped(0), b',' | b']' | b'}') => (Place::Open, true),
            (Place::Dropped(0), _) => (Place::Dropped(0), false),
            (Place::Dropped(depth), b'"') => (Place::DroppedText(depth, false), false),
            (Place::Dropped(depth), b'[' | b'{') => (Place::Dropped(depth + 1), false),
            (Place::Dropped(depth), b']' | b'}') => (Place::Dropped(depth - 1), false),
            (Place::Dropped(depth), _) => (Place::Dropped(depth), false),
            (Place::DroppedText(depth, true), _) => (Place::DroppedText(depth, false), false),
            (Place::DroppedText(depth, false), b'\\') => (Place::DroppedText(depth, true), false),
            (Place::DroppedText(depth, false), b'"') => (Place::Dropped(depth), false),
            (Place::DroppedText(depth, false), _) => (Place::DroppedText(depth, false), false),
        };
        self.place = place;
        keep
    }

    fn is_key(&self) -> bool {
        self.keys.iter().any(|key| key.as_bytes() == self.last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEYS: &[&str] = &["rows", "rawResult"];

    fn sieved(chunks: &[&[u8]]) -> String {
        let mut sieve = Sieve::new(KEYS);
        let mut kept = Vec::new();
        for chunk in chunks {
            sieve.pass(chunk, &mut kept);
        }
        String::from_utf8(kept).expect("UTF-8 stays so")
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
            assert_eq!(sieved(&[text.as_bytes()]), expected);
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

    fn without_rows(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(map) => {
                for (key, value) in map.iter_mut() {
                    if KEYS.contains(&key.as_str()) {
                        *value = serde_json::Value::Null;
                    }
                    without_rows(value);
                }
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(without_rows),
            _ => {}
        }
    }

    proptest! {
        #[test]
        fn what_passes_means_the_same_however_it_is_cut(value in any_json(), size in 1usize..9) {
            let text = serde_json::to_string_pretty(&value).expect("JSON");
            let chunks: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let mut expected = value;
            without_rows(&mut expected);
            let kept: serde_json::Value = serde_json::from_str(&sieved(&chunks)).expect("still JSON");
            prop_assert_eq!(kept, expected);
        }
    }
}
