//! `jobtrack list`: lists jobs, newest first; unfinished ones by default.

use std::num::NonZero;
use std::process::ExitCode;
use std::time::Duration;

use super::CommandContext;
use super::columns::{RowContext, SortKey, parse_sort_key};
use super::failing_jobs::UnfinishedJobs;
use super::output::{OutputArgs, RowPrinter, default_columns};
use super::problem_notices::present_problems;
use crate::api::{Job, ListParams};
use crate::job::{ProviderName, StateFilter, TimeExpression, parse_label};

const EXAMPLES: &str = "\
Examples:
  jobtrack list
  jobtrack list --state unsuccessful --since yesterday
  jobtrack list --ended-since '2 hours ago' --sort=-ran -o wide
  jobtrack list --all --provider dune --label team=growth --json
  jobtrack list --all --columns id,state,started_at,ran -o csv > jobs.csv
  jobtrack list --label batch=7 -o name | jobtrack cancel -";

/// Jobs per request.
const MAX_PAGE_SIZE: usize = 500;
/// How long a list waits for the status of the providers.
const STATUS_TIMEOUT: Duration = Duration::from_secs(1);
/// Rows of a table without --limit.
const DEFAULT_LIMIT: usize = 100;

#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct ListArgs {
    /// A state, or active, terminal or unsuccessful; if repeated, any of them matches [default: active;
    /// terminal with --ended-since]
    #[arg(long = "state", value_name = "STATE")]
    states: Vec<StateFilter>,
    /// Jobs of this provider only
    #[arg(long, value_name = "PROVIDER")]
    provider: Option<ProviderName>,
    /// Jobs with this label only; if repeated, all of them must match
    #[arg(long = "label", value_name = "K=V", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// Jobs registered, that is added to jobtrack, at this time or later
    #[arg(long, value_name = "TIME")]
    since: Option<TimeExpression>,
    /// Jobs registered before this time
    #[arg(long, value_name = "TIME")]
    until: Option<TimeExpression>,
    /// Finished jobs whose end was recorded at this time or later
    #[arg(long, value_name = "TIME")]
    ended_since: Option<TimeExpression>,
    /// Jobs in every state
    #[arg(long, conflicts_with = "states")]
    all: bool,
    /// At most N jobs, the first in the order of the list [default: 100 in a table, else all]
    #[arg(long, value_name = "N")]
    limit: Option<NonZero<usize>>,
    /// Sort by this column instead of newest first; -COLUMN is descending
    #[arg(
        long,
        value_name = "COLUMN",
        allow_hyphen_values = true,
        value_parser = parse_sort_key::<Job>
    )]
    sort: Option<SortKey<Job>>,
    #[command(flatten)]
    pub(super) output: OutputArgs<Job>,
}

pub(super) async fn run(context: &CommandContext, args: ListArgs) -> anyhow::Result<ExitCode> {
    let format = args.output.format(context.json)?;
    let times = args.output.time_format()?;
    let columns = args.output.columns().unwrap_or_else(|| default_columns(format));
    // Without the status, of which an error is ignored, the jobs can be listed all the same.
    let answer = tokio::time::timeout(STATUS_TIMEOUT, context.client.status()).await;
    let providers = answer.ok().and_then(Result::ok).map(|status| status.providers);
    let providers = providers.unwrap_or_default();
    let mut printer = RowPrinter::new(format, columns, times.clone(), providers);
    let default_limit = if format.is_table() { DEFAULT_LIMIT } else { usize::MAX };
    let limit = args.limit.map_or(default_limit, NonZero::get);
    let query = ListParams {
        states: match (args.all, args.states, args.ended_since) {
            (true, ..) => Vec::new(),
            (false, states, _) if !states.is_empty() => states,
            (false, _, Some(_)) => vec![StateFilter::Terminal],
            (false, _, None) => vec![StateFilter::Active],
        },
        provider: args.provider,
        labels: args.labels,
        since: args.since.map(|time| times.resolve(time)),
        until: args.until.map(|time| times.resolve(time)),
        ended_since: args.ended_since.map(|time| times.resolve(time)),
        ..ListParams::default()
    };
    let mut unfinished = UnfinishedJobs::default();
    let has_more = if format.is_table() || args.sort.is_some() {
        let row_context = printer.context();
        let sort = args.sort.as_ref().map(|key| |jobs: &mut Vec<Job>| key.sort(jobs, row_context));
        let (jobs, has_more) = read_jobs(context, query, limit, sort).await?;
        if jobs.is_empty() && format.is_table() {
            let hint = if args.all { "" } else { "; --all lists jobs in every state" };
            context.print_notice(&format!("no jobs match{hint}"));
            return Ok(ExitCode::SUCCESS);
        }
        let _pager = args.output.start_pager(format, jobs.len() + 1);
        printer.print(&jobs)?;
        unfinished.extend(&jobs);
        has_more
    } else {
        print_pages(context, query, limit, &mut printer, &mut unfinished).await?
    };
    if has_more {
        context.print_notice("more jobs match; use --limit to list them");
    }
    let RowContext { now, providers } = printer.context();
    for notice in present_problems(providers, &unfinished, *now) {
        context.print_notice(&notice);
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints jobs as they arrive. Returns whether more than `limit` match.
async fn print_pages(
    context: &CommandContext,
    mut query: ListParams,
    limit: usize,
    printer: &mut RowPrinter<Job>,
    unfinished: &mut UnfinishedJobs,
) -> anyhow::Result<bool> {
    let mut remaining = limit;
    loop {
        query.limit = Some(remaining.min(MAX_PAGE_SIZE));
        let page = context.client.jobs(&query).await?;
        remaining = remaining.saturating_sub(page.jobs.len());
        printer.print(&page.jobs)?;
        unfinished.extend(&page.jobs);
        query.after = page.next_cursor.map(|id| id.to_string());
        if query.after.is_none() || remaining == 0 {
            return Ok(query.after.is_some());
        }
    }
}

/// The first `limit` jobs, and whether more match.
async fn read_jobs(
    context: &CommandContext,
    mut query: ListParams,
    limit: usize,
    sort: Option<impl Fn(&mut Vec<Job>)>,
) -> anyhow::Result<(Vec<Job>, bool)> {
    let mut jobs = Vec::new();
    let mut has_more = false;
    loop {
        let missing = if sort.is_some() { MAX_PAGE_SIZE } else { limit - jobs.len() };
        query.limit = Some(missing.min(MAX_PAGE_SIZE));
        let page = context.client.jobs(&query).await?;
        jobs.extend(page.jobs);
        query.after = page.next_cursor.map(|id| id.to_string());
        if let Some(sort) = &sort {
            // Any job may be the first, but no more than `limit` of those that are known.
            let is_last = query.after.is_none();
            if is_last || jobs.len() / 2 > limit.saturating_add(MAX_PAGE_SIZE) {
                sort(&mut jobs);
                has_more |= jobs.len() > limit;
                jobs.truncate(limit);
            }
            if is_last {
                return Ok((jobs, has_more));
            }
        } else if query.after.is_none() || jobs.len() >= limit {
            return Ok((jobs, query.after.is_some()));
        }
    }
}
