//! `jobtrackd`: arguments, config, runtime, and the exit code.
//!
//! The daemon wires control, scheduler, store, maintenance and systemd together. Its parts start in
//! `serve` and end in `shutdown`. A fatal error ends the process with an exit code that shows whether a restart can
//! help; no code below [`main`] exits the process.

mod config_change;
mod config_check;
mod core_dump;
mod database_commands;
mod exit;
mod maintenance_task;
mod provider_rename;
mod providers;
mod reload;
mod serve;
mod shutdown;
mod signals;
mod threads;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{CommandFactory, Parser};

use crate::logging::{self, StartedLog};

use database_commands::DatabaseCommand;
use exit::ExitError;
pub use providers::build_providers;
use reload::ConfigSource;
use serve::serve;

const HELP: &str = "\
--config or $JOBTRACK_CONFIG names the config file, which must exist. Otherwise the first that exists
of $XDG_CONFIG_HOME/jobtrack/config.toml (by default ~/.config, except for root) and
/etc/jobtrack/config.toml is read; without any, the defaults apply. Environment variables such as JOBTRACK__POLLING__MAX_INTERVAL=2m override it. If
DUNE_API_KEY is set and no provider is configured, the provider dune is configured with that key.
RUST_LOG sets the log level, else log.level.

Exit codes: 0 stopped by a signal or nothing found, 2 wrong usage, 65 unusable database, 74 failed disk or socket, or
too few threads, 78 unusable config.";

/// Tracks jobs submitted to remote services until they end, and keeps their history in a database
#[derive(Debug, Parser)]
#[command(name = "jobtrackd", version, after_long_help = HELP)]
struct DaemonArgs {
    /// Read the settings from this file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the effective settings and the source of each, then exit
    #[arg(long)]
    check: bool,
    #[command(subcommand)]
    command: Option<DatabaseCommand>,
}

/// The definition of the command line, for the manual pages.
#[must_use]
pub fn command() -> clap::Command {
    DaemonArgs::command()
}

#[must_use]
pub fn main() -> ExitCode {
    let args = match DaemonArgs::try_parse() {
        Ok(args) => args,
        Err(usage) => return exit::report_usage(&usage),
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => exit.report(),
    }
}

fn run(args: &DaemonArgs) -> Result<(), ExitError> {
    let core_dumps = core_dump::disable();
    let mut source = ConfigSource::new(args.config.clone(), environment()?);
    let loaded = source.load()?;
    source.keep_file(loaded.file.clone());
    let runtime = threads::start_runtime().map_err(ExitError::io)?;
    let log = logging::init(loaded.config.log);
    let StartedLog { guard: _log_guard, lost_lines, level } =
        log.context("cannot start logging").map_err(ExitError::io)?;
    if let Err(error) = core_dumps {
        tracing::warn!("cannot disable core dumps, which would contain secrets: {error}");
    }
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    if args.check {
        return runtime.block_on(config_check::check_config(&loaded));
    }
    if let Some(command) = &args.command {
        return runtime.block_on(command.run(&loaded.config.store));
    }
    let result = runtime.block_on(serve(loaded, source, lost_lines, level));
    // The scheduler and the server have ended. A DNS look-up can still block one of the runtime's
    // threads in the resolver of the system, for which the exit does not wait.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

/// The environment, without variables of other programs that are not UTF-8.
fn environment() -> Result<BTreeMap<String, String>, ExitError> {
    let mut environment = BTreeMap::new();
    for (name, value) in std::env::vars_os() {
        let is_ours = name.to_string_lossy().starts_with("JOBTRACK_");
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => {
                environment.insert(name, value);
            }
            (Ok(name), Err(_)) if is_ours => {
                return Err(ExitError::config(anyhow::anyhow!("${name} is not UTF-8")));
            }
            _ => {}
        }
    }
    Ok(environment)
}
