//! `jobtrack status`: prints the status of the daemon and a row for each provider.

use std::process::ExitCode;
use std::time::Duration;

use anstyle::{AnsiColor, Style};

use super::field_list::FieldList;
use super::render::{format_seconds, format_time};
use super::table::ColumnLayout::{FreeText, Left, Right};
use super::table::{Table, TableColumn};
use super::{CommandContext, EXIT_REJECTED, screen, stdio};
use crate::api::{DaemonStatus, ProviderStatus};
use crate::clock::Clock;
use crate::job::{UtcTime, format_duration, format_short_duration};

#[derive(clap::Args)]
pub(super) struct StatusArgs {
    /// Exit with 1 if the daemon or a provider is degraded
    #[arg(long)]
    fail: bool,
}

pub(super) async fn run(context: &CommandContext, args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let status = context.client.status().await?;
    let is_degraded = !status.degraded_reasons.is_empty();
    if context.json {
        stdio::print_json_lines(&[status])?;
    } else {
        let now = Clock::start().utc_now();
        stdio::print_lines(&daemon_lines(&status, now))?;
        stdio::print_lines(&provider_lines(&status, now))?;
    }
    Ok(if args.fail && is_degraded { ExitCode::from(EXIT_REJECTED) } else { ExitCode::SUCCESS })
}

fn daemon_lines(status: &DaemonStatus, now: UtcTime) -> Vec<String> {
    let mut fields = FieldList::default();
    let mut row = |style, name: &str, value: String| fields.add(style, name, &value);
    let uptime = format_short_duration(now.duration_since(status.started_at));
    let (pid, started_at) = (status.pid, format_time(status.started_at));
    row(Style::new(), "daemon", format!("jobtrackd {}, pid {pid}", status.version));
    row(Style::new(), "uptime", format!("{uptime}, since {started_at} UTC"));
    let store = &status.store;
    let mib = store.size_bytes.div_ceil(1 << 20);
    row(Style::new(), "database", format!("{}, {mib} MiB", store.location));
    row(Style::new(), "schema", format!("{}, {}", store.schema_version, store.engine));
    row(Style::new(), "newest event", status.newest_event.to_string());
    row(Style::new(), "active jobs", status.active_jobs.to_string());
    if status.unwritten_changes > 0 {
        row(Style::new(), "unwritten changes", status.unwritten_changes.to_string());
    }
    if status.degraded_reasons.is_empty() {
        row(AnsiColor::Green.on_default(), "health", "ok".to_owned());
    }
    for reason in &status.degraded_reasons {
        row(AnsiColor::Red.on_default(), "degraded", reason.clone());
    }
    fields.into_lines(screen::output_width())
}

fn provider_lines(status: &DaemonStatus, now: UtcTime) -> Vec<String> {
    if status.providers.is_empty() {
        return vec![String::new(), "no providers configured; set DUNE_API_KEY or add [providers.NAME] to the configuration".to_owned()];
    }
    let max_width = screen::output_width();
    let columns = [
        ("PROVIDER", FreeText),
        ("KIND", Left),
        ("ACTIVE", Right),
        ("DUE", Right),
        ("OVERDUE", Right),
        ("IN FLIGHT", Right),
        ("LAST MINUTE", Right),
        ("POLLING", Left),
    ];
    let columns = columns.map(|(heading, layout)| TableColumn { heading: heading.into(), layout });
    let mut table = Table::new(columns.into(), max_width);
    let mut notes = FieldList::default();
    for provider in &status.providers {
        table.add_row(provider_style(provider), &provider_cells(provider));
        for (style, note) in provider_notes(provider, now) {
            notes.add(style, &format!("{}:", provider.provider), &note);
        }
    }
    let mut lines = vec![String::new()];
    lines.extend(table.take_lines());
    lines.push(String::new());
    lines.extend(notes.into_lines(max_width));
    lines
}

fn provider_cells(provider: &ProviderStatus) -> [String; 8] {
    let overdue = Duration::try_from_secs_f64(provider.max_overdue_s).unwrap_or_default();
    [
        provider.provider.to_string(),
        provider.kind.clone().unwrap_or_else(|| "-".to_owned()),
        provider.active_jobs.to_string(),
        provider.due_polls.to_string(),
        format_short_duration(overdue),
        provider.in_flight.to_string(),
        format!("{} of {}", provider.requests_last_minute, provider.requests_per_minute),
        polling_state(provider).to_owned(),
    ]
}

/// In a word; the notes below the table say more.
fn polling_state(provider: &ProviderStatus) -> &'static str {
    if provider.kind.is_none() {
        "not configured"
    } else if provider.pause.is_some() {
        "paused"
    } else if provider.consecutive_failures > 0 {
        "failing"
    } else {
        "ok"
    }
}

fn provider_style(provider: &ProviderStatus) -> Style {
    if provider.pause.is_some() || provider.kind.is_none() {
        AnsiColor::Yellow.on_default()
    } else {
        Style::new()
    }
}

/// What is wrong with a provider, then how the rate limit is used, one sentence each.
fn provider_notes(provider: &ProviderStatus, now: UtcTime) -> Vec<(Style, String)> {
    let yellow = AnsiColor::Yellow.on_default();
    let mut notes = Vec::new();
    if let Some(pause) = &provider.pause {
        let remaining = format_duration(pause.until.duration_since(now));
        notes.push((yellow, format!("paused for {remaining}: {}", pause.reason)));
    }
    if provider.consecutive_failures > 0 {
        let polls = match provider.consecutive_failures {
            1 => "the last poll failed".to_owned(),
            polls => format!("the last {polls} polls failed"),
        };
        let duration = provider.outage_began_at.map(|began| now.duration_since(began));
        let duration = duration.map(|time| format!(", for {}", format_duration(time)));
        // The reason of a pause is the same error.
        let error = provider.last_failed_poll.as_ref().filter(|_| provider.pause.is_none());
        let error = error.map(|failed| format!(": {}", failed.error));
        notes.push((yellow, polls + &duration.unwrap_or_default() + &error.unwrap_or_default()));
    }
    if !provider.unknown_states.is_empty() {
        let states = provider.unknown_states.join(", ");
        notes.push((yellow, format!("unknown states reported: {states}")));
    }
    if provider.kind.is_some() {
        notes.push((Style::new(), describe_use(provider)));
    }
    notes
}

/// The unused part of the rate limit, the price, and the detection delay that they lead to.
fn describe_use(provider: &ProviderStatus) -> String {
    let delay = provider.mean_detection_delay_s.map(format_seconds);
    let delay = delay.map(|delay| format!("mean detection delay {delay}"));
    let price = provider.price.as_ref().map(|price| match provider.price_in_force_s {
        in_force if in_force > 0.0 => format!("price {price} (now {})", format_seconds(in_force)),
        _ => format!("price {price}"),
    });
    let unused = format!("{} of the rate limit unused", describe_unused(provider));
    let parts: Vec<_> = delay.into_iter().chain(price).chain([unused]).collect();
    parts.join(", ")
}

/// The part of the rate limit that was not used in the last minute.
fn describe_unused(provider: &ProviderStatus) -> String {
    let limit = u64::from(provider.requests_per_minute.max(1));
    format!("{} %", u64::from(provider.unused_requests) * 100 / limit)
}
