//! Replaces secrets that a response repeats with asterisks, before anything else reads the response.
//!
//! Called by `http` for every response. A secret is found as it is, in the encodings that [`ENCODINGS`] lists,
//! and as Base64. A long part of a secret counts as the secret.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::decoded_text::{DecodedText, Encoding};

/// What a response is decoded from, one after the other. A JSON text may be within a JSON text.
const ENCODINGS: [&[Encoding]; 7] = [
    &[Encoding::Backslash],
    &[Encoding::Backslash, Encoding::Backslash],
    &[Encoding::Percent],
    &[Encoding::Backslash, Encoding::Percent],
    &[Encoding::Backslash, Encoding::Percent, Encoding::Percent],
    &[Encoding::Html],
    &[Encoding::Backslash, Encoding::Html],
];

/// A response is searched in parts of this length, because decoding takes many times the memory of a part.
const WINDOW_BYTES: usize = 256 << 10;
/// So much of a part is searched with the next one too. An occurrence across the end of a part is found in both: a
/// long part of a secret counts, which even with all encodings takes far fewer bytes.
const OVERLAP_BYTES: usize = 16 << 10;

/// Redacts the secrets of one client. Most of its requests have the same secrets, so that it remembers what
/// the searches for those of the last request need.
#[derive(Default)]
pub(super) struct Redactor {
    last_searches: Mutex<Vec<Arc<SecretSearch>>>,
}

impl Redactor {
    /// Redacts every occurrence of the secrets in `body`, whose length does not change.
    pub(super) fn redact(&self, body: &mut [u8], secrets: &[&[u8]]) {
        redact(body, &self.searches(secrets));
    }

    fn searches(&self, secrets: &[&[u8]]) -> Vec<Arc<SecretSearch>> {
        let mut last_searches = self.last_searches.lock().unwrap_or_else(PoisonError::into_inner);
        let secrets = secrets.iter().filter(|secret| !secret.is_empty());
        let searches = secrets.map(|secret| {
            let last = last_searches.iter().find(|search| *search.secret == **secret);
            last.map_or_else(|| Arc::new(SecretSearch::new(secret)), Arc::clone)
        });
        let searches: Vec<_> = searches.collect();
        last_searches.clone_from(&searches);
        searches
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Redactor").finish_non_exhaustive()
    }
}

fn redact(body: &mut [u8], searches: &[Arc<SecretSearch>]) {
    let mut is_secret = vec![false; body.len()];
    for start in (0..body.len()).step_by(WINDOW_BYTES) {
        let window = start..body.len().min(start + WINDOW_BYTES + OVERLAP_BYTES);
        let is_secret = &mut is_secret[window.clone()];
        let verbatim = DecodedText::verbatim(&body[window]);
        mark_secrets(&verbatim, searches, is_secret);
        for encodings in ENCODINGS {
            if let Some(decoded) = verbatim.decode_all(encodings) {
                mark_secrets(&decoded, searches, is_secret);
            }
        }
    }
    for (byte, is_secret) in body.iter_mut().zip(is_secret) {
        if is_secret {
            *byte = b'*';
        }
    }
}

fn mark_secrets(text: &DecodedText<'_>, searches: &[Arc<SecretSearch>], is_secret: &mut [bool]) {
    for search in searches.iter().flat_map(|search| &search.forms) {
        search.for_each_match(&text.bytes, |start, end| {
            is_secret[text.origin(start)..text.origin(end)].fill(true);
        });
    }
}

/// Finds a secret as it is and as Base64.
struct SecretSearch {
    secret: Zeroizing<Vec<u8>>,
    forms: Vec<Search>,
}

impl SecretSearch {
    fn new(secret: &[u8]) -> Self {
        let forms = std::iter::once(secret.to_vec()).chain(base64_forms(secret));
        Self { secret: secret.to_vec().into(), forms: forms.map(Search::new).collect() }
    }
}

