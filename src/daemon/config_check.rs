//! `jobtrackd --check`: prints the effective settings, the source of each, and pending migrations.
//!
//! Makes the checks of a start, in its order, and fails as a start would. It changes nothing and sends no
//! request to a provider.

use std::io::Write;

use crate::config::{Config, LoadedConfig};
use crate::control;
use crate::escape::escape_unprintable;
use crate::provider::{self, SharedCredentials};
use crate::store::{DatabaseCheck, FileSystemPolicy, check_database};

use super::exit::ExitError;
use super::providers::{build_providers, read_in_thread};

/// Prints the settings, then checks what a start needs.
pub(super) async fn check_config(loaded: &LoadedConfig) -> Result<(), ExitError> {
    let to_stdout_error =
        |error| ExitError::io(anyhow::Error::from(error).context("cannot write to stdout"));
    print_settings(loaded).map_err(to_stdout_error)?;
    let config = loaded.config.clone();
    let build = move || build_providers(&config, &provider::network, &SharedCredentials::default());
    read_in_thread(build).await??;
    let database = check_files(&loaded.config).await?;
    print_database(&loaded.config, &database).map_err(to_stdout_error)
}

/// Checks the database and the control socket.
async fn check_files(config: &Config) -> Result<DatabaseCheck, ExitError> {
    let store = &config.store;
    let database = check_database(&store.path, FileSystemPolicy::from(store)).await?;
    control::check_socket_config(&config.control)?;
    Ok(database)
}

fn print_settings(loaded: &LoadedConfig) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match &loaded.file {
        Some(file) => {
            writeln!(out, "config file: {}", escape_unprintable(&file.display().to_string()))?;
        }
        None => writeln!(out, "config file: none")?,
    }
    let width =
        loaded.settings.iter().map(|setting| setting.key.len() + setting.value.len() + 3).max();
    let width = width.unwrap_or(0).min(72);
    for setting in &loaded.settings {
        let assignment = format!("{} = {}", setting.key, setting.value);
        writeln!(out, "{assignment:width$}  # {}", escape_unprintable(&setting.source))?;
    }
    if loaded.config.providers.is_empty() {
        writeln!(out, "providers: none; set DUNE_API_KEY or add [providers.NAME]")?;
    }
    Ok(())
}

fn print_database(config: &Config, database: &DatabaseCheck) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let path = escape_unprintable(&config.store.path.display().to_string());
    let migrations = match database.pending_migrations.as_slice() {
        [] => "no pending migrations".to_owned(),
        versions => format!("pending migrations: {versions:?}"),
    };
    let in_use = if database.is_in_use { ", in use by a running jobtrackd" } else { "" };
    writeln!(out, "database: {path}, {migrations}{in_use}")?;
    let socket = escape_unprintable(&config.control.socket.display().to_string());
    writeln!(out, "socket: {socket}")
}
