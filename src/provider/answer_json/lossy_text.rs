//! Decodes the content of a JSON string that may be damaged, so that no damage hides the rest of an answer.
//!
//! Used for text that is only kept. A lone surrogate and invalid UTF-8 become U+FFFD. A backslash that begins
//! no valid escape, an unescaped quote and a control character stay as they are.

/// Decodes the bytes between the quotes of a string.
pub(super) fn decode(content: &[u8]) -> String {
    let mut text = String::with_capacity(content.len());
    let mut rest = content;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        text.push_str(&String::from_utf8_lossy(&rest[..at]));
        let (decoded, length) = decode_escape(&rest[at..]);
        text.push(decoded);
        rest = &rest[at + length..];
    }
    text.push_str(&String::from_utf8_lossy(rest));
    text
}

/// The character that `escape` begins with, and its length. `escape` begins with a backslash.
fn decode_escape(escape: &[u8]) -> (char, usize) {
    let decoded = match escape.get(1) {
        Some(b'"') => '"',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return decode_unicode_escape(escape),
        Some(_) | None => return ('\\', 1),
    };
    (decoded, 2)
}

fn decode_unicode_escape(escape: &[u8]) -> (char, usize) {
    const LENGTH: usize = 6;
    let Some(first) = code_unit(escape) else { return ('\\', 1) };
    if let Some(second) = escape.get(LENGTH..).and_then(code_unit)
        && let Some(Ok(pair)) = char::decode_utf16([first, second]).next()
        && u32::from(pair) > 0xffff
    {
        return (pair, 2 * LENGTH);
    }
    (char::from_u32(first.into()).unwrap_or(char::REPLACEMENT_CHARACTER), LENGTH)
}

/// The code unit of an escape such as `\u00e9`.
fn code_unit(escape: &[u8]) -> Option<u16> {
    let digits = escape.strip_prefix(b"\\u")?.get(..4)?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_text_is_decoded_as_far_as_possible() {
        let cases: [(&[u8], &str); 14] = [
            (b"plain", "plain"),
            (br#"a\"b\\c\/d\n\t"#, "a\"b\\c/d\n\t"),
            (br"\u00e9\u4f60", "\u{e9}\u{4f60}"),
            (br"\ud83e\udd80!", "\u{1f980}!"),
            (br"cut \ud83d", "cut \u{fffd}"),
            (br"\ud83d and \ude00", "\u{fffd} and \u{fffd}"),
            (br"\ud83d\u0041", "\u{fffd}A"),
            (br"\x41 \u12 \u12g4 \u+123", r"\x41 \u12 \u12g4 \u+123"),
            (br"C:\data\", r"C:\data\"),
            (b"a\nb\x00", "a\nb\0"),
            (b"caf\xe9 \xe5\xae", "caf\u{fffd} \u{fffd}"),
            (br#"{"a":"b"}"#, r#"{"a":"b"}"#),
            (b"", ""),
            (br"\", r"\"),
        ];
        for (content, expected) in cases {
            assert_eq!(decode(content), expected, "{}", content.escape_ascii());
        }
    }
}
