//! `jobtrack status`: prints the status of the daemon and a row for each provider.

use std::process::ExitCode;

use anstyle::{AnsiColor, Style};

use super::render::{format_duration, format_seconds, format_time};
use super::table::Table;
use super::{CommandContext, EXIT_REJECTED, stdio};
use crate::api::{DaemonStatus, ProviderStatus};
use crate::clock::Clock;
use crate::escape::escape_unprintable;
use crate::job::UtcTime;

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
    let mut table = Table::new(&[]);
    let mut row = |style, key: &str, value| table.add_row(style, [key.to_owned(), value]);
    let uptime = format_duration(now.duration_since(status.started_at));
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
    table.into_lines()
}

fn provider_lines(status: &DaemonStatus, now: UtcTime) -> Vec<String> {
    if status.providers.is_empty() {
        return vec![String::new(), "no providers configured; set DUNE_API_KEY or add [providers.NAME] to the configuration".to_owned()];
    }
    let mut table = Table::new(&[
        "PROVIDER",
        "KIND",
        "ACTIVE",
        "DUE",
        "OVERDUE",
        "IN FLIGHT",
        "LAST MINUTE",
        "UNUSED",
        "PRICE",
        "FAILING",
        "PAUSED",
    ]);
    for provider in &status.providers {
        let paused = provider.pause.as_ref().map(|pause| {
            let remaining = format_duration(pause.until.duration_since(now));
            format!("for {remaining}: {}", pause.reason)
        });
        let failing = match provider.consecutive_failures {
            0 => "-".to_owned(),
            polls => match provider.outage_began_at {
                Some(since) => {
                    format!("{polls} polls in {}", format_duration(now.duration_since(since)))
                }
                None => format!("{polls} polls"),
            },
        };
        let style = if paused.is_some() || provider.kind.is_none() {
            AnsiColor::Yellow.on_default()
        } else {
            Style::new()
        };
        let cells = [
            provider.provider.to_string(),
            provider.kind.clone().unwrap_or_else(|| "not configured".to_owned()),
            provider.active_jobs.to_string(),
            provider.due_polls.to_string(),
            format!("{:.1}s", provider.max_overdue_s),
            provider.in_flight.to_string(),
            format!("{} of {}", provider.requests_last_minute, provider.requests_per_minute),
            describe_unused(provider),
            describe_price(provider),
            failing,
            paused.unwrap_or_else(|| "-".to_owned()),
        ];
        table.add_row(style, cells);
    }
    let mut lines = vec![String::new()];
    lines.extend(table.into_lines());
    lines.extend(status.providers.iter().filter_map(detection_delay_line));
    lines.extend(status.providers.iter().filter_map(unknown_states_line));
    lines
}

/// The part of the rate limit that was not used in the last minute.
fn describe_unused(provider: &ProviderStatus) -> String {
    let limit = u64::from(provider.requests_per_minute.max(1));
    format!("{} %", u64::from(provider.unused_requests) * 100 / limit)
}

/// The setting, and the price in force if jobs have to wait.
fn describe_price(provider: &ProviderStatus) -> String {
    let setting = provider.price.as_deref().unwrap_or("-");
    if provider.price_in_force_s > 0.0 {
        format!("{setting}, now {}", format_seconds(provider.price_in_force_s))
    } else {
        setting.to_owned()
    }
}

fn detection_delay_line(provider: &ProviderStatus) -> Option<String> {
    let delay = format_seconds(provider.mean_detection_delay_s?);
    Some(format!("{}: mean detection delay {delay}", provider.provider))
}

fn unknown_states_line(provider: &ProviderStatus) -> Option<String> {
    let unknown_states = escape_unprintable(&provider.unknown_states.join(", "));
    (!unknown_states.is_empty()).then(|| {
        let yellow = AnsiColor::Yellow.on_default();
        format!(
            "{yellow}{}: unknown states reported: {unknown_states}{yellow:#}",
            provider.provider
        )
    })
}
