//! Escapes text from outside before it reaches a terminal or a log.
//!
//! Error texts of services, state names, ids, labels and file names may contain characters that control a
//! terminal, begin a new line, or reorder the text around them. The log and the client's output pass all
//! such text through this module. JSON output and the database keep the text as it is.

use std::fmt::Write;

/// Whether a character could control a terminal, break or reorder a line, or hide in it: control
/// characters, line and paragraph separators, and format characters of Unicode. The joiners U+200C and
/// U+200D stay: Persian, Indian scripts and emoji need them.
#[must_use]
pub fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'
                | '\u{200e}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Replaces unprintable characters by escape sequences as in Rust's string literals: `\n`, `\u{1b}`.
#[must_use]
pub fn escape_unprintable(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        push_escaped(&mut escaped, character);
    }
    escaped
}

/// The lines of a usage error, with escaped text. `arguments` are those of the process: a usage error repeats
/// them, and a line break within one is not a line of the error.
pub fn usage_error_lines(
    error: &clap::Error,
    arguments: impl Iterator<Item = String>,
) -> Vec<String> {
    // The plain form would already lack the arguments' own escape sequences.
    let mut text = error.render().ansi().to_string();
    for argument in arguments.filter(|argument| argument.contains(is_unprintable)) {
        let value = argument.split_once('=').map_or("", |(_, value)| value);
        for part in [argument.as_str(), value].into_iter().filter(|part| !part.is_empty()) {
            text = text.replace(part, &escape_unprintable(part));
        }
    }
    anstream::adapter::strip_str(&text).to_string().lines().map(escape_unprintable).collect()
}

/// Appends a character, escaped if it is unprintable.
pub fn push_escaped(text: &mut String, character: char) {
    if is_unprintable(character) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{}", character.escape_default());
    } else {
        text.push(character);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unprintable_characters_are_escaped() {
        let cases = [
            ("two\nlines\r\n\tand a tab", "two\\nlines\\r\\n\\tand a tab"),
            ("\u{1b}[31mred\u{1b}]0;title\u{7}", "\\u{1b}[31mred\\u{1b}]0;title\\u{7}"),
            ("\u{9b}2J and \u{85}next", "\\u{9b}2J and \\u{85}next"),
            ("NUL \0, DEL \u{7f}", "NUL \\u{0}, DEL \\u{7f}"),
            ("line\u{2028}paragraph\u{2029}", "line\\u{2028}paragraph\\u{2029}"),
            ("\u{202e}gnp.exe\u{202c}", "\\u{202e}gnp.exe\\u{202c}"),
            (
                "\u{2066}isolated\u{2069}\u{200f}\u{61c}",
                "\\u{2066}isolated\\u{2069}\\u{200f}\\u{61c}",
            ),
            ("\u{feff}mark\u{200b}", "\\u{feff}mark\\u{200b}"),
            ("tag\u{e0041}", "tag\\u{e0041}"),
        ];
        for (text, escaped) in cases {
            assert_eq!(escape_unprintable(text), escaped);
        }
    }

    #[test]
    fn printable_text_stays_as_it_is() {
        for text in ["", "C:\\temp\\new", "脚本/1 — \"ü\"", "می\u{200c}خواهم", "👩\u{200d}🔧"]
        {
            assert_eq!(escape_unprintable(text), text);
        }
    }
}
