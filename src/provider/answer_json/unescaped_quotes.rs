//! Splits an object into its members although texts in it contain quotes that are not escaped.
//!
//! Such a text can end at more than one quote, so an object can be split in more than one way. All ways are
//! considered. If they find a deciding field at more than one place, the object is refused: one of these
//! places may be within a text. It is also refused if a damaged value before a deciding field shows that the
//! field may be within a text or an inner object. A deciding field itself must be valid JSON.

use serde_json::value::RawValue;

use super::field_table::FieldTable;
use super::object_scan::{self, Member, ends_bare_value};

/// An object with more places where a member could begin is refused: the time grows with their square.
const MAX_SITES: usize = 4096;

/// A place where a member of the object could begin.
struct Site<'a> {
    /// The offset of the comma or brace before the member.
    boundary: usize,
    key: &'a [u8],
    name: Option<&'static str>,
    decides: bool,
    value_start: usize,
    extent: ValueExtent,
}

/// Where the value of a member can end.
enum ValueExtent {
    /// At this boundary only.
    UpTo(usize),
    /// At any boundary before which this byte stands.
    AnyAfter(u8),
    /// Nowhere: a deciding field that is not valid JSON.
    Damaged,
}

/// What suggests that a value is only a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    /// A text with an unpaired quote or bracket, which a whole text may have too.
    Unpaired,
    /// A text with both, or an object or array that does not end properly.
    CutOff,
}

/// The members of the object that is the whole of `text`, which has no white space around it.
pub(super) fn object_members<'a>(text: &'a [u8], table: &FieldTable) -> Option<Vec<Member<'a>>> {
    let end = text.len().checked_sub(1).filter(|end| text[*end] == b'}')?;
    let sites = find_sites(text, table)?;
    let value_ends = value_ends(text, &sites, end);
    let bracket_depths = bracket_depths(text);
    let split = Split { text, sites: &sites, end, value_ends, bracket_depths };
    let reachable = split.reachable_from_start();
    let leads_to_end = split.leading_to_end();
    let is_possible = |site: usize| reachable[site] && leads_to_end[site];
    let deciding: Vec<usize> =
        (0..sites.len()).filter(|site| sites[*site].decides && is_possible(*site)).collect();
    let mut names: Vec<_> = deciding.iter().map(|site| sites[*site].name).collect();
    names.sort_unstable();
    let occurs_twice = names.windows(2).any(|pair| pair[0] == pair[1]);
    let is_damaged = sites
        .iter()
        .zip(&reachable)
        .any(|(site, reachable)| *reachable && matches!(site.extent, ValueExtent::Damaged));
    if occurs_twice || is_damaged {
        return None;
    }
    split.best_members(&deciding)
}

fn find_sites<'a>(text: &'a [u8], table: &FieldTable) -> Option<Vec<Site<'a>>> {
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
) -> Option<Site<'a>> {
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
    Some(Site { boundary, key: &text[key_start..key_end], name, decides, value_start, extent })
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

/// The ways to split an object: paths from the first site over further sites to the closing brace, which has
/// the index after the last site.
struct Split<'a, 's> {
    text: &'a [u8],
    sites: &'s [Site<'a>],
    /// The offset of the closing brace.
    end: usize,
    /// For each site, and for the closing brace, where a value before it ends, without white space.
    value_ends: Vec<usize>,
    /// For each offset how many braces and brackets are open before it.
    bracket_depths: Vec<(i32, i32)>,
}

