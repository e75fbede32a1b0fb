//! `jobtrack reload`: makes the daemon read its configuration and secret files again, and tells
//! what changed.

use std::process::ExitCode;

use super::render::sanitize;
use super::{CommandContext, output};

/// Reloads.
pub(super) async fn run(context: &CommandContext) -> anyhow::Result<ExitCode> {
    let answer = context.client.reload().await?;
    if context.json {
        output::print_json_lines(&[answer])?;
        return Ok(ExitCode::SUCCESS);
    }
    let changed = answer.changed.iter().map(|line| sanitize(line));
    let waiting = answer.needs_restart.iter();
    let waiting = waiting.map(|line| format!("needs a restart: {}", sanitize(line)));
    let mut lines: Vec<_> = changed.chain(waiting).collect();
    if lines.is_empty() {
        lines.push("no setting changed".to_owned());
    }
    lines.push("secrets were read again; providers that refused are asked again".to_owned());
    output::print_lines(&lines)?;
    Ok(ExitCode::SUCCESS)
}
