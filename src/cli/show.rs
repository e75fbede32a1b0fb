//! `jobtrack show`: all that is known of one job, when it is asked next and why, then its history.

use std::process::ExitCode;

use anstyle::Style;

use super::render::{self, plain};
use super::table::Table;
use super::{Context, history, outlook, output, resolve};
use crate::api::Job;
use crate::job::{JobRef, Utc};

/// The arguments of `show`.
#[derive(clap::Args)]
pub(super) struct Args {
    /// A number, or `PROVIDER/REMOTE_ID`
    job: JobRef,
}

/// Shows the job.
pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<ExitCode> {
    let job = resolve::require_whole(&context.client, &args.job).await?;
    if context.json {
        output::print_json(&[job])?;
        return Ok(ExitCode::SUCCESS);
    }
    output::print(&lines(&job))?;
    history::print_job(context, job.id).await?;
    Ok(ExitCode::SUCCESS)
}

fn lines(job: &Job) -> Vec<String> {
    let time = |at: Option<Utc>| at.map(|at| format!("{} UTC", at.sql()));
    let plain_style = Style::new();
    let mut table = Table::new(&[]);
    let mut row = |style, key: &str, value: Option<String>| {
        table.row(style, [key.to_owned(), value.unwrap_or_else(|| "-".to_owned())]);
    };
    row(plain_style, "job", Some(job.id.to_string()));
    row(plain_style, "name", Some(render::name(job)));
    row(plain_style, "kind", Some(job.kind.clone()));
    row(render::style(job.state), "state", Some(job.state.to_string()));
    row(plain_style, "provider says", job.provider_state.clone());
    row(plain_style, "message", job.message.clone());
    row(plain_style, "labels", Some(render::labels(&job.labels)).filter(|text| !text.is_empty()));
    row(plain_style, "like", Some(job.likeness.names().join("; ")).filter(|text| !text.is_empty()));
    row(plain_style, "added by", job.added_by.map(|uid| format!("uid {uid}")));
    row(plain_style, "registered", time(Some(job.registered_at)));
    row(plain_style, "submitted", time(job.submitted_at));
    row(plain_style, "started", time(job.started_at));
    row(plain_style, "ended", time(job.ended_at));
    row(plain_style, "known to be over", time(job.terminal_at));
    row(plain_style, "expires", time(job.expires_at));
    row(plain_style, "polls", Some(format!("{}, {} failed", job.polls, job.failed_polls)));
    row(plain_style, "last poll", time(job.last_polled_at));
    row(plain_style, "its error", job.last_poll_error.clone());
    match &job.outlook {
        None => row(plain_style, "next poll", time(job.next_poll_at)),
        Some(outlook) => {
            for (key, text) in outlook::rows(outlook, &job.likeness, job.last_poll_error.is_some())
            {
                row(plain_style, key, Some(text));
            }
        }
    }
    let mut lines = table.lines();
    if !job.detail.is_empty() {
        let detail = serde_json::to_string_pretty(&job.detail).unwrap_or_default();
        lines.push("detail".to_owned());
        lines.extend(detail.lines().map(|line| format!("  {}", plain(line))));
    }
    lines.push(String::new());
    lines
}
