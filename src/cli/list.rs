//! `jobtrack list`: jobs, newest first; the active ones, unless told otherwise.

use std::process::ExitCode;

use super::table::Table;
use super::{Context, output, render};
use crate::api::{Job, Query};
use crate::clock::Clock;
use crate::job::{InvalidName, ProviderName, State, Utc, parse_label};

const EXAMPLES: &str = "\
Examples:
  jobtrack list
  jobtrack list --state unsuccessful --since 1d
  jobtrack list --all --provider dune --label team=growth --json";

/// The largest page that is asked for.
const PAGE: usize = 500;

/// The arguments of `list`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// A state, or active, terminal or unsuccessful; may be repeated, any of them counts
    #[arg(long = "state", value_name = "S", value_parser = state, default_value = "active")]
    states: Vec<String>,
    /// Jobs of this provider only
    #[arg(long, value_name = "P")]
    provider: Option<ProviderName>,
    /// Jobs with this label only; may be repeated, all of them count
    #[arg(long = "label", value_name = "K=V", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// Jobs registered since then: RFC 3339, or a duration, meaning ago
    #[arg(long, value_name = "T")]
    since: Option<String>,
    /// Jobs in every state
    #[arg(long, conflicts_with = "states")]
    all: bool,
    /// At most so many, the newest [default: 100; all with --json]
    #[arg(long, value_name = "N")]
    limit: Option<std::num::NonZero<usize>>,
}

fn state(text: &str) -> Result<String, InvalidName> {
    match text {
        "active" | "terminal" | "unsuccessful" => Ok(text.to_owned()),
        name => name.parse::<State>().map(|state| state.to_string()),
    }
}

/// A table that a person reads.
const DEFAULT_LIMIT: usize = 100;

/// Lists the jobs.
pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<ExitCode> {
    let mut query = Query {
        states: if args.all { Vec::new() } else { args.states },
        provider: args.provider,
        labels: args.labels,
        since: args.since,
        ..Query::default()
    };
    let now = Clock::wall();
    let mut table =
        Table::new(&["JOB", "NAME", "STATE", "PROVIDER SAYS", "AGE", "NEXT POLL", "LABELS"]);
    let all = if context.json { usize::MAX } else { DEFAULT_LIMIT };
    let mut left = args.limit.map_or(all, std::num::NonZero::get);
    let more = loop {
        query.limit = Some(left.min(PAGE));
        let page = context.client.jobs(&query).await?;
        left = left.saturating_sub(page.jobs.len());
        if context.json {
            output::print_json(&page.jobs)?;
        } else {
            page.jobs.iter().for_each(|job| add_row(&mut table, job, now));
        }
        query.after = page.next.map(|id| id.0);
        if query.after.is_none() || left == 0 {
            break query.after.is_some();
        }
    };
    if !context.json && table.is_empty() {
        output::note("no jobs; see also --all");
    } else if !context.json {
        output::print(&table.lines())?;
    }
    if more {
        output::note("… and more: use --limit");
    }
    Ok(ExitCode::SUCCESS)
}

fn add_row(table: &mut Table, job: &Job, now: Utc) {
    let next = job.next_poll_at.map_or_else(
        || "-".to_owned(),
        |at| {
            if at > now { format!("in {}", render::span(at.since(now))) } else { "now".to_owned() }
        },
    );
    let cells = [
        job.id.to_string(),
        render::name(job),
        job.state.to_string(),
        job.provider_state.clone().unwrap_or_else(|| "-".to_owned()),
        render::span(now.since(job.registered_at)),
        next,
        render::labels(&job.labels),
    ];
    table.row(render::style(job.state), cells);
}
