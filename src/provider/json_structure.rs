//! Follows the structure of a JSON text byte by byte: where keys and values are, and whether it is valid.
//!
//! Used by `json_limiter`. The content of strings, numbers and words is not checked.

/// The structure up to the last byte.
#[derive(Debug, Clone, Default)]
pub(super) struct JsonStructure {
    open_brackets: Vec<Bracket>,
    expected: Expected,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StringRole {
    Key,
    Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bracket {
    Object,
    Array,
}

/// What may come next, apart from white space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Expected {
    /// A byte-order mark or a value.
    #[default]
    Start,
    Value,
    /// A value, or the end of an empty array.
    ValueOrEnd,
    Key,
    /// A key, or the end of an empty object.
    KeyOrEnd,
    Colon,
    /// A comma or a closing bracket.
    Separator,
    /// The rest of a number or a word, or a separator.
    BareValueOrSeparator,
    /// Anything: the text is not valid.
    Anything,
}

const MAX_DEPTH: usize = 128;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl JsonStructure {
    /// Reads the quote at the beginning of a string.
    pub(super) fn begin_string(&mut self) -> StringRole {
        let (expected, role) = match self.expected {
            Expected::Start | Expected::Value | Expected::ValueOrEnd => {
                (Expected::Separator, StringRole::Value)
            }
            Expected::Key | Expected::KeyOrEnd => (Expected::Colon, StringRole::Key),
            Expected::Colon
            | Expected::Separator
            | Expected::BareValueOrSeparator
            | Expected::Anything => (Expected::Anything, StringRole::Value),
        };
        self.expected = expected;
        role
    }

    /// Reads a byte outside of strings that is no quote.
    pub(super) fn read(&mut self, byte: u8) {
        self.expected = match (self.expected, byte) {
            (Expected::Anything, _) => Expected::Anything,
            (Expected::BareValueOrSeparator, _) if byte.is_ascii_whitespace() => {
                Expected::Separator
            }
            (expected, _) if byte.is_ascii_whitespace() => expected,
            (Expected::Start, _) if BYTE_ORDER_MARK.contains(&byte) => Expected::Start,
            (Expected::Colon, b':') => Expected::Value,
            (Expected::Separator | Expected::BareValueOrSeparator, b',') => {
                match self.open_brackets.last() {
                    Some(Bracket::Object) => Expected::Key,
                    Some(Bracket::Array) => Expected::Value,
                    None => Expected::Anything,
                }
            }
            (Expected::Start | Expected::Value | Expected::ValueOrEnd, b'{') => {
                self.open(Bracket::Object, Expected::KeyOrEnd)
            }
            (Expected::Start | Expected::Value | Expected::ValueOrEnd, b'[') => {
                self.open(Bracket::Array, Expected::ValueOrEnd)
            }
            (Expected::Separator | Expected::BareValueOrSeparator | Expected::KeyOrEnd, b'}') => {
                self.close(Bracket::Object)
            }
            (Expected::Separator | Expected::BareValueOrSeparator | Expected::ValueOrEnd, b']') => {
                self.close(Bracket::Array)
            }
            (_, b',' | b':' | b'{' | b'[' | b'}' | b']') => Expected::Anything,
            (
                Expected::Start
                | Expected::Value
                | Expected::ValueOrEnd
                | Expected::BareValueOrSeparator,
                _,
            ) => Expected::BareValueOrSeparator,
            (Expected::Key | Expected::KeyOrEnd | Expected::Colon | Expected::Separator, _) => {
                Expected::Anything
            }
        };
    }

    /// Whether the value of a key comes next.
    pub(super) fn expects_member_value(&self) -> bool {
        self.expected == Expected::Value && self.open_brackets.last() == Some(&Bracket::Object)
    }

    /// The text was found not to be valid.
    pub(super) fn mark_invalid(&mut self) {
        self.expected = Expected::Anything;
    }

    /// Continues after a value that is not read.
    pub(super) fn skip_value(&mut self) {
        self.expected = Expected::Separator;
    }

    fn open(&mut self, bracket: Bracket, expected: Expected) -> Expected {
        if self.open_brackets.len() == MAX_DEPTH {
            return Expected::Anything;
        }
        self.open_brackets.push(bracket);
        expected
    }

    fn close(&mut self, bracket: Bracket) -> Expected {
        if self.open_brackets.pop() == Some(bracket) {
            Expected::Separator
        } else {
            Expected::Anything
        }
    }
}
