//! The columns of a kind of row: one description each, for tables, CSV, `--columns` and `--sort`.
//!
//! `job_columns` and `transition_columns` list them. A column that is also a field of the API has its name.

use anstyle::Style;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::Serialize;

use super::cell::Cell;
use super::table::{ColumnLayout, TableColumn};
use super::time_format::TimeFormat;
use crate::api::ProviderStatus;
use crate::job::UtcTime;

/// What a table or a CSV file has a row for.
pub(super) trait TableRow: Serialize + Sized + Send + Sync + 'static {
    /// In the order in which they are printed.
    const COLUMNS: &'static [Column<Self>];

    /// `PROVIDER/REMOTE_ID` of the job.
    fn job_name(&self) -> String;

    fn style(&self) -> Style;
}

/// A column of rows `T`.
pub(super) struct Column<T: 'static> {
    pub(super) name: &'static str,
    pub(super) heading: &'static str,
    pub(super) shown: Shown,
    pub(super) kind: ColumnKind,
    pub(super) cell: fn(&T, &RowContext) -> Cell,
}

/// What cells depend on besides their row.
#[derive(Debug, Clone)]
pub(super) struct RowContext {
    pub(super) now: UtcTime,
    /// Empty if unknown.
    pub(super) providers: Vec<ProviderStatus>,
}

/// In which tables a column is shown if none are chosen. CSV has all columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    Always,
    /// With `-o wide`.
    Wide,
    /// With `--columns`.
    OnRequest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ColumnKind {
    /// A short text, such as a state.
    Word,
    /// A text that is shortened at the end if the screen is too narrow.
    FreeText,
    /// A text that is shortened in the middle.
    Identifier,
    /// A number or a duration.
    Number,
    Time,
}

impl<T> Column<T> {
    /// The heading names the time zone of times if these do not.
    pub(super) fn table_column(&self, times: &TimeFormat) -> TableColumn {
        let layout = match self.kind {
            ColumnKind::Word | ColumnKind::Time => ColumnLayout::Left,
            ColumnKind::FreeText => ColumnLayout::FreeText,
            ColumnKind::Identifier => ColumnLayout::Identifier,
            ColumnKind::Number => ColumnLayout::Right,
        };
        let zone = if self.kind == ColumnKind::Time && times.is_utc() { " (UTC)" } else { "" };
        TableColumn { heading: format!("{}{zone}", self.heading), layout }
    }
}

/// A column to sort by.
#[derive(Clone)]
pub(super) struct SortKey<T: 'static> {
    column: &'static Column<T>,
    descending: bool,
}

impl<T> SortKey<T> {
    /// Sorts rows; those with equal cells keep their order.
    pub(super) fn sort(&self, rows: &mut Vec<T>, context: &RowContext) {
        let with_cell = |row| ((self.column.cell)(&row, context), row);
        let mut sorted: Vec<_> = rows.drain(..).map(with_cell).collect();
        sorted.sort_by(|(first, _), (second, _)| first.order(second, self.descending));
        rows.extend(sorted.into_iter().map(|(_, row)| row));
    }
}

/// Parses the name of a column.
pub(super) fn column_parser<T: TableRow>() -> impl TypedValueParser<Value = &'static Column<T>> {
    let names = T::COLUMNS.iter().map(|column| column.name);
    PossibleValuesParser::new(names).try_map(|name| find_column(&name))
}

/// Parses the name of a column, with `-` before it for the descending order.
pub(super) fn parse_sort_key<T: TableRow>(text: &str) -> Result<SortKey<T>, String> {
    let (name, descending) = match text.strip_prefix('-') {
        Some(name) => (name, true),
        None => (text, false),
    };
    Ok(SortKey { column: find_column(name)?, descending })
}

pub(super) fn find_column<T: TableRow>(name: &str) -> Result<&'static Column<T>, String> {
    T::COLUMNS.iter().find(|column| column.name == name).ok_or_else(|| {
        let names: Vec<_> = T::COLUMNS.iter().map(|column| column.name).collect();
        format!("no such column; the columns are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Job, TransitionEvent};

    fn names<T: TableRow>() -> Vec<&'static str> {
        T::COLUMNS.iter().map(|column| column.name).collect()
    }

    #[test]
    fn every_column_has_a_name_of_its_own_that_is_documented() {
        let page = include_str!("../../docs/cli.md");
        let section = |command: &str| {
            let heading = format!("\n## jobtrack {command}\n");
            let text = page.split_once(&heading).expect(command).1;
            text.split("\n## ").next().expect("a text")
        };
        for (columns, text) in
            [(names::<Job>(), section("list")), (names::<TransitionEvent>(), section("history"))]
        {
            for (number, name) in columns.iter().enumerate() {
                assert!(!columns[..number].contains(name), "{name} occurs twice");
                assert!(text.contains(&format!("`{name}`")), "{name} is not documented");
            }
        }
    }
}
