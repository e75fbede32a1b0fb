//! Whether a text with unescaped quotes is only a part of one.
//!
//! Used by `unescaped_quotes` for each text before a deciding field: if the text is a part, the field stands
//! within the whole text and decides nothing. Quotes and brackets in texts are mostly in pairs.

/// What suggests that a value is only a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Damage {
    /// A text with an unpaired quote or bracket, which a whole text may have too.
    Unpaired,
    /// A text with an unpaired quote that begins a quotation: the quote that seems to end the text may end the
    /// quotation.
    OpenQuotation,
    /// A text with both, or an object or array that does not end properly.
    CutOff,
}

/// What suggests that a text, whose quotes other than its first and last are at `inner_quotes`, is only a part
/// of one.
pub(super) fn text_damage(
    object: &[u8],
    inner_quotes: &[usize],
    has_balanced_brackets: bool,
) -> Option<Damage> {
    let is_open = opens_quotation(object, *inner_quotes.last()?);
    match (inner_quotes.len().is_multiple_of(2), has_balanced_brackets, is_open) {
        (true, true, false) => None,
        (false, true, true) => Some(Damage::OpenQuotation),
        (false, true, false) | (true, false, false) => Some(Damage::Unpaired),
        (false, false, _) | (true, _, true) => Some(Damage::CutOff),
    }
}

/// Whether a quotation begins at the quote `at`, as before the `a` in `row "a`.
fn opens_quotation(object: &[u8], at: usize) -> bool {
    let is_after_word = at
        .checked_sub(1)
        .and_then(|before| object.get(before))
        .is_some_and(|before| !b" \t\r\n\":=,;([{<".contains(before));
    let is_before_word = object.get(at + 1).is_some_and(|after| !b" \t\r\n\"".contains(after));
    !is_after_word && is_before_word
}

/// The offsets of the quotes that no backslash precedes.
pub(super) fn unescaped_quotes(object: &[u8]) -> Vec<usize> {
    let mut is_escaped = false;
    let quote_at = |(at, byte): (usize, &u8)| {
        let is_quote = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        is_quote.then_some(at)
    };
    object.iter().enumerate().filter_map(quote_at).collect()
}
