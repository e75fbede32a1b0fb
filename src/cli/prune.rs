//! `jobtrack prune --dry-run`: which jobs the next maintenance deletes, and when.
//!
//! Nothing is deleted by this command: the daemon does that by its schedule, when it knows the time for certain.

use std::process::ExitCode;

use anyhow::bail;

use super::output::LocalTimeArgs;
use super::time_format::TimeFormat;
use super::{CommandContext, stdio};
use crate::api::PruneForecast;

#[derive(clap::Args)]
pub(super) struct PruneArgs {
    /// Print what the next maintenance deletes
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    times: LocalTimeArgs,
}

pub(super) async fn run(context: &CommandContext, args: PruneArgs) -> anyhow::Result<ExitCode> {
    let times = args.times.time_format()?;
    let forecast = context.client.prune_forecast().await?;
    if !args.dry_run {
        bail!(
            "old jobs are deleted only by the schedule `maintenance.prune_schedule`, {}; to see which, run: \
             jobtrack prune --dry-run",
            next_run(&forecast, &times)
        );
    }
    if context.json {
        stdio::print_json_lines(&[forecast])?;
    } else {
        stdio::print_lines(&lines(&forecast, &times))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn next_run(forecast: &PruneForecast, times: &TimeFormat) -> String {
    match forecast.next_run_at {
        Some(at) => format!("next at {}", times.format_with_zone(at)),
        None => "which is never due".to_owned(),
    }
}

fn lines(forecast: &PruneForecast, times: &TimeFormat) -> Vec<String> {
    let counts = forecast.jobs.iter().map(|jobs| {
        format!(
            "{} {}, ended {} to {}",
            jobs.count,
            jobs.state,
            times.format(jobs.oldest_terminal_at),
            times.format_with_zone(jobs.newest_terminal_at)
        )
    });
    let nothing = forecast.jobs.is_empty().then(|| "no job is to be deleted".to_owned());
    let schedule = format!("maintenance: {}", next_run(forecast, times));
    counts.chain(nothing).chain([schedule]).collect()
}