/// The Base64 of a secret at each of the three positions that it can have in the encoded data, without the
/// characters that also depend on what is before and after it.
fn base64_forms(secret: &[u8]) -> Vec<Vec<u8>> {
    /// The form of a shorter secret is short enough to occur by chance.
    const MIN_BYTES: usize = 6;
    if secret.len() < MIN_BYTES {
        return Vec::new();
    }
    let mut forms = Vec::new();
    for (bytes_before, chars_before) in [(0, 0), (1, 2), (2, 3)] {
        let data = [&b"\0\0"[..bytes_before], secret].concat();
        let whole_chars = data.len() * 8 / 6;
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let form = engine.encode(&data).into_bytes()[chars_before..whole_chars].to_vec();
            if !forms.contains(&form) {
                forms.push(form);
            }
        }
    }
    forms
}

/// Finds a pattern and long parts of it.
struct Search {
    pattern: Zeroizing<Vec<u8>>,
    /// The length from which on a part is found.
    min_length: usize,
    block_length: usize,
    /// The offsets of the blocks of the pattern, in the order of the blocks.
    offsets: Vec<usize>,
    /// Which [`block_class`] the blocks have: most blocks of a text are of another class than all of them.
    classes: [bool; 256],
}

impl Search {
    /// Up to this length a pattern is found as a whole only.
    const WHOLE_ONLY: usize = 12;
    /// A part of this length is found, however long the pattern is.
    const LONG_PART: usize = 24;

    fn new(pattern: Vec<u8>) -> Self {
        let min_length = if pattern.len() <= Self::WHOLE_ONLY {
            pattern.len()
        } else {
            (pattern.len() / 2).clamp(Self::WHOLE_ONLY, Self::LONG_PART)
        };
        // Each part of `min_length` contains a block whose offset in the text is a multiple of this.
        let block_length = min_length.div_ceil(2);
        let mut offsets: Vec<usize> = (0..=pattern.len() - block_length).collect();
        offsets.sort_by_key(|offset| &pattern[*offset..*offset + block_length]);
        let mut classes = [false; 256];
        for block in pattern.windows(block_length) {
            classes[block_class(block)] = true;
        }
        Self { pattern: pattern.into(), min_length, block_length, offsets, classes }
    }

    /// The offsets in the pattern at which a block occurs.
    fn offsets_of(&self, block: &[u8]) -> impl Iterator<Item = usize> {
        let block_at = |offset: usize| &self.pattern[offset..offset + self.block_length];
        let first = self.offsets.partition_point(|offset| block_at(*offset) < block);
        self.offsets[first..].iter().copied().take_while(move |offset| block_at(*offset) == block)
    }

    /// Calls `found` with the start and the end of each match. Matches may overlap.
    fn for_each_match(&self, text: &[u8], mut found: impl FnMut(usize, usize)) {
        for (index, block) in text.chunks_exact(self.block_length).enumerate() {
            if !self.classes[block_class(block)] {
                continue;
            }
            for offset in self.offsets_of(block) {
                let at = index * self.block_length;
                let before =
                    equal_count(text[..at].iter().rev(), self.pattern[..offset].iter().rev());
                let after = equal_count(text[at..].iter(), self.pattern[offset..].iter());
                if before + after >= self.min_length {
                    found(at - before, at + after);
                }
            }
        }
    }
}

/// A number below 256 that follows from the ends of a block.
fn block_class(block: &[u8]) -> usize {
    let (first, last) = (block.first().copied(), block.last().copied());
    usize::from(first.unwrap_or_default().wrapping_mul(31) ^ last.unwrap_or_default())
}

