//! Shortens a JSON text while it is received, so that result rows and long texts are never in memory: the
//! values of some keys become `null`, and each string is cut.
//!
//! Used by `http` for every response. Works byte by byte with constant memory. A response that is not JSON
//! passes. As soon as the text is not valid JSON, no value is dropped any more: a quote at the wrong place
//! could make the value seem to end after the fields that follow it.

use memchr::memchr2;

use super::json_fields::{CUT_MARK, MAX_TEXT_BYTES};
use super::json_structure::{JsonStructure, StringRole};

/// Cuts strings, and drops the values of `dropped_keys` at any depth.
#[derive(Debug, Clone)]
pub(super) struct JsonLimiter {
    dropped_keys: &'static [&'static str],
    structure: JsonStructure,
    position: ScanPosition,
    /// Whether the string is or was a key.
    string_role: StringRole,
    /// The beginning of the last string: at most [`MAX_KEY_BYTES`] and one byte, so that a longer string
    /// is not equal to a key.
    last_string: Vec<u8>,
    /// The bytes of the current string so far.
    string_bytes: usize,
}

/// A longer string is cut, in bytes as received. An escape sequence has at most six bytes for one decoded byte,
/// so the decoded rest is still longer than every text that is kept, and is cut again.
const MAX_STRING_BYTES: usize = 64 << 10;
const _: () = assert!(MAX_STRING_BYTES > 6 * MAX_TEXT_BYTES + CUT_MARK.len());

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
    /// In the part of a string that is cut off.
    InCutString,
    /// After a backslash in that part.
    InCutEscape,
}

#[derive(Debug, Clone, Copy)]
enum DroppedPosition {
    BeforeValue,
    /// In the value, at this depth of brackets.
    InValue(u64),
    /// In the string that is the value.
    InOnlyString,
    /// After a backslash in it.
    InOnlyEscape,
    /// After the quote that ends it, unless that quote is one in the text that is not escaped.
    AfterOnlyString,
    /// In a string of the value.
    InString(u64),
    /// After a backslash in a string of the value.
    InEscape(u64),
}

