//! `jobtrackd --check`: the settings in force, the source of each, and what a start would do; changes
//! nothing and asks nobody.

use std::io::Write;

use anyhow::Context;

use crate::config::Loaded;
use crate::control;
use crate::store::pending_migrations;

use super::exit::Exit;
use super::providers;

/// Prints the report; fails as a start would.
pub(super) async fn check(loaded: &Loaded) -> Result<(), Exit> {
    let pending = pending_migrations(&loaded.config.store.path).await?;
    print(loaded, &pending).context("cannot print").map_err(Exit::io)?;
    providers::build_all(&loaded.config)?;
    control::check(&loaded.config.control)?;
    Ok(())
}

fn print(loaded: &Loaded, pending: &[i64]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match &loaded.file {
        Some(file) => writeln!(out, "config file: {}", file.display())?,
        None => writeln!(out, "config file: none")?,
    }
    let width = loaded.settings.iter().map(|one| one.key.len() + one.value.len() + 3).max();
    let width = width.unwrap_or(0).min(72);
    for setting in &loaded.settings {
        let pair = format!("{} = {}", setting.key, setting.value);
        writeln!(out, "{pair:width$}  # {}", setting.source)?;
    }
    if loaded.config.providers.is_empty() {
        writeln!(out, "providers: none; set DUNE_API_KEY or add [providers.NAME]")?;
    }
    let path = loaded.config.store.path.display();
    match pending {
        [] => writeln!(out, "database: {path}, no pending migrations"),
        some => writeln!(out, "database: {path}, pending migrations: {some:?}"),
    }
}
