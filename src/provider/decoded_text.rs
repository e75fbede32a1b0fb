//! Decodes escapes of JSON, URLs and HTML, and remembers where each decoded byte comes from.
//!
//! Used by `redaction`, which searches the decoded text and marks the original. Text that is no escape, or a
//! malformed one, stays as it is.

use std::borrow::Cow;

/// A way to write a character as several.
#[derive(Debug, Clone, Copy)]
pub(super) enum Encoding {
    /// `\/`, `\"`, `\u002B`, `\x2b`
    Backslash,
    /// `%2B`
    Percent,
    /// `&amp;`, `&#43;`, `&#x2b;`
    Html,
}

/// Decoded bytes that know where they come from.
pub(super) struct DecodedText<'a> {
    pub(super) bytes: Cow<'a, [u8]>,
    /// The offset in the response at which each byte begins, and the end of the last one; `None` if nothing is
    /// decoded.
    origins: Option<Vec<usize>>,
}

impl<'a> DecodedText<'a> {
    pub(super) fn verbatim(bytes: &'a [u8]) -> Self {
        Self { bytes: Cow::Borrowed(bytes), origins: None }
    }

    /// The offset in the response at which the byte with this index begins; for the number of bytes, the end of
    /// the last one.
    pub(super) fn origin(&self, index: usize) -> usize {
        self.origins.as_ref().map_or(index, |origins| origins[index])
    }

    /// `None` if nothing has the last encoding.
    pub(super) fn decode_all(&self, encodings: &[Encoding]) -> Option<DecodedText<'static>> {
        let (last, others) = encodings.split_last()?;
        let mut decoded: Option<DecodedText<'static>> = None;
        for encoding in others {
            let next = decoded
                .as_ref()
                .map_or_else(|| self.decode(*encoding), |text| text.decode(*encoding));
            decoded = next.or(decoded);
        }
        decoded.as_ref().map_or_else(|| self.decode(*last), |text| text.decode(*last))
    }

    /// `None` if nothing has this encoding.
    fn decode(&self, encoding: Encoding) -> Option<DecodedText<'static>> {
        let mark = match encoding {
            Encoding::Backslash => b'\\',
            Encoding::Percent => b'%',
            Encoding::Html => b'&',
        };
        memchr::memchr(mark, &self.bytes)?;
        let (mut bytes, mut origins) = (Vec::new(), Vec::new());
        let mut at = 0;
        while at < self.bytes.len() {
            let rest = &self.bytes[at..];
            let sequence = if rest[0] == mark { decode_sequence(rest, encoding) } else { None };
            if let Some((character, length)) = sequence {
                let mut buffer = [0; 4];
                for (index, byte) in character.encode_utf8(&mut buffer).bytes().enumerate() {
                    bytes.push(byte);
                    let origin = if index == 0 { at } else { at + length };
                    origins.push(self.origin(origin));
                }
                at += length;
            } else {
                bytes.push(rest[0]);
                origins.push(self.origin(at));
                at += 1;
            }
        }
        origins.push(self.origin(at));
        Some(DecodedText { bytes: Cow::Owned(bytes), origins: Some(origins) })
    }
}

/// The character that a sequence at the beginning of `text` stands for, and the length of the sequence.
fn decode_sequence(text: &[u8], encoding: Encoding) -> Option<(char, usize)> {
    match encoding {
        Encoding::Backslash => match text.get(1)? {
            b'u' => Some((hex_character(text.get(2..6)?)?, 6)),
            b'x' => Some((hex_character(text.get(2..4)?)?, 4)),
            b'n' => Some(('\n', 2)),
            b'r' => Some(('\r', 2)),
            b't' => Some(('\t', 2)),
            other => other.is_ascii_punctuation().then_some((char::from(*other), 2)),
        },
        Encoding::Percent => Some((hex_character(text.get(1..3)?)?, 3)),
        Encoding::Html => {
            const LONGEST: usize = 10;
            let end = text.iter().take(LONGEST).position(|byte| *byte == b';')?;
            let character = match &text[1..end] {
                b"amp" => '&',
                b"lt" => '<',
                b"gt" => '>',
                b"quot" => '"',
                b"apos" => '\'',
                b"plus" => '+',
                b"equals" => '=',
                b"sol" => '/',
                [b'#', b'x' | b'X', digits @ ..] => hex_character(digits)?,
                [b'#', digits @ ..] => {
                    char::from_u32(std::str::from_utf8(digits).ok()?.parse().ok()?)?
                }
                _ => return None,
            };
            Some((character, end + 1))
        }
    }
}

fn hex_character(digits: &[u8]) -> Option<char> {
    let all_hex = digits.iter().all(u8::is_ascii_hexdigit);
    let digits = std::str::from_utf8(digits).ok().filter(|_| all_hex)?;
    char::from_u32(u32::from_str_radix(digits, 16).ok()?)
}
