//! `jobtrack show`: prints a job, its forecast and its history.

use std::process::ExitCode;

use anstyle::Style;

use super::render;
use super::table::Table;
use super::{CommandContext, forecast, history, resolve, stdio};
use crate::api::Job;
use crate::escape::escape_unprintable;
use crate::job::{JobRef, UtcTime};

#[derive(clap::Args)]
pub(super) struct ShowArgs {
    /// A job number or `PROVIDER/REMOTE_ID`
    job: JobRef,
}

pub(super) async fn run(context: &CommandContext, args: ShowArgs) -> anyhow::Result<ExitCode> {
    let job = resolve::require_job_with_forecast(&context.client, &args.job).await?;
    if context.json {
        stdio::print_json_lines(&[job])?;
        return Ok(ExitCode::SUCCESS);
    }
    stdio::print_lines(&job_lines(&job))?;
    history::print_job_history(context, job.id).await?;
    Ok(ExitCode::SUCCESS)
}

fn job_lines(job: &Job) -> Vec<String> {
    let time = |at: Option<UtcTime>| at.map(|at| format!("{} UTC", render::format_time(at)));
    let plain_style = Style::new();
    let mut table = Table::new(&[]);
    let mut row = |style, key: &str, value: Option<String>| {
        table.add_row(style, [key.to_owned(), value.unwrap_or_else(|| "-".to_owned())]);
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
    row(plain_style, "added by", format_user(job));
    row(plain_style, "registered", time(Some(job.registered_at)));
    row(plain_style, "submitted", time(job.submitted_at));
    row(plain_style, "started", time(job.started_at));
    row(plain_style, "ended", time(job.ended_at));
    row(plain_style, "terminal", time(job.terminal_at));
    row(plain_style, "expires", time(job.expires_at));
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
    let mut lines = table.into_lines();
    if !job.detail.is_empty() {
        let detail = serde_json::to_string_pretty(&job.detail).unwrap_or_default();
        lines.push("detail".to_owned());
        lines.extend(detail.lines().map(|line| format!("  {}", escape_unprintable(line))));
    }
    lines.push(String::new());
    lines
}

/// The user that added a job: the name, else the number.
fn format_user(job: &Job) -> Option<String> {
    let uid = job.added_by_uid.map(|uid| format!("uid {uid}"));
    job.added_by_user.clone().or(uid)
}
