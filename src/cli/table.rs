//! Aligned columns without borders, with a bold header.
//!
//! Rows may be printed in parts: the columns of a later part are at least as wide as those before. If the
//! lines are longer than the screen is wide, the columns of free text are shortened, the widest first.

use anstyle::Style;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::escape::escape_unprintable;

/// A heading, and how the cells below it are set.
#[derive(Debug, Clone)]
pub(super) struct TableColumn {
    pub(super) heading: String,
    pub(super) layout: ColumnLayout,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ColumnLayout {
    Left,
    Right,
    /// Left-aligned; shortened at the end if the line would be too long.
    FreeText,
    /// Left-aligned; shortened in the middle if the line would be too long, because identifiers often differ at the
    /// end only.
    Identifier,
}

/// The rows that are not printed yet.
pub(super) struct Table {
    columns: Vec<TableColumn>,
    /// The widest cell of each column so far, its heading included.
    widths: Vec<usize>,
    max_width: Option<usize>,
    rows: Vec<(Style, Vec<String>)>,
    is_header_due: bool,
}

impl Table {
    /// Blanks between two columns.
    const GAP: usize = 2;
    /// No column is shortened to less.
    const MIN_WIDTH: usize = 8;

    /// A table whose lines are at most `max_width` columns of a terminal wide, if that is possible.
    pub(super) fn new(columns: Vec<TableColumn>, max_width: Option<usize>) -> Self {
        let header: Vec<_> = columns.iter().map(|column| column.heading.clone()).collect();
        let widths = vec![0; columns.len()];
        let mut table = Self { columns, widths, max_width, rows: Vec::new(), is_header_due: true };
        table.add_row(Style::new().bold(), &header);
        table
    }

    pub(super) fn add_row(&mut self, style: Style, cells: &[String]) {
        let cells: Vec<_> = cells.iter().map(|cell| escape_unprintable(cell)).collect();
        for (width, cell) in self.widths.iter_mut().zip(&cells) {
            *width = cell.width().max(*width);
        }
        self.rows.push((style, cells));
    }

    /// The lines of the rows since the last call; before the first of them the header.
    pub(super) fn take_lines(&mut self) -> Vec<String> {
        let widths = self.fitting_widths();
        let rows = std::mem::take(&mut self.rows);
        let is_header_due = std::mem::take(&mut self.is_header_due);
        let lines = rows.iter().enumerate().map(|(number, (style, cells))| {
            let is_header = is_header_due && number == 0;
            let mut line = String::new();
            for ((cell, column), width) in cells.iter().zip(&self.columns).zip(&widths) {
                let cell = match column.layout {
                    ColumnLayout::Left | ColumnLayout::Right => cell.clone(),
                    ColumnLayout::FreeText => shorten(cell, *width, 0),
                    ColumnLayout::Identifier if is_header => shorten(cell, *width, 0),
                    ColumnLayout::Identifier => shorten(cell, *width, width.saturating_sub(1) / 2),
                };
                let blanks = " ".repeat(width.saturating_sub(cell.width()));
                let (before, after) = match column.layout {
                    ColumnLayout::Right => (blanks.as_str(), ""),
                    ColumnLayout::Left | ColumnLayout::FreeText | ColumnLayout::Identifier => {
                        ("", blanks.as_str())
                    }
                };
                line.extend([before, &cell, after, &" ".repeat(Self::GAP)]);
            }
            format!("{style}{}{style:#}", line.trim_end())
        });
        lines.collect()
    }

    /// The widths of the columns, with those of free text shortened until a line fits.
    fn fitting_widths(&self) -> Vec<usize> {
        let mut widths = self.widths.clone();
        let gaps = widths.len().saturating_sub(1) * Self::GAP;
        let Some(available) = self.max_width.map(|width| width.saturating_sub(gaps)) else {
            return widths;
        };
        while widths.iter().sum::<usize>() > available {
            let texts = self.columns.iter().zip(&mut widths).filter(|(column, width)| {
                let is_text = match column.layout {
                    ColumnLayout::FreeText | ColumnLayout::Identifier => true,
                    ColumnLayout::Left | ColumnLayout::Right => false,
                };
                is_text && **width > Self::MIN_WIDTH
            });
            let Some((_, widest)) = texts.max_by_key(|(_, width)| **width) else { break };
            *widest -= 1;
        }
        widths
    }
}

/// The text without as many characters as are too many, with `…` in their place. The last `tail_width` columns are
/// kept.
fn shorten(text: &str, max_width: usize, tail_width: usize) -> String {
    if text.width() <= max_width {
        return text.to_owned();
    }
    let head_width = max_width.saturating_sub(tail_width + 1);
    let head = fitting_prefix(text.chars(), head_width);
    let tail: String = fitting_prefix(text.chars().rev(), tail_width).chars().rev().collect();
    format!("{head}…{tail}")
}

fn fitting_prefix(characters: impl Iterator<Item = char>, max_width: usize) -> String {
    let mut width = 0;
    let fits = |character: &char| {
        width += character.width().unwrap_or(0);
        width <= max_width
    };
    characters.take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;

    use super::*;

    fn table(max_width: Option<usize>) -> Table {
        use ColumnLayout::{FreeText, Identifier, Left, Right};
        let columns = [("JOB", Left), ("NAME", Identifier), ("POLLS", Right), ("LABELS", FreeText)];
        let columns =
            columns.map(|(heading, layout)| TableColumn { heading: heading.into(), layout });
        Table::new(columns.into(), max_width)
    }

    fn plain_lines(table: &mut Table, rows: &[[&str; 4]]) -> Vec<String> {
        for row in rows {
            table.add_row(Style::new(), &row.map(str::to_owned));
        }
        table.take_lines().iter().map(|line| strip_str(line).to_string()).collect()
    }

    #[test]
    fn columns_are_aligned_without_trailing_spaces() {
        let rows = [["7", "scripts/脚本/1", "12", ""], ["1234", "dune/x", "3", "a=1\nb"]];
        let expected = [
            "JOB   NAME            POLLS  LABELS",
            "7     scripts/脚本/1     12",
            "1234  dune/x              3  a=1\\nb",
        ];
        assert_eq!(plain_lines(&mut table(None), &rows), expected);
    }

    #[test]
    fn a_later_part_has_no_header_and_keeps_the_widths() {
        let mut table = table(None);
        plain_lines(&mut table, &[["7", "dune/long", "1", ""]]);
        assert_eq!(
            plain_lines(&mut table, &[["8", "dune/x", "2", "a=1"]]),
            ["8    dune/x         2  a=1"]
        );
    }

    #[test]
    fn the_widest_free_text_is_shortened_to_the_width_of_the_screen() {
        let row = ["7", "dune/01GBM4W2N0NMCGPZYW8AYK4YF1", "12", "team=growth"];
        let lines = plain_lines(&mut table(Some(40)), &[row]);
        assert_eq!(lines[1], "7    dune/01…AYK4YF1     12  team=growth");
        let lines = plain_lines(&mut table(Some(32)), &[row]);
        assert_eq!(lines[1], "7    dune…4YF1     12  team=gro…");
        let lines = plain_lines(&mut table(Some(5)), &[["7", "脚本脚本脚本", "12", ""]]);
        assert_eq!(lines[1], "7    脚本…本      12", "a wide character is not cut in two");
    }
}