fn equal_count<'a>(a: impl Iterator<Item = &'a u8>, b: impl Iterator<Item = &'a u8>) -> usize {
    a.zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(text: &str, secrets: &[&str]) -> String {
        let mut body = text.as_bytes().to_vec();
        let secrets: Vec<&[u8]> = secrets.iter().map(|secret| secret.as_bytes()).collect();
        Redactor::default().redact(&mut body, &secrets);
        assert_eq!(body.len(), text.len(), "the length does not change");
        String::from_utf8(body).expect("UTF-8")
    }

    #[test]
    fn fault_71_a_secret_is_found_in_every_encoding() {
        const SECRET: &str = r#"k/9+Zq"=&x\7"#;
        let forms = [
            SECRET,
            r#"k/9+Zq\"=&x\\7"#,
            r#"k\/9+Zq\"=&x\\7"#,
            r"\u006B\u002f9\u002BZq\u0022=\u0026x\u005C7",
            r#"k\\/9\\u002BZq\\\"=&x\\\\7"#,
            "k%2F9%2BZq%22%3D%26x%5C7",
            "k%2f9%2bZq%22=%26x%5c7",
            r"k\u00252F9%2BZq%22%3D%26x%5C7",
            "k%252F9%252BZq%2522%253D%2526x%255C7",
            "k/9+Zq&quot;=&amp;x\\7",
            "k&#x2F;9&#43;Zq&#34;&equals;&amp;x\\7",
            r"k/9+Zq&quot;=&amp;x\\7",
        ];
        for form in forms {
            let text = format!("{{\"why\":\"key {form} is wrong\"}}");
            let expected = format!("{{\"why\":\"key {} is wrong\"}}", "*".repeat(form.len()));
            assert_eq!(redacted(&text, &[SECRET]), expected, "{form}");
        }
    }

    #[test]
    fn fault_71_a_secret_is_found_in_base64() {
        const SECRET: &str = "s3cr?t>key~~";
        for before in ["", "u", "us", "user:"] {
            for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
                let encoded = engine.encode(format!("{before}{SECRET}:end"));
                let found = redacted(&encoded, &[SECRET]);
                let hidden = found.matches('*').count();
                assert!(hidden >= SECRET.len() * 8 / 6 - 1, "{encoded} → {found}");
            }
        }
    }

    #[test]
    fn fault_71_a_long_part_of_a_secret_is_redacted() {
        const SECRET: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        assert_eq!(
            redacted("key 0123456789abcdefghijklmnop…", &[SECRET]),
            format!("key {}…", "*".repeat(26))
        );
        assert_eq!(
            redacted("…ghijklmnopqrstuvwxyzABCD!", &[SECRET]),
            format!("…{}!", "*".repeat(24))
        );
        let short = "a part ghijklmnop of it";
        assert_eq!(redacted(short, &[SECRET]), short);
        assert_eq!(redacted("a-key-of-16", &["a-key-of-16chars"]), "a-key-of-16");
        assert_eq!(redacted("a-key-of-16c", &["a-key-of-16chars"]), "*".repeat(12));
    }

    #[test]
    fn fault_71_a_secret_is_found_wherever_it_stands_in_a_long_response() {
        const SECRET: &str = "0123456789/abcdefghijklmnop+qrstuvwxyzABCDEFGHIJKLMN";
        let forms = [
            SECRET.to_owned(),
            SECRET.replace('/', "\\u002F").replace('+', "\\u00252B"),
            SECRET.bytes().map(|byte| format!("\\\\u00{byte:02x}")).collect::<Vec<_>>().concat(),
        ];
        let edges = [WINDOW_BYTES, WINDOW_BYTES + OVERLAP_BYTES];
        for form in &forms {
            for edge in edges {
                for shift in (0..=form.len() + 8).step_by(form.len() / 4) {
                    let before = "x".repeat(edge - shift);
                    let text = format!("{before}{form}{}", "y".repeat(100));
                    let found = redacted(&text, &[SECRET]);
                    let hidden = found.bytes().filter(|byte| *byte == b'*').count();
                    assert_eq!(hidden, form.len(), "{form} at {}", edge - shift);
                }
            }
        }
    }

    #[test]
    fn echoed_secrets_are_redacted() {
        assert_eq!(redacted("key abcabc, again abc.", &["abc"]), "key ******, again ***.");
        assert_eq!(redacted("ab", &["abc"]), "ab");
        assert_eq!(redacted("x and xyz", &["x", "yz"]), "* and ***");
        assert_eq!(redacted("", &["x"]), "");
        assert_eq!(redacted("nothing", &[""]), "nothing");
        // An escape that ends with the first letter of a secret does not protect it.
        assert_eq!(redacted(r"line\nabc", &["nabc"]), r"line\****");
    }
}
