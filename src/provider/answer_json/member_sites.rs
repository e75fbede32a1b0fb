//! The places of an object at which a member could begin, if quotes in its texts may be unescaped.
//!
//! Used by `unescaped_quotes`, which decides at which of them members do begin. Invariant: a deciding field
//! has one extent, and only if it is valid JSON.

use serde_json::value::RawValue;

use super::field_table::FieldTable;
use super::object_scan::{self, ends_bare_value};

/// An object with more places where a member could begin is refused: the time grows with their square.
const MAX_SITES: usize = 4096;

/// A place where a member of the object could begin.
pub(super) struct MemberSite<'a> {
    /// The offset of the comma or brace before the member.
    pub(super) boundary: usize,
    pub(super) key: &'a [u8],
    pub(super) name: Option<&'static str>,
    pub(super) decides: bool,
    pub(super) value_start: usize,
    pub(super) extent: ValueExtent,
}

/// Where the value of a member can end.
pub(super) enum ValueExtent {
    /// At this boundary only.
    UpTo(usize),
    /// At any boundary before which this byte stands.
    AnyAfter(u8),
    /// Nowhere: a deciding field that is not valid JSON.
    Damaged,
}

pub(super) fn find_sites<'a>(text: &'a [u8], table: &FieldTable) -> Option<Vec<MemberSite<'a>>> {
    let mut sites = Vec::new();
    let mut before = None;
    for (at, byte) in text.iter().enumerate() {
        if *byte == b'"'
            && let Some(boundary) = before
            && (text[boundary] == b',' || (text[boundary] == b'{' && boundary == 0))
            && let Some(site) = site_at(text, boundary, at, table)
        {
            sites.push(site);
        }
        if !byte.is_ascii_whitespace() {
            before = Some(at);
        }
    }
    let begins_with_a_member = sites.first().is_some_and(|site| site.boundary == 0);
    (begins_with_a_member && sites.len() <= MAX_SITES).then_some(sites)
}

/// The site whose key begins at `key_start`, if a key and a colon are there.
fn site_at<'a>(
    text: &'a [u8],
    boundary: usize,
    key_start: usize,
    table: &FieldTable,
) -> Option<MemberSite<'a>> {
    let mut keys = serde_json::Deserializer::from_slice(&text[key_start..]).into_iter::<String>();
    let decoded_key = keys.next()?.ok()?;
    let key_end = key_start + keys.byte_offset();
    let colon = skip_whitespace(text, key_end);
    if text.get(colon) != Some(&b':') {
        return None;
    }
    let value_start = skip_whitespace(text, colon + 1);
    let name = table.find(&decoded_key);
    let decides = name.is_some_and(|name| table.is_deciding(name));
    let extent =
        if decides { deciding_extent(text, value_start) } else { kept_extent(text, value_start)? };
    Some(MemberSite {
        boundary,
        key: &text[key_start..key_end],
        name,
        decides,
        value_start,
        extent,
    })
}

fn deciding_extent(text: &[u8], start: usize) -> ValueExtent {
    let value = object_scan::value_at_start(&text[start..]);
    let Some(value) = value.filter(|value| serde_json::from_slice::<&RawValue>(value).is_ok())
    else {
        return ValueExtent::Damaged;
    };
    let end = skip_whitespace(text, start + value.len());
    match text.get(end) {
        // A bracket that is not the end of the whole object shows that the member is within a text.
        Some(b',' | b'}' | b']') => ValueExtent::UpTo(end),
        Some(_) | None => ValueExtent::Damaged,
    }
}

/// An inner object or array in which every quote is at its place is read as a whole: a key in it is no key of
/// this object.
fn kept_extent(text: &[u8], start: usize) -> Option<ValueExtent> {
    let rest = &text[start..];
    let last = match rest.first()? {
        b'"' => return Some(ValueExtent::AnyAfter(b'"')),
        b'{' => b'}',
        b'[' => b']',
        _ => {
            let length = rest.iter().position(|byte| ends_bare_value(*byte))?;
            return Some(ValueExtent::UpTo(skip_whitespace(text, start + length)));
        }
    };
    let end = object_scan::value_at_start(rest)
        .map(|value| skip_whitespace(text, start + value.len()))
        .filter(|end| matches!(text.get(*end), Some(b',' | b'}')));
    Some(end.map_or(ValueExtent::AnyAfter(last), ValueExtent::UpTo))
}

fn skip_whitespace(text: &[u8], from: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    from + rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}