impl JsonLimiter {
    pub(super) fn new(dropped_keys: &'static [&'static str]) -> Self {
        debug_assert!(dropped_keys.iter().all(|key| key.len() <= MAX_KEY_BYTES));
        Self {
            dropped_keys,
            structure: JsonStructure::default(),
            position: ScanPosition::Kept(KeptPosition::OutsideString),
            string_role: StringRole::Value,
            last_string: Vec::new(),
            string_bytes: 0,
        }
    }

    /// Reads the next bytes and appends those that pass to `output`.
    pub(super) fn filter_chunk(&mut self, mut bytes: &[u8], output: &mut Vec<u8>) {
        loop {
            bytes = self.pass_plain_text(bytes, output);
            let Some((&byte, rest)) = bytes.split_first() else { return };
            bytes = rest;
            self.position = match self.position {
                ScanPosition::Kept(KeptPosition::OutsideString) => {
                    self.scan_outside_string(byte, output)
                }
                ScanPosition::Kept(position) => {
                    ScanPosition::Kept(self.scan_string(position, byte, output))
                }
                ScanPosition::Dropped(position) => {
                    if let Some(next) = scan_dropped(position, byte) {
                        ScanPosition::Dropped(next)
                    } else {
                        // The byte belongs to the object that holds the value.
                        self.end_dropped(position, byte, output);
                        self.scan_outside_string(byte, output)
                    }
                }
            };
        }
    }

    /// Passes the text of a string up to a quote, an escape or the length at which it is cut: the same as byte
    /// by byte, and faster. Returns the rest.
    fn pass_plain_text<'b>(&mut self, bytes: &'b [u8], output: &mut Vec<u8>) -> &'b [u8] {
        if !matches!(self.position, ScanPosition::Kept(KeptPosition::InString)) {
            return bytes;
        }
        let within_limit = bytes.len().min(MAX_STRING_BYTES.saturating_sub(self.string_bytes));
        let end = memchr2(b'"', b'\\', &bytes[..within_limit]).unwrap_or(within_limit);
        let (plain, rest) = bytes.split_at(end);
        output.extend_from_slice(plain);
        self.string_bytes += plain.len();
        self.remember(plain);
        rest
    }

    fn scan_outside_string(&mut self, byte: u8, output: &mut Vec<u8>) -> ScanPosition {
        output.push(byte);
        if byte == b'"' {
            self.string_role = self.structure.begin_string();
            self.last_string.clear();
            self.string_bytes = 0;
            return ScanPosition::Kept(KeptPosition::InString);
        }
        self.structure.read(byte);
        if byte == b':' && self.is_after_dropped_key() {
            self.structure.skip_value();
            return ScanPosition::Dropped(DroppedPosition::BeforeValue);
        }
        ScanPosition::Kept(KeptPosition::OutsideString)
    }

    /// Writes what replaces a dropped value, after which `byte` comes. If this shows that the value is a text
    /// with unescaped quotes, the rest of the text passes: where it ends is not known here.
    fn end_dropped(&mut self, position: DroppedPosition, byte: u8, output: &mut Vec<u8>) {
        let is_text = matches!(position, DroppedPosition::AfterOnlyString);
        if is_text && !ends_value(byte) {
            self.structure.mark_invalid();
            output.extend_from_slice(br#""""#);
        } else {
            output.extend_from_slice(b"null");
        }
    }

    fn is_after_dropped_key(&self) -> bool {
        self.structure.expects_member_value()
            && self.dropped_keys.iter().any(|key| key.as_bytes() == self.last_string)
    }

    fn scan_string(
        &mut self,
        position: KeptPosition,
        byte: u8,
        output: &mut Vec<u8>,
    ) -> KeptPosition {
        self.string_bytes += 1;
        let is_within_character = (0x80..0xc0).contains(&byte);
        let position = match position {
            KeptPosition::InString
                if self.string_bytes > MAX_STRING_BYTES && byte != b'"' && !is_within_character =>
            {
                output.extend_from_slice(CUT_MARK.as_bytes());
                KeptPosition::InCutString
            }
            other => other,
        };
        let (next, passes) = match (position, byte) {
            (KeptPosition::InString | KeptPosition::InCutString, b'"') => {
                (KeptPosition::OutsideString, true)
            }
            (KeptPosition::InString, b'\\') => (KeptPosition::InEscape, true),
            (KeptPosition::InString | KeptPosition::InEscape, _) => (KeptPosition::InString, true),
            (KeptPosition::InCutString, b'\\') => (KeptPosition::InCutEscape, false),
            (KeptPosition::InCutString | KeptPosition::InCutEscape, _) => {
                (KeptPosition::InCutString, false)
            }
            (KeptPosition::OutsideString, _) => (KeptPosition::OutsideString, true),
        };
        if passes {
            output.push(byte);
        }
        let is_content = !matches!(next, KeptPosition::OutsideString);
        if is_content {
            self.remember(&[byte]);
        }
        next
    }

    /// Remembers the beginning of a key. An escape is remembered as it is: no dropped key contains one.
    fn remember(&mut self, bytes: &[u8]) {
        if self.string_role == StringRole::Key {
            let room = (MAX_KEY_BYTES + 1).saturating_sub(self.last_string.len());
            self.last_string.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }
}

/// The next position in a dropped value; `None` if it ended before this byte.
fn scan_dropped(position: DroppedPosition, byte: u8) -> Option<DroppedPosition> {
    Some(match (position, byte) {
        (DroppedPosition::BeforeValue, _) if byte.is_ascii_whitespace() => {
            DroppedPosition::BeforeValue
        }
        (DroppedPosition::BeforeValue, b'"') => DroppedPosition::InOnlyString,
        (DroppedPosition::InOnlyString, b'\\') => DroppedPosition::InOnlyEscape,
        (DroppedPosition::InOnlyString, b'"') => DroppedPosition::AfterOnlyString,
        (DroppedPosition::InOnlyString | DroppedPosition::InOnlyEscape, _) => {
            DroppedPosition::InOnlyString
        }
        (DroppedPosition::AfterOnlyString, _) if byte.is_ascii_whitespace() => {
            DroppedPosition::AfterOnlyString
        }
        (DroppedPosition::AfterOnlyString, _) => return None,
        (DroppedPosition::BeforeValue, b'[' | b'{') => DroppedPosition::InValue(1),
        (DroppedPosition::BeforeValue, _) => DroppedPosition::InValue(0),
        (DroppedPosition::InValue(0), _) if ends_value(byte) => return None,
        (DroppedPosition::InValue(depth), b'"') => DroppedPosition::InString(depth),
        (DroppedPosition::InValue(0), _) => DroppedPosition::InValue(0),
        (DroppedPosition::InValue(depth), b'[' | b'{') => DroppedPosition::InValue(depth + 1),
        (DroppedPosition::InValue(depth), b']' | b'}') => DroppedPosition::InValue(depth - 1),
        (DroppedPosition::InValue(depth), _) => DroppedPosition::InValue(depth),
        (DroppedPosition::InEscape(depth), _) => DroppedPosition::InString(depth),
        (DroppedPosition::InString(depth), b'\\') => DroppedPosition::InEscape(depth),
        (DroppedPosition::InString(depth), b'"') => DroppedPosition::InValue(depth),
        (DroppedPosition::InString(depth), _) => DroppedPosition::InString(depth),
    })
}

fn ends_value(byte: u8) -> bool {
    matches!(byte, b',' | b']' | b'}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEYS: &[&str] = &["rows", "rawResult"];

    fn filtered(chunks: &[&[u8]]) -> String {
        let mut filter = JsonLimiter::new(KEYS);
        let mut output = Vec::new();
        for chunk in chunks {
            filter.filter_chunk(chunk, &mut output);
        }
        String::from_utf8(output).expect("UTF-8 stays so")
    }

    #[test]
    fn a_string_of_any_length_takes_constant_memory() {
        let mut filter = JsonLimiter::new(KEYS);
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
            // Not JSON from the second quote of the text on: nothing is dropped there.
            (r#"{"a":"b "c" d","rows":[1],"e":2}"#, r#"{"a":"b "c" d","rows":[1],"e":2}"#),
            // A dropped text with unescaped quotes: what follows it passes.
            (r#"{"rows":"x "a from t","e":2}"#, r#"{"rows":""a from t","e":2}"#),
            (r#"{"rows":"x "a" from t" , "e":2}"#, r#"{"rows":""a" from t" , "e":2}"#),
            (r#"{"rows":"x" , "e":2}"#, r#"{"rows":null, "e":2}"#),
            (r#"{"rows":"x" }"#, r#"{"rows":null}"#),
            ("\u{feff}{\"rows\":[1]}", "\u{feff}{\"rows\":null}"),
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

    #[test]
    fn long_strings_are_cut_wherever_they_are() {
        let long = "\u{e9}\\n".repeat(MAX_STRING_BYTES);
        for frame in [r#"{"a":"@","b":1}"#, r#"[["@"]]"#, r#"{"m":"a "b" c","d":"@","e":"f"}"#] {
            let output = filtered(&[frame.replace('@', &long).as_bytes()]);
            let (before, after) = frame.split_once('@').expect("the mark");
            let text = output.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
            let kept =
                text.and_then(|text| text.strip_suffix(CUT_MARK)).expect("a mark of the cut");
            assert!((MAX_STRING_BYTES - 4..=MAX_STRING_BYTES + 4).contains(&kept.len()), "{frame}");
            assert!(long.starts_with(kept), "{frame}");
        }
        let exact = format!("[\"{}\"]", "x".repeat(MAX_STRING_BYTES));
        assert_eq!(filtered(&[exact.as_bytes()]), exact);
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