impl<'a> Split<'a, '_> {
    /// The offset at which the value before this site, or before the closing brace, has ended.
    fn boundary(&self, next: usize) -> usize {
        self.sites.get(next).map_or(self.end, |site| site.boundary)
    }

    /// The value of a site if the member after it is at the site `next`.
    fn value(&self, site: usize, next: usize) -> &'a [u8] {
        let start = self.sites[site].value_start;
        self.text.get(start..self.value_ends[next]).unwrap_or_default()
    }

    fn can_follow(&self, site: usize, next: usize) -> bool {
        let boundary = self.boundary(next);
        let Site { value_start, extent, .. } = &self.sites[site];
        match extent {
            ValueExtent::Damaged => false,
            ValueExtent::UpTo(end) => *end == boundary,
            ValueExtent::AnyAfter(last) => {
                boundary > *value_start + 1 && {
                    let value = self.value(site, next);
                    value.len() > 1 && value.last() == Some(last)
                }
            }
        }
    }

    fn reachable_from_start(&self) -> Vec<bool> {
        let mut reachable = vec![false; self.sites.len()];
        reachable[0] = true;
        for site in 0..self.sites.len() {
            if reachable[site] {
                for (next, reached) in reachable.iter_mut().enumerate().skip(site + 1) {
                    *reached |= self.can_follow(site, next);
                }
            }
        }
        reachable
    }

    fn leading_to_end(&self) -> Vec<bool> {
        let mut leads = vec![false; self.sites.len() + 1];
        leads[self.sites.len()] = true;
        for site in (0..self.sites.len()).rev() {
            leads[site] = (site + 1..=self.sites.len())
                .any(|next| leads[next] && self.can_follow(site, next));
        }
        leads
    }

    /// The most plausible split that contains all the `deciding` sites: brackets are balanced in as many values
    /// as possible, and the values are short.
    fn best_members(&self, deciding: &[usize]) -> Option<Vec<Member<'a>>> {
        let count = self.sites.len();
        let mut best: Vec<Option<(usize, usize)>> = vec![None; count + 1];
        best[count] = Some((0, count));
        for site in (0..count).rev() {
            let next_deciding = deciding.iter().copied().find(|other| *other > site);
            best[site] = (site + 1..=next_deciding.unwrap_or(count))
                .filter(|next| self.can_follow(site, *next))
                .filter_map(|next| {
                    let cost = usize::from(!self.has_balanced_brackets(site, next));
                    Some((best[next]?.0 + cost, next))
                })
                .min();
        }
        let (mut members, mut path) = (Vec::new(), Vec::new());
        let (mut site, mut is_last_balanced) = (0, false);
        while site < count {
            let (_, next) = best[site]?;
            path.push((site, next));
            members.push((self.sites[site].key, self.value(site, next)));
            is_last_balanced = self.has_balanced_brackets(site, next);
            site = next;
        }
        // Otherwise the last brace may be within a value that was cut off.
        (is_last_balanced && !self.is_doubtful(&path, deciding)).then_some(members)
    }

    /// Whether a deciding member of a split may stand within a text or an inner object. A text that holds it
    /// would be split into two values, both of which show it, or be cut off.
    fn is_doubtful(&self, path: &[(usize, usize)], deciding: &[usize]) -> bool {
        if deciding.is_empty() {
            // An inner object, which is checked here for its outer one: the check must not go deeper.
            return false;
        }
        let damages = path.iter().filter_map(|(site, next)| {
            self.text_damage(*site, *next).map(|damage| (*site, damage))
        });
        let damages: Vec<(usize, Damage)> = damages.collect();
        deciding.iter().any(|decides| {
            let (before, after): (Vec<_>, Vec<_>) =
                damages.iter().partition(|(site, _)| site < decides);
            let is_cut = before.iter().any(|(_, damage)| *damage == Damage::CutOff);
            is_cut || (!before.is_empty() && !after.is_empty())
        })
    }

    /// Whether a value is only a part of one. Quotes and brackets in texts are mostly in pairs.
    fn text_damage(&self, site: usize, next: usize) -> Option<Damage> {
        let is_whole = |value| object_scan::value_at_start(value) == Some(value);
        let value = self.value(site, next);
        let is_balanced = self.has_balanced_brackets(site, next);
        match value.first() {
            Some(b'"') => {
                let inner_quotes = count_unescaped_quotes(value).saturating_sub(2);
                match (inner_quotes, inner_quotes.is_multiple_of(2), is_balanced) {
                    (0, _, _) | (_, true, true) => None,
                    (_, false, false) => Some(Damage::CutOff),
                    (_, false, true) | (_, true, false) => Some(Damage::Unpaired),
                }
            }
            Some(b'{') => {
                let is_part = !is_whole(value)
                    && (!is_balanced || object_members(value, &FieldTable::EMPTY).is_none());
                is_part.then_some(Damage::CutOff)
            }
            Some(b'[') => (!is_whole(value) && !is_balanced).then_some(Damage::CutOff),
            Some(_) | None => None,
        }
    }

    fn has_balanced_brackets(&self, site: usize, next: usize) -> bool {
        let start = self.sites[site].value_start;
        self.bracket_depths.get(start) == self.bracket_depths.get(self.boundary(next))
    }
}

/// The quotes of a value that no backslash precedes.
fn count_unescaped_quotes(value: &[u8]) -> usize {
    let mut is_escaped = false;
    let is_quote = |byte: &&u8| {
        let is_quote = **byte == b'"' && !is_escaped;
        is_escaped = **byte == b'\\' && !is_escaped;
        is_quote
    };
    value.iter().filter(is_quote).count()
}

fn value_ends(text: &[u8], sites: &[Site<'_>], end: usize) -> Vec<usize> {
    let boundaries = sites.iter().map(|site| site.boundary).chain([end]);
    let mut from = 0;
    let ends = boundaries.map(|boundary| {
        // No value ends before the previous boundary, so each byte is looked at once.
        let value_end = from + text[from..boundary].trim_ascii_end().len();
        from = boundary;
        value_end
    });
    ends.collect()
}

fn bracket_depths(text: &[u8]) -> Vec<(i32, i32)> {
    let depths = text.iter().scan((0, 0), |(braces, brackets), byte| {
        let before = (*braces, *brackets);
        match byte {
            b'{' => *braces += 1,
            b'}' => *braces -= 1,
            b'[' => *brackets += 1,
            b']' => *brackets -= 1,
            _ => {}
        }
        Some(before)
    });
    depths.collect()
}
