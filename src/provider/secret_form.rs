//! Recognizes what is probably not the secret itself, such as a whole line of an `.env` file.
//!
//! Called by [`secret`](super::secret). No description repeats the text.

/// What is wrong with a text, and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) description: &'static str,
    /// Whether the text cannot be a secret at all. Otherwise only a password can look like this.
    pub(super) is_certain: bool,
}

/// The flaw of a text without white space at its end; `None` if it can be a secret.
pub(super) fn flaw(text: &str) -> Option<Flaw> {
    let description = if text.is_empty() {
        "is empty"
    } else if is_quoted(text) {
        "is in quotation marks: remove them"
    } else if is_json(text) {
        "is JSON: store the value alone"
    } else if is_assignment(text) {
        "has the form NAME=value: store the value alone"
    } else if is_variable(text) {
        "is the name of a variable, which is not replaced: store the value itself"
    } else if text.starts_with('<') && text.ends_with('>') {
        "is a placeholder: store the value itself"
    } else if ["bearer ", "basic "].iter().any(|scheme| starts_with_ignoring_case(text, scheme)) {
        "is a whole Authorization header: store the value alone"
    } else if text.starts_with("-----BEGIN ") {
        "is a PEM file, which no provider takes"
    } else if !text.is_ascii() {
        "contains characters that are not ASCII: must be one line of visible ASCII characters"
    } else if text.contains(['\n', '\r']) {
        "has more than one line: must be one line of visible ASCII characters"
    } else if !is_visible_ascii(text) {
        "contains white space or control characters: must be one line of visible ASCII characters"
    } else {
        return None;
    };
    Some(Flaw { description, is_certain: text.is_empty() || !is_visible_ascii(text) })
}

fn is_visible_ascii(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn starts_with_ignoring_case(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn is_quoted(text: &str) -> bool {
    const QUOTES: [(char, char); 6] = [
        ('"', '"'),
        ('\'', '\''),
        ('`', '`'),
        ('\u{201c}', '\u{201d}'),
        ('\u{2018}', '\u{2019}'),
        ('\u{ab}', '\u{bb}'),
    ];
    let mut chars = text.trim_start().chars();
    let (first, last) = (chars.next(), chars.next_back());
    QUOTES.iter().any(|(open, close)| first == Some(*open) && last == Some(*close))
}

fn is_json(text: &str) -> bool {
    let value = serde_json::from_str::<serde_json::Value>(text);
    value.is_ok_and(|value| value.is_object() || value.is_array())
}

/// `NAME=value`, `export NAME=value` or `name: value`. Base64 has equals signs at its end only.
fn is_assignment(text: &str) -> bool {
    let text = text.trim_start();
    let text = text.strip_prefix("export ").unwrap_or(text);
    let is_name = |name: &str| {
        let mut chars = name.trim_end().chars();
        chars.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
            && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let value_follows = |value: &str| !value.trim_start_matches('=').trim().is_empty();
    let has_equals =
        text.split_once('=').is_some_and(|(name, value)| is_name(name) && value_follows(value));
    has_equals
        || text
            .split_once(':')
            .is_some_and(|(name, value)| is_name(name) && value.starts_with([' ', '\t']))
}

/// `$NAME` or `${NAME}`.
fn is_variable(text: &str) -> bool {
    let Some(name) = text.strip_prefix('$') else { return false };
    let name = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name);
    name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_secret_is_told() {
        let cases = [
            ("", "is empty"),
            ("\"abc\"", "quotation marks"),
            ("'abc'", "quotation marks"),
            ("`abc`", "quotation marks"),
            ("\u{201c}abc\u{201d}", "quotation marks"),
            (" \"abc def\"", "quotation marks"),
            ("DUNE_API_KEY=abc", "NAME=value"),
            ("api_key=abc", "NAME=value"),
            ("export DUNE_API_KEY=abc", "NAME=value"),
            ("DUNE_API_KEY = abc", "NAME=value"),
            ("DUNE_API_KEY=\"abc\"", "NAME=value"),
            ("A=1\nB=2", "NAME=value"),
            ("api_key: abc", "NAME=value"),
            ("{\"api_key\": \"abc\"}", "JSON"),
            ("[\"abc\"]", "JSON"),
            ("$DUNE_API_KEY", "a variable"),
            ("${DUNE_API_KEY}", "a variable"),
            ("<your-key>", "placeholder"),
            ("Bearer abc", "Authorization"),
            ("-----BEGIN PRIVATE KEY-----\nabc", "PEM"),
            ("k\u{e9}y", "not ASCII"),
            ("\u{feff}abc", "not ASCII"),
            ("ab\u{200b}c", "not ASCII"),
            ("abc\ndef", "more than one line"),
            ("abc def", "white space"),
            (" abc", "white space"),
            ("ab\tc", "white space"),
            ("ab\u{0}c", "control characters"),
        ];
        for (text, expected) in cases {
            let found = flaw(text).unwrap_or_else(|| panic!("{text:?} is taken"));
            assert!(found.description.contains(expected), "{text:?}: {found:?}");
        }
    }

    #[test]
    fn secrets_of_every_service_are_taken() {
        let secrets = [
            "abc",
            "QTWAOYTTINDUT2QVKYUC",
            "MFyfvK41ba2giqM7Uio6PznpdUKGpownRZlmVmHc",
            "MIIEpAIBAAKCAQEA7+/abc==",
            "abc=",
            "p@ss:word!",
            "$ecret",
            "{abc",
            "\"abc",
            "it's",
            "<abc",
        ];
        for secret in secrets {
            assert_eq!(flaw(secret), None, "{secret}");
        }
    }

    #[test]
    fn a_password_may_look_like_something_else() {
        let cases = [
            ("\"abc\"", false),
            ("A=b", false),
            ("$ABC", false),
            ("", true),
            ("a b", true),
            ("\u{e9}", true),
        ];
        for (text, is_certain) in cases {
            assert_eq!(flaw(text).map(|flaw| flaw.is_certain), Some(is_certain), "{text}");
        }
    }
}
