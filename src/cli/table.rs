//! Aligned columns without borders, with a bold header.
//!
//! `comfy_table` lays out the columns, because it knows the width of each character; colours are added
//! per row afterwards.

use crate::escape::escape_unprintable;
use anstyle::Style;
use comfy_table::presets::NOTHING;

/// The rows of a table and their styles.
pub(super) struct Table {
    inner: comfy_table::Table,
    styles: Vec<Style>,
}

impl Table {
    /// A table with these columns; an empty `header` is not printed.
    pub(super) fn new(header: &[&str]) -> Self {
        let mut inner = comfy_table::Table::new();
        inner.load_style(NOTHING);
        let mut styles = Vec::new();
        if !header.is_empty() {
            inner.set_header(header.iter().copied());
            styles.push(Style::new().bold());
        }
        Self { inner, styles }
    }

    pub(super) fn add_row(&mut self, style: Style, cells: impl IntoIterator<Item = String>) {
        self.inner.add_row(cells.into_iter().map(|cell| escape_unprintable(&cell)));
        self.styles.push(style);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    pub(super) fn into_lines(mut self) -> Vec<String> {
        for column in self.inner.column_iter_mut() {
            column.set_padding((0, 2));
        }
        let lines = self.inner.lines().zip(&self.styles);
        lines.map(|(line, style)| format!("{style}{}{style:#}", line.trim_end())).collect()
    }
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;

    use super::*;

    #[test]
    fn columns_are_aligned_without_trailing_spaces() {
        let mut table = Table::new(&["JOB", "NAME", "LABELS"]);
        table.add_row(Style::new(), ["7".into(), "scripts/脚本/1".into(), String::new()]);
        table.add_row(Style::new(), ["1234".into(), "dune/x".into(), "a=1\nb".into()]);
        let lines = table.into_lines();
        let lines: Vec<_> = lines.iter().map(|line| strip_str(line).to_string()).collect();
        let expected = [
            "JOB   NAME            LABELS",
            "7     scripts/脚本/1",
            "1234  dune/x          a=1\\nb",
        ];
        assert_eq!(lines, expected);
    }
}
