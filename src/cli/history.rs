//! `jobtrack history`: prints the transitions of one job, or of all jobs, oldest first.
//!
//! Also used by `show`. Each page is printed when it arrives, so that a long history uses little
//! memory.

use std::process::ExitCode;

use super::table::Table;
use super::{CommandContext, render, resolve, stdio};
use crate::api::{ListParams, TransitionEvent};
use crate::job::{EventCursor, JobId, JobRef, ProviderName, State};

const PAGE_SIZE: usize = 1000;

#[derive(clap::Args)]
pub(super) struct HistoryArgs {
    /// A job number or `PROVIDER/REMOTE_ID`; without it, the transitions of all jobs
    job: Option<JobRef>,
    /// Transitions observed since this time: RFC 3339, or a duration before now
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Transitions after this cursor
    #[arg(long, value_name = "CURSOR")]
    after: Option<EventCursor>,
    /// Transitions of this provider's jobs
    #[arg(long, value_name = "PROVIDER", conflicts_with = "job")]
    provider: Option<ProviderName>,
}

pub(super) async fn run(context: &CommandContext, args: HistoryArgs) -> anyhow::Result<ExitCode> {
    let job = match &args.job {
        Some(job) => Some(resolve::require_job(&context.client, job).await?.id),
        None => None,
    };
    let query = ListParams {
        provider: args.provider,
        since: args.since,
        after: args.after.map(String::from),
        ..ListParams::default()
    };
    print_history(context, job, query).await?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn print_job_history(context: &CommandContext, job: JobId) -> anyhow::Result<()> {
    print_history(context, Some(job), ListParams::default()).await
}

async fn print_history(
    context: &CommandContext,
    job: Option<JobId>,
    mut query: ListParams,
) -> anyhow::Result<()> {
    query.limit = Some(PAGE_SIZE);
    let mut print_header = true;
    loop {
        let page = match job {
            Some(id) => context.client.job_history(id, &query).await?,
            None => context.client.history(&query).await?,
        };
        if context.json {
            stdio::print_json_lines(&page.transitions)?;
        } else if !page.transitions.is_empty() {
            stdio::print_lines(&event_lines(&page.transitions, job.is_none(), print_header))?;
            print_header = false;
        } else if print_header && page.next_cursor.is_none() {
            stdio::print_notice("no transitions");
        }
        query.after = page.next_cursor.map(String::from);
        if query.after.is_none() {
            return Ok(());
        }
    }
}

fn event_lines(
    events: &[TransitionEvent],
    with_job_columns: bool,
    with_header: bool,
) -> Vec<String> {
    let columns: &[&str] = match (with_header, with_job_columns) {
        (false, _) => &[],
        (true, true) => &[
            "CURSOR",
            "OBSERVED (UTC)",
            "JOB",
            "NAME",
            "FROM",
            "TO",
            "PROVIDER STATE",
            "EVIDENCE",
            "OCCURRED (UTC)",
            "MESSAGE",
        ],
        (true, false) => &[
            "CURSOR",
            "OBSERVED (UTC)",
            "FROM",
            "TO",
            "PROVIDER STATE",
            "EVIDENCE",
            "OCCURRED (UTC)",
            "MESSAGE",
        ],
    };
    let mut table = Table::new(columns);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    for event in events {
        let mut cells = vec![event.cursor.to_string(), render::format_time(event.observed_at)];
        if with_job_columns {
            cells.push(event.job_id.to_string());
            cells.push(format!("{}/{}", event.provider, event.remote_id));
        }
        cells.extend([
            event.from_state.map_or("-", State::as_str).to_owned(),
            event.to_state.to_string(),
            or_dash(event.provider_state.clone()),
            event.evidence.as_str().to_owned(),
            or_dash(event.occurred_at.map(render::format_time)),
            event.message.clone().unwrap_or_default(),
        ]);
        table.add_row(render::state_style(event.to_state), cells);
    }
    table.into_lines()
}
