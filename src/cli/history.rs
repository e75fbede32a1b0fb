//! `jobtrack history`: prints the transitions of one job, or of all jobs, oldest first.
//!
//! Also used by `show`. Each page is printed when it arrives, so that a long history uses little
//! memory.

use std::num::NonZero;
use std::process::ExitCode;

use super::columns::{Column, TableRow as _};
use super::output::{OutputArgs, OutputFormat, RowPrinter, default_columns};
use super::screen::Pager;
use super::time_format::TimeFormat;
use super::{CommandContext, resolve};
use crate::api::{ListParams, TransitionEvent, TransitionList};
use crate::job::{
    EventCursor, JobId, JobRef, ProviderName, StateFilter, TimeExpression, parse_label,
};

/// Transitions per request.
const PAGE_SIZE: usize = 1000;

const EXAMPLES: &str = "\
Examples:
  jobtrack history 17
  jobtrack history --since today --state failed --label team=growth
  jobtrack history --reverse --limit 20
  jobtrack history --since 2026-11-01 --until 2026-12-01 -o csv > november.csv";

#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct HistoryArgs {
    /// A job number, `PROVIDER/REMOTE_ID` or `REMOTE_ID`; without it, the transitions of all jobs
    job: Option<JobRef>,
    /// Transitions observed at this time or later
    #[arg(long, value_name = "TIME")]
    since: Option<TimeExpression>,
    /// Transitions observed before this time
    #[arg(long, value_name = "TIME")]
    until: Option<TimeExpression>,
    /// Transitions after this cursor
    #[arg(long, value_name = "CURSOR")]
    after: Option<EventCursor>,
    /// Transitions of this provider's jobs
    #[arg(long, value_name = "PROVIDER", conflicts_with = "job")]
    provider: Option<ProviderName>,
    /// Transitions into this state, or into an active, terminal or unsuccessful one; if repeated, any of
    /// them matches
    #[arg(long = "state", value_name = "STATE")]
    states: Vec<StateFilter>,
    /// Transitions of jobs with this label; if repeated, all labels must match
    #[arg(long = "label", value_name = "K=V", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// At most N transitions: the newest; with --after and without --reverse, the first after the cursor
    #[arg(long, value_name = "N")]
    limit: Option<NonZero<usize>>,
    /// Print the newest transition first
    #[arg(long)]
    reverse: bool,
    #[command(flatten)]
    pub(super) output: OutputArgs<TransitionEvent>,
}

pub(super) async fn run(context: &CommandContext, args: HistoryArgs) -> anyhow::Result<ExitCode> {
    let format = args.output.format(context.json)?;
    let times = args.output.time_format()?;
    let job = match &args.job {
        Some(job) => Some(resolve::require_job(&context.client, job).await?.id),
        None => None,
    };
    let has_cursor = args.after.is_some();
    let mut reader = HistoryReader {
        context,
        job,
        query: ListParams {
            states: args.states,
            provider: args.provider,
            labels: args.labels,
            since: args.since.map(|time| times.resolve(time)),
            until: args.until.map(|time| times.resolve(time)),
            after: args.after.map(String::from),
            newest_first: args.reverse,
            ..ListParams::default()
        },
        remaining: args.limit.map_or(usize::MAX, NonZero::get),
        is_complete: false,
    };
    let columns = args.output.columns().unwrap_or_else(|| shown_columns(format, job.is_some()));
    let mut printer = RowPrinter::new(format, columns, times, Vec::new());
    if args.limit.is_some() && !args.reverse && !has_cursor {
        // The newest ones are found from the end, and printed in the other order.
        reader.query.newest_first = true;
        let mut newest = reader.read_all().await?;
        newest.reverse();
        let _pager = args.output.start_pager(format, newest.len() + 1);
        print_part(context, &mut printer, format, &newest, true)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut pager: Option<Pager> = None;
    let mut is_first = true;
    while let Some(page) = reader.next_page().await? {
        let lines = if reader.is_complete { page.len() + 1 } else { usize::MAX };
        if is_first {
            pager = args.output.start_pager(format, lines);
        }
        print_part(context, &mut printer, format, &page, std::mem::take(&mut is_first))?;
    }
    drop(pager);
    Ok(ExitCode::SUCCESS)
}

fn print_part(
    context: &CommandContext,
    printer: &mut RowPrinter<TransitionEvent>,
    format: OutputFormat,
    transitions: &[TransitionEvent],
    is_first: bool,
) -> anyhow::Result<()> {
    if !transitions.is_empty() || !format.is_table() {
        printer.print(transitions)?;
    } else if is_first {
        context.print_notice("no transitions");
    }
    Ok(())
}

/// The columns that are shown if none are chosen. A table of one job has the evidence instead of what is the same in
/// each row.
fn shown_columns(format: OutputFormat, of_one_job: bool) -> Vec<&'static Column<TransitionEvent>> {
    if !of_one_job || !format.is_table() {
        return default_columns(format);
    }
    let default = default_columns::<TransitionEvent>(format);
    let is_shown = |column: &&Column<TransitionEvent>| match column.name {
        "job_id" | "name" => false,
        "evidence" => true,
        name => default.iter().any(|column| column.name == name),
    };
    TransitionEvent::COLUMNS.iter().filter(is_shown).collect()
}

/// The lines with the transitions of one job, for `show`.
pub(super) fn job_history_lines(transitions: &[TransitionEvent], times: TimeFormat) -> Vec<String> {
    let format = OutputFormat::Table;
    let columns = shown_columns(format, true);
    RowPrinter::new(format, columns, times, Vec::new()).table_lines(transitions)
}

/// All transitions of a job, oldest first.
pub(super) async fn read_job_history(
    context: &CommandContext,
    job: JobId,
) -> anyhow::Result<Vec<TransitionEvent>> {
    let query = ListParams::default();
    let remaining = usize::MAX;
    HistoryReader { context, job: Some(job), query, remaining, is_complete: false }.read_all().await
}

/// Reads transitions page by page.
struct HistoryReader<'a> {
    context: &'a CommandContext,
    job: Option<JobId>,
    query: ListParams,
    remaining: usize,
    is_complete: bool,
}

impl HistoryReader<'_> {
    async fn next_page(&mut self) -> anyhow::Result<Option<Vec<TransitionEvent>>> {
        if self.is_complete {
            return Ok(None);
        }
        self.query.limit = Some(self.remaining.min(PAGE_SIZE));
        let TransitionList { transitions, next_cursor } = match self.job {
            Some(id) => self.context.client.job_history(id, &self.query).await?,
            None => self.context.client.history(&self.query).await?,
        };
        self.remaining = self.remaining.saturating_sub(transitions.len());
        self.is_complete = next_cursor.is_none() || self.remaining == 0;
        if self.query.newest_first {
            self.query.before = next_cursor;
        } else if next_cursor.is_some() {
            self.query.after = next_cursor.map(String::from);
        }
        Ok(Some(transitions))
    }

    async fn read_all(mut self) -> anyhow::Result<Vec<TransitionEvent>> {
        let mut all = Vec::new();
        while let Some(page) = self.next_page().await? {
            all.extend(page);
        }
        Ok(all)
    }
}
