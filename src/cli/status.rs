//! `jobtrack status`: how the daemon is, and a row a provider.

use std::process::ExitCode;

use anstyle::{AnsiColor, Style};

use super::render::{plain, span, span_in_words};
use super::table::Table;
use super::{Context, REFUSED, output};
use crate::api::{ProviderStatus, Status};
use crate::clock::Clock;
use crate::job::Utc;

/// The arguments of `status`.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Exit 1 if something is wrong, a provider that gives no answers included
    #[arg(long)]
    fail: bool,
}

/// Shows the status.
pub(super) async fn run(context: &Context, args: &Args) -> anyhow::Result<ExitCode> {
    let status = context.client.status().await?;
    let unwell = !status.degraded.is_empty();
    if context.json {
        output::print_json(&[status])?;
    } else {
        let now = Clock::wall();
        output::print(&daemon(&status, now))?;
        output::print(&providers(&status, now))?;
    }
    Ok(if args.fail && unwell { ExitCode::from(REFUSED) } else { ExitCode::SUCCESS })
}

fn daemon(status: &Status, now: Utc) -> Vec<String> {
    let mut table = Table::new(&[]);
    let mut row = |style, key: &str, value| table.row(style, [key.to_owned(), value]);
    let up = span(now.since(status.started_at));
    let (pid, since) = (status.pid, status.started_at.sql());
    row(Style::new(), "daemon", format!("jobtrackd {}, pid {pid}", status.version));
    row(Style::new(), "up", format!("{up}, since {since} UTC"));
    row(Style::new(), "database", status.database.clone());
    let (schema, sqlite) = (status.schema_version, &status.sqlite_version);
    row(Style::new(), "schema", format!("{schema}, SQLite {sqlite}"));
    row(Style::new(), "newest transition", status.newest_seq.to_string());
    row(Style::new(), "active jobs", status.active_jobs.to_string());
    if status.unwritten_changes > 0 {
        row(Style::new(), "unwritten changes", status.unwritten_changes.to_string());
    }
    if status.degraded.is_empty() {
        row(AnsiColor::Green.on_default(), "health", "well".to_owned());
    }
    for reason in &status.degraded {
        row(AnsiColor::Red.on_default(), "degraded", reason.clone());
    }
    table.lines()
}

fn providers(status: &Status, now: Utc) -> Vec<String> {
    if status.providers.is_empty() {
        return vec![String::new(), "no providers are configured".to_owned()];
    }
    let mut table = Table::new(&[
        "PROVIDER",
        "KIND",
        "ACTIVE",
        "DUE",
        "LATE",
        "IN FLIGHT",
        "LAST MINUTE",
        "FAILING",
        "PAUSED",
    ]);
    for one in &status.providers {
        let paused = one
            .paused
            .as_ref()
            .map(|pause| format!("{}, for {}", pause.reason, span(pause.until.since(now))));
        let failing = match one.failures_in_a_row {
            0 => "-".to_owned(),
            polls => match one.outage_since {
                Some(since) => format!("{polls} polls, for {}", span(now.since(since))),
                None => format!("{polls} polls"),
            },
        };
        let style = if paused.is_some() || one.kind.is_none() {
            AnsiColor::Yellow.on_default()
        } else {
            Style::new()
        };
        let cells = [
            one.provider.to_string(),
            one.kind.clone().unwrap_or_else(|| "not configured".to_owned()),
            one.active_jobs.to_string(),
            one.due_polls.to_string(),
            format!("{:.1}s", one.late_s),
            one.in_flight.to_string(),
            format!("{} of {}", one.sent_last_minute, one.requests_per_minute),
            failing,
            paused.unwrap_or_else(|| "-".to_owned()),
        ];
        table.row(style, cells);
    }
    let mut lines = vec![String::new()];
    lines.extend(table.lines());
    lines.extend(status.providers.iter().filter_map(delay));
    lines.extend(status.providers.iter().filter_map(unknown_words));
    lines
}

fn delay(one: &ProviderStatus) -> Option<String> {
    let late = span_in_words(one.detection_delay_s?);
    Some(format!("{}: ends are seen {late} late on average", one.provider))
}

fn unknown_words(one: &ProviderStatus) -> Option<String> {
    let words = plain(&one.unknown_words.join(", "));
    (!words.is_empty()).then(|| {
        let yellow = AnsiColor::Yellow.on_default();
        format!("{yellow}{} says words that are not known: {words}{yellow:#}", one.provider)
    })
}
