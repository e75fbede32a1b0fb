//! `jobtrack list`: lists jobs, newest first; unfinished ones by default.

use std::process::ExitCode;

use super::poll_problems::{UnfinishedJobs, print_present_problems};
use super::table::Table;
use super::{CommandContext, forecast, render, stdio};
use crate::api::{DaemonStatus, Job, ListParams};
use crate::clock::Clock;
use crate::job::{ProviderName, StateFilter, UtcTime, parse_label};

const EXAMPLES: &str = "\
Examples:
  jobtrack list
  jobtrack list --state unsuccessful --since 1d
  jobtrack list --all --provider dune --label team=growth --json";

/// Jobs per request.
const MAX_PAGE_SIZE: usize = 500;

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ListArgs {
    /// A state, or active, terminal or unsuccessful; if repeated, any of them matches
    #[arg(long = "state", value_name = "STATE", default_value = "active")]
    states: Vec<StateFilter>,
    /// Jobs of this provider only
    #[arg(long, value_name = "PROVIDER")]
    provider: Option<ProviderName>,
    /// Jobs with this label only; if repeated, all of them must match
    #[arg(long = "label", value_name = "K=V", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// Jobs added since this time: RFC 3339, or a duration before now
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Jobs in every state
    #[arg(long, conflicts_with = "states")]
    all: bool,
    /// At most N jobs, the newest [default: 100; all with --json]
    #[arg(long, value_name = "N")]
    limit: Option<std::num::NonZero<usize>>,
}

/// Rows of a table without --limit.
const DEFAULT_LIMIT: usize = 100;

pub(super) async fn run(context: &CommandContext, args: ListArgs) -> anyhow::Result<ExitCode> {
    let mut query = ListParams {
        states: if args.all { Vec::new() } else { args.states },
        provider: args.provider,
        labels: args.labels,
        since: args.since,
        ..ListParams::default()
    };
    let now = Clock::start().utc_now();
    let mut table =
        Table::new(&["JOB", "NAME", "STATE", "PROVIDER STATE", "AGE", "NEXT POLL", "LABELS"]);
    let mut unfinished = UnfinishedJobs::default();
    // An error is ignored: the jobs can be listed without it.
    let status = context.client.status().await.ok();
    let default_limit = if context.json { usize::MAX } else { DEFAULT_LIMIT };
    let mut remaining = args.limit.map_or(default_limit, std::num::NonZero::get);
    let has_more = loop {
        query.limit = Some(remaining.min(MAX_PAGE_SIZE));
        let page = context.client.jobs(&query).await?;
        remaining = remaining.saturating_sub(page.jobs.len());
        unfinished.extend(&page.jobs);
        if context.json {
            stdio::print_json_lines(&page.jobs)?;
        } else {
            page.jobs.iter().for_each(|job| add_job_row(&mut table, job, status.as_ref(), now));
        }
        query.after = page.next_cursor.map(|id| id.to_string());
        if query.after.is_none() || remaining == 0 {
            break query.after.is_some();
        }
    };
    if !context.json && table.is_empty() {
        stdio::print_notice("no jobs match; --all lists jobs in every state");
    } else if !context.json {
        stdio::print_lines(&table.into_lines())?;
    }
    if has_more {
        stdio::print_notice("more jobs match; use --limit to list them");
    }
    if let Some(status) = &status {
        print_present_problems(status, &unfinished, now);
    }
    Ok(ExitCode::SUCCESS)
}

fn add_job_row(table: &mut Table, job: &Job, status: Option<&DaemonStatus>, now: UtcTime) {
    let provider = status.and_then(|status| {
        status.providers.iter().find(|provider| provider.provider == job.provider)
    });
    let next_poll = forecast::list_next_poll(job, provider, now);
    let cells = [
        job.id.to_string(),
        render::job_name(job),
        job.state.to_string(),
        job.provider_state.clone().unwrap_or_else(|| "-".to_owned()),
        render::format_duration(now.duration_since(job.registered_at)),
        next_poll,
        render::format_labels(&job.labels),
    ];
    table.add_row(render::state_style(job.state), cells);
}
