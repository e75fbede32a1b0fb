//! Splits an object into its members although texts in it contain quotes that are not escaped.
//!
//! Such a text can end at more than one quote, so an object can be split in more than one way. All ways are
//! considered. If they find a deciding field at more than one place, the object is refused: one of these
//! places may be within a text. It is also refused if a damaged value before a deciding field shows that the
//! field may be within a text or an inner object. A deciding field itself must be valid JSON.

use super::field_table::FieldTable;
use super::member_sites::{MemberSite, ValueExtent, find_sites};
use super::object_scan::{self, Member};
use super::text_damage::{Damage, text_damage, unescaped_quotes};

/// The members of the object that is the whole of `text`, which has no white space around it.
pub(super) fn object_members<'a>(text: &'a [u8], table: &FieldTable) -> Option<Vec<Member<'a>>> {
    let end = text.len().checked_sub(1).filter(|end| text[*end] == b'}')?;
    let sites = find_sites(text, table)?;
    let value_ends = value_ends(text, &sites, end);
    let quotes = unescaped_quotes(text);
    let index_from = |offset| quotes.partition_point(|quote| *quote < offset);
    let split = Split {
        first_inner_quotes: sites.iter().map(|site| index_from(site.value_start + 1)).collect(),
        last_quotes: value_ends.iter().map(|end| index_from(end.saturating_sub(1))).collect(),
        text,
        sites: &sites,
        end,
        value_ends,
        bracket_depths: bracket_depths(text),
        quotes: &quotes,
        id: table.id,
    };
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

/// The ways to split an object: paths from the first site over further sites to the closing brace, which has
/// the index after the last site.
struct Split<'a, 's> {
    text: &'a [u8],
    sites: &'s [MemberSite<'a>],
    /// The offset of the closing brace.
    end: usize,
    /// For each site, and for the closing brace, where a value before it ends, without white space.
    value_ends: Vec<usize>,
    /// For each offset how many braces and brackets are open before it.
    bracket_depths: Vec<(i32, i32)>,
    /// The offsets of the quotes that are not escaped.
    quotes: &'s [usize],
    /// The name of the field that names the job.
    id: Option<&'static str>,
    /// For each site the index of the first of `quotes` within its value.
    first_inner_quotes: Vec<usize>,
    /// For each site, and for the closing brace, the index of the quote that ends a text before it.
    last_quotes: Vec<usize>,
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
        let MemberSite { value_start, extent, .. } = &self.sites[site];
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

    /// The most plausible split that contains all the `deciding` sites: brackets are balanced and quotes in
    /// pairs in as many values as possible, and the values are short.
    fn best_members(&self, deciding: &[usize]) -> Option<Vec<Member<'a>>> {
        let count = self.sites.len();
        let mut best: Vec<Option<(usize, usize)>> = vec![None; count + 1];
        best[count] = Some((0, count));
        for site in (0..count).rev() {
            let next_deciding = deciding.iter().copied().find(|other| *other > site);
            best[site] = (site + 1..=next_deciding.unwrap_or(count))
                .filter(|next| self.can_follow(site, *next))
                .filter_map(|next| Some((best[next]?.0 + self.implausibility(site, next), next)))
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
    /// would be split into two values, both of which show it, or be cut off. A text with an unpaired quote that
    /// is whole stands among documented fields; one that quotes another object shows other fields too. If a
    /// quotation is open at its end, the job's id and another deciding field must stand behind it: the object's own
    /// members are then complete without what the text holds.
    fn is_doubtful(&self, path: &[(usize, usize)], deciding: &[usize]) -> bool {
        if deciding.is_empty() {
            // An inner object, which is checked here for its outer one: the check must not go deeper.
            return false;
        }
        let damages = path.iter().filter_map(|(site, next)| {
            self.value_damage(*site, *next).map(|damage| (*site, damage))
        });
        let damages: Vec<(usize, Damage)> = damages.collect();
        let is_undocumented_after = |text: usize| {
            path.iter().any(|(site, _)| *site > text && self.sites[*site].name.is_none())
        };
        let are_id_and_state_after = |text: usize| {
            let after = || deciding.iter().filter(|decides| **decides > text);
            let has_id = after().any(|site| self.id.is_some() && self.sites[*site].name == self.id);
            has_id && after().count() > 1
        };
        deciding.iter().any(|decides| {
            let (before, after): (Vec<_>, Vec<_>) =
                damages.iter().partition(|(site, _)| site < decides);
            before.iter().any(|(site, damage)| {
                let is_cut_off = match damage {
                    Damage::CutOff => true,
                    Damage::OpenQuotation => !are_id_and_state_after(*site),
                    Damage::Unpaired => false,
                };
                is_cut_off || !after.is_empty() || is_undocumented_after(*site)
            })
        })
    }

    /// Whether a value is only a part of one.
    fn value_damage(&self, site: usize, next: usize) -> Option<Damage> {
        let is_whole = |value| object_scan::value_at_start(value) == Some(value);
        let value = self.value(site, next);
        let is_balanced = self.has_balanced_brackets(site, next);
        match value.first() {
            Some(b'"') => text_damage(self.text, self.inner_quotes(site, next), is_balanced),
            Some(b'{') => {
                let is_part = !is_whole(value)
                    && (!is_balanced || object_members(value, &FieldTable::EMPTY).is_none());
                is_part.then_some(Damage::CutOff)
            }
            Some(b'[') => (!is_whole(value) && !is_balanced).then_some(Damage::CutOff),
            Some(_) | None => None,
        }
    }

    /// The offsets of the quotes within the text that is the value of a site.
    fn inner_quotes(&self, site: usize, next: usize) -> &[usize] {
        let (first, last) = (self.first_inner_quotes[site], self.last_quotes[next]);
        self.quotes.get(first..last).unwrap_or_default()
    }

    /// How much suggests that the member after this site does not begin at `next`.
    fn implausibility(&self, site: usize, next: usize) -> usize {
        let is_balanced = self.has_balanced_brackets(site, next);
        let is_text = self.text.get(self.sites[site].value_start) == Some(&b'"');
        let is_part_of_text =
            is_text && text_damage(self.text, self.inner_quotes(site, next), is_balanced).is_some();
        usize::from(!is_balanced || is_part_of_text)
    }

    fn has_balanced_brackets(&self, site: usize, next: usize) -> bool {
        let start = self.sites[site].value_start;
        self.bracket_depths.get(start) == self.bracket_depths.get(self.boundary(next))
    }
}

fn value_ends(text: &[u8], sites: &[MemberSite<'_>], end: usize) -> Vec<usize> {
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
