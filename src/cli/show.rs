//! `jobtrack show`: prints a job, its forecast and its history.

use std::process::ExitCode;

use anstyle::Style;
use serde::Serialize;

use super::cell::Cell;
use super::columns::{RowContext, find_column};
use super::field_list::FieldList;
use super::output::{LocalTimeArgs, PagerArgs};
use super::time_format::TimeFormat;
use super::{CommandContext, forecast, history, render, resolve, screen, stdio};
use crate::api::{Job, TransitionEvent};
use crate::escape::escape_unprintable;
use crate::job::{JobRef, UtcTime};

#[derive(clap::Args)]
pub(super) struct ShowArgs {
    /// A job number, `PROVIDER/REMOTE_ID` or `REMOTE_ID`
    job: JobRef,
    #[command(flatten)]
    times: LocalTimeArgs,
    #[command(flatten)]
    pager: PagerArgs,
}

/// What `--json` prints: the job as in the API, and its transitions, oldest first.
#[derive(Serialize)]
struct JobWithHistory {
    #[serde(flatten)]
    job: Job,
    transitions: Vec<TransitionEvent>,
}

pub(super) async fn run(context: &CommandContext, args: ShowArgs) -> anyhow::Result<ExitCode> {
    let times = args.times.time_format()?;
    let job = resolve::require_job_with_forecast(&context.client, &args.job).await?;
    let transitions = history::read_job_history(context, job.id).await?;
    if context.json {
        stdio::print_json_lines(&[JobWithHistory { job, transitions }])?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut lines = job_lines(&job, &times);
    lines.extend(history::job_history_lines(&transitions, times));
    let _pager = args.pager.start_for(lines.len());
    stdio::print_lines(&lines)?;
    Ok(ExitCode::SUCCESS)
}

/// One of the durations of a list, with a mark if it goes on.
fn duration_text(job: &Job, column: &str, times: &TimeFormat) -> Option<String> {
    let context = RowContext { now: times.now, providers: Vec::new() };
    let cell = (find_column::<Job>(column).ok()?.cell)(job, &context);
    let text = cell.to_text(times);
    match cell {
        Cell::Missing => None,
        Cell::SecondsSoFar(_) => Some(format!("{text} so far")),
        Cell::Text(_)
        | Cell::Integer(_)
        | Cell::Decimal(_)
        | Cell::Time(_)
        | Cell::TimeAhead { .. }
        | Cell::Seconds(_) => Some(text),
    }
}

fn job_lines(job: &Job, times: &TimeFormat) -> Vec<String> {
    let time = |at: Option<UtcTime>| at.map(|at| times.format_with_zone(at));
    let plain_style = Style::new();
    let mut fields = FieldList::default();
    let mut row = |style, name: &str, value: Option<String>| {
        fields.add(style, name, value.as_deref().unwrap_or("-"));
    };
    row(plain_style, "job", Some(job.id.to_string()));
    row(plain_style, "name", Some(render::job_name(job)));
    row(plain_style, "kind", Some(job.kind.clone()));
    row(render::state_style(job.state), "state", Some(job.state.to_string()));
    row(plain_style, "provider state", job.provider_state.clone());
    row(plain_style, "message", job.message.clone());
    row(
        plain_style,
        "labels",
        Some(render::format_labels(&job.labels)).filter(|text| !text.is_empty()),
    );
    row(
        plain_style,
        "similar to",
        Some(job.similarity_keys.keys().join("; ")).filter(|text| !text.is_empty()),
    );
    row(plain_style, "price", job.price.map(|price| price.to_string()));
    if job.pinned {
        row(plain_style, "pinned", Some("yes: never deleted because of its age".to_owned()));
    }
    row(plain_style, "added by", render::added_by(job));
    row(plain_style, "registered", time(Some(job.registered_at)));
    row(plain_style, "submitted", time(job.submitted_at));
    row(plain_style, "started", time(job.started_at));
    row(plain_style, "ended", time(job.ended_at));
    row(plain_style, "terminal", time(job.terminal_at));
    row(plain_style, "expires", time(job.expires_at));
    for name in ["queued", "ran", "total"] {
        row(plain_style, name, duration_text(job, name, times));
    }
    row(plain_style, "polls", Some(format!("{}, {} failed", job.polls, job.failed_polls)));
    row(plain_style, "last poll", time(job.last_polled_at));
    row(plain_style, "last poll error", job.last_poll_error.clone());
    match &job.forecast {
        None => row(plain_style, "next poll", time(job.next_poll_at)),
        Some(forecast) => {
            for (label, text) in forecast::forecast_rows(forecast, job.last_poll_error.is_some()) {
                row(plain_style, label, Some(text));
            }
        }
    }
    let mut lines = fields.into_lines(screen::output_width());
    if !job.detail.is_empty() {
        let detail = serde_json::to_string_pretty(&job.detail).unwrap_or_default();
        lines.push("detail".to_owned());
        lines.extend(detail.lines().map(|line| format!("  {}", escape_unprintable(line))));
    }
    lines.push(String::new());
    lines
}
