//! `jobtrackd --check`: prints the effective settings, the source of each, and pending migrations.
//!
//! Builds the providers and checks the socket's settings as a start does, and fails as a start would.
//! It changes nothing and sends no request to a provider.

use std::io::Write;
use std::sync::Arc;

use anyhow::Context;

use crate::config::LoadedConfig;
use crate::control;
use crate::store::{FileSystemPolicy, pending_migrations_on};

use super::exit::ExitError;
use super::providers;

/// Prints the report, then checks what a start needs.
pub(super) async fn check_config(loaded: &LoadedConfig) -> Result<(), ExitError> {
    let store = &loaded.config.store;
    let pending = pending_migrations_on(&store.path, FileSystemPolicy::from(store)).await?;
    print_report(loaded, &pending).context("cannot write to stdout").map_err(ExitError::io)?;
    providers::build_in_thread(&loaded.config, &Arc::default()).await??;
    control::check_socket_config(&loaded.config.control)?;
    Ok(())
}

fn print_report(loaded: &LoadedConfig, pending: &[i64]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match &loaded.file {
        Some(file) => writeln!(out, "config file: {}", file.display())?,
        None => writeln!(out, "config file: none")?,
    }
    let width =
        loaded.settings.iter().map(|setting| setting.key.len() + setting.value.len() + 3).max();
    let width = width.unwrap_or(0).min(72);
    for setting in &loaded.settings {
        let assignment = format!("{} = {}", setting.key, setting.value);
        writeln!(out, "{assignment:width$}  # {}", setting.source)?;
    }
    if loaded.config.providers.is_empty() {
        writeln!(out, "providers: none; set DUNE_API_KEY or add [providers.NAME]")?;
    }
    let path = loaded.config.store.path.display();
    match pending {
        [] => writeln!(out, "database: {path}, no pending migrations"),
        versions => writeln!(out, "database: {path}, pending migrations: {versions:?}"),
    }
}
