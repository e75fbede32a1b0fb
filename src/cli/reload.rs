//! `jobtrack reload`: reloads the daemon's configuration and secrets, and prints what changed.

use std::process::ExitCode;

use super::{CommandContext, stdio};
use crate::escape::escape_unprintable;

pub(super) async fn run(context: &CommandContext) -> anyhow::Result<ExitCode> {
    let response = context.client.reload().await?;
    if context.json {
        stdio::print_json_lines(&[response])?;
        return Ok(ExitCode::SUCCESS);
    }
    let changed = response.changed.iter().map(|line| escape_unprintable(line));
    let needs_restart = response.needs_restart.iter();
    let needs_restart =
        needs_restart.map(|line| format!("needs a restart: {}", escape_unprintable(line)));
    let mut lines: Vec<_> = changed.chain(needs_restart).collect();
    if lines.is_empty() {
        lines.push("no settings changed".to_owned());
    }
    lines.push(
        "secrets were reloaded; a pause ends where the credential or the address changed"
            .to_owned(),
    );
    stdio::print_lines(&lines)?;
    Ok(ExitCode::SUCCESS)
}
