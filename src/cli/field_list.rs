//! A list of fields, one a line: the name, then the value, wrapped between words at the width of the screen.
//!
//! Used by the commands that show one thing in detail.

use anstyle::Style;
use unicode_width::UnicodeWidthStr;

use crate::escape::escape_unprintable;

/// Fields and their values, in order.
#[derive(Default)]
pub(super) struct FieldList {
    fields: Vec<(Style, String, String)>,
}

impl FieldList {
    /// Blanks between the names and the values.
    const GAP: usize = 2;

    pub(super) fn add(&mut self, style: Style, name: &str, value: &str) {
        self.fields.push((style, name.to_owned(), escape_unprintable(value)));
    }

    pub(super) fn into_lines(self, max_width: Option<usize>) -> Vec<String> {
        let names = self.fields.iter().map(|(_, name, _)| name.width());
        let indent = names.max().unwrap_or(0) + Self::GAP;
        let value_width = max_width.map_or(usize::MAX, |width| width.saturating_sub(indent));
        let mut lines = Vec::new();
        for (style, name, value) in self.fields {
            let mut name = name.as_str();
            for part in wrap(&value, value_width) {
                lines.push(format!("{style}{name:indent$}{part}{style:#}"));
                name = "";
            }
        }
        lines
    }
}

/// The lines of a text, broken between words; a word that is too long has a line of its own.
fn wrap(text: &str, max_width: usize) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while rest.width() > max_width {
        let breaks = rest.match_indices(' ').map(|(at, _)| at).filter(|at| *at > 0);
        let mut fitting = breaks.clone().take_while(|at| rest[..*at].width() <= max_width);
        let Some(end) = fitting.by_ref().last().or_else(|| breaks.clone().next()) else { break };
        lines.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    lines.push(rest);
    lines
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;

    use super::*;

    #[test]
    fn long_values_are_wrapped_below_each_other() {
        let mut fields = FieldList::default();
        fields.add(Style::new(), "state", "failed");
        fields.add(Style::new(), "message", "table growth.daily_users was not found");
        let lines = fields.into_lines(Some(24));
        let lines: Vec<_> = lines.iter().map(|line| strip_str(line).to_string()).collect();
        let expected = [
            "state    failed",
            "message  table",
            "         growth.daily_users",
            "         was not found",
        ];
        assert_eq!(lines, expected);
    }
}
