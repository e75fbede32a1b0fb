//! The options that say how rows are printed, and the printing.
//!
//! Used by `list`, `history` and `show`. Rows are printed in parts, as they arrive.

use anyhow::anyhow;
use clap::ValueEnum;
use clap::error::ErrorKind;

use super::columns::{Column, RowContext, Shown, TableRow, column_parser};
use super::screen::{self, Pager};
use super::stdio;
use super::table::Table;
use super::time_format::TimeFormat;
use crate::api::ProviderStatus;
use crate::escape::escape_unprintable;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OutputFormat {
    /// The most important columns
    Table,
    /// More columns
    Wide,
    /// One JSON object per line, as in the API
    Json,
    /// All columns, for spreadsheets and programs
    Csv,
    /// `PROVIDER/REMOTE_ID` of each job
    Name,
}

impl OutputFormat {
    /// Whether the format is for people.
    pub(super) fn is_table(self) -> bool {
        match self {
            Self::Table | Self::Wide => true,
            Self::Json | Self::Csv | Self::Name => false,
        }
    }

    fn shows(self, shown: Shown) -> bool {
        match self {
            Self::Table => shown == Shown::Always,
            Self::Wide => shown != Shown::OnRequest,
            Self::Json | Self::Csv | Self::Name => true,
        }
    }
}

#[derive(clap::Args)]
pub(super) struct OutputArgs<T: TableRow> {
    /// Output format [default: table]
    #[arg(short, long, value_name = "FORMAT", value_enum)]
    output: Option<OutputFormat>,
    /// Columns of the table or the CSV file, in this order
    #[arg(
        long,
        value_name = "COLUMN,…",
        value_delimiter = ',',
        value_parser = column_parser::<T>(),
        hide_possible_values = true
    )]
    columns: Vec<&'static Column<T>>,
    #[command(flatten)]
    times: LocalTimeArgs,
    #[command(flatten)]
    pager: PagerArgs,
}

#[derive(clap::Args)]
pub(super) struct LocalTimeArgs {
    /// Print times in the local time zone, and read dates and times without a zone as local ones; else both
    /// are in UTC
    #[arg(long)]
    local: bool,
}

impl LocalTimeArgs {
    pub(super) fn time_format(&self) -> anyhow::Result<TimeFormat> {
        TimeFormat::new(self.local)
    }
}

#[derive(clap::Args)]
pub(super) struct PagerArgs {
    /// Print without a pager
    #[arg(long)]
    no_pager: bool,
}

impl PagerArgs {
    /// The pager, if so many lines need one.
    pub(super) fn start_for(&self, lines: usize) -> Option<Pager> {
        if self.no_pager { None } else { Pager::start_for(lines) }
    }
}

impl<T: TableRow> OutputArgs<T> {
    pub(super) fn is_json(&self) -> bool {
        self.output == Some(OutputFormat::Json)
    }

    /// # Errors
    /// If two options contradict each other.
    pub(super) fn format(&self, json: bool) -> anyhow::Result<OutputFormat> {
        let format = match (self.output, json) {
            (None, false) => OutputFormat::Table,
            (None | Some(OutputFormat::Json), true) => OutputFormat::Json,
            (Some(format), false) => format,
            (Some(_), true) => return Err(usage_error("--json is another format than --output")),
        };
        let has_columns = format.is_table() || format == OutputFormat::Csv;
        if !self.columns.is_empty() && !has_columns {
            return Err(usage_error("--columns needs the format table, wide or csv"));
        }
        Ok(format)
    }

    pub(super) fn time_format(&self) -> anyhow::Result<TimeFormat> {
        self.times.time_format()
    }

    pub(super) fn start_pager(&self, format: OutputFormat, lines: usize) -> Option<Pager> {
        if format.is_table() { self.pager.start_for(lines) } else { None }
    }

    /// The columns that were chosen, if any.
    pub(super) fn columns(&self) -> Option<Vec<&'static Column<T>>> {
        Some(self.columns.clone()).filter(|columns| !columns.is_empty())
    }
}

fn usage_error(text: &str) -> anyhow::Error {
    clap::Error::raw(ErrorKind::ArgumentConflict, format!("{text}\n")).into()
}

/// The columns that are shown if none are chosen.
pub(super) fn default_columns<T: TableRow>(format: OutputFormat) -> Vec<&'static Column<T>> {
    T::COLUMNS.iter().filter(|column| format.shows(column.shown)).collect()
}

/// Prints rows in one format.
pub(super) struct RowPrinter<T: TableRow> {
    format: OutputFormat,
    columns: Vec<&'static Column<T>>,
    times: TimeFormat,
    context: RowContext,
    table: Table,
    is_csv_header_due: bool,
}

impl<T: TableRow> RowPrinter<T> {
    pub(super) fn new(
        format: OutputFormat,
        columns: Vec<&'static Column<T>>,
        times: TimeFormat,
        providers: Vec<ProviderStatus>,
    ) -> Self {
        let headings = columns.iter().map(|column| column.table_column(&times)).collect();
        let table = Table::new(headings, screen::output_width());
        let context = RowContext { now: times.now, providers };
        Self { format, columns, times, context, table, is_csv_header_due: true }
    }

    pub(super) fn context(&self) -> &RowContext {
        &self.context
    }

    pub(super) fn print(&mut self, rows: &[T]) -> anyhow::Result<()> {
        match self.format {
            OutputFormat::Json => stdio::print_json_lines(rows)?,
            OutputFormat::Csv => stdio::print_lines(&self.csv_lines(rows)?)?,
            OutputFormat::Name => {
                let names = rows.iter().map(|row| escape_unprintable(&row.job_name()));
                stdio::print_lines(&names.collect::<Vec<_>>())?;
            }
            OutputFormat::Table | OutputFormat::Wide => {
                stdio::print_lines(&self.table_lines(rows))?;
            }
        }
        Ok(())
    }

    pub(super) fn table_lines(&mut self, rows: &[T]) -> Vec<String> {
        for row in rows {
            let cells = self.columns.iter().map(|column| (column.cell)(row, &self.context));
            let cells: Vec<_> = cells.map(|cell| cell.to_text(&self.times)).collect();
            self.table.add_row(row.style(), &cells);
        }
        self.table.take_lines()
    }

    fn csv_lines(&mut self, rows: &[T]) -> anyhow::Result<Vec<String>> {
        let mut csv = csv::Writer::from_writer(Vec::new());
        if std::mem::take(&mut self.is_csv_header_due) {
            csv.write_record(self.columns.iter().map(|column| column.name))?;
        }
        for row in rows {
            let cells = self.columns.iter().map(|column| (column.cell)(row, &self.context));
            csv.write_record(cells.map(|cell| cell.to_csv(&self.times)))?;
        }
        let text = csv.into_inner().map_err(|error| anyhow!("cannot write CSV: {error}"))?;
        // No cell has a line break: they are escaped.
        Ok(String::from_utf8(text)?.lines().map(str::to_owned).collect())
    }
}
