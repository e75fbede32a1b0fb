//! The commands of `jobtrack`: parse arguments, send requests to the daemon, print text or JSON.
//!
//! Called by the binary. Each command is one file with its arguments and a function `run`, which
//! returns the exit code; [`main`] maps errors to exit codes.

mod add;
mod backup;
mod cancel;
mod cell;
mod check;
mod columns;
mod completion;
mod event_follower;
mod field_list;
mod forecast;
mod forget;
mod history;
mod job_args;
mod job_columns;
mod list;
mod output;
mod poll;
mod progress;
mod reload;
mod render;
mod resolve;
mod screen;
mod show;
mod status;
mod stdin_lines;
mod stdio;
mod table;
mod time_format;
mod transition_columns;
mod untrack;
mod wait;
mod watch;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::api::{Client, ClientError};
use crate::config::Directories;
use crate::escape::usage_error_lines;
pub use stdin_lines::{JobLine, parse_add_line, parse_job_refs};

/// A request was rejected, also if one of several was.
const EXIT_REJECTED: u8 = 1;
/// No daemon (`EX_UNAVAILABLE` of sysexits.h).
const EXIT_UNAVAILABLE: u8 = 69;

/// Track jobs on remote services until they end: client of jobtrackd
#[derive(Parser)]
#[command(name = "jobtrack", version, after_long_help = AFTER_HELP)]
struct Cli {
    /// Path of the daemon's socket; see `jobtrack --help` for the default
    #[arg(
        long,
        value_name = "PATH",
        global = true,
        env = "JOBTRACK_SOCKET",
        hide_env_values = true,
        value_parser = parse_file_path
    )]
    socket: Option<PathBuf>,
    /// Print one JSON object per line, as in the API
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
JOB is a job number or PROVIDER/REMOTE_ID; if several jobs have this ID, the newest.
DUR is a duration such as 90s, 15m, 2h or 7d. TIME is a date, a time such as '2026-11-25 15:00' or
2026-11-25T15:00:00Z, today, yesterday, or a duration before now such as 2h or '2 days ago'; without
a zone it is in UTC, or local with --local.
The socket is by default the first with a running daemon of jobtrack/control.sock in $XDG_RUNTIME_DIR,
/run/user/UID, $XDG_STATE_HOME and ~/.local/state (not for root), /run and /var/lib.
Exit: 0 success, 1 rejected (also if one of several jobs was), 2 usage, 69 no daemon.";

#[derive(Subcommand)]
enum Command {
    /// Add jobs, which the daemon then polls until they end
    Add(add::AddArgs),
    /// List jobs, newest first; by default unfinished ones
    List(list::ListArgs),
    /// Show a job with its next poll, its expected end and its history
    Show(show::ShowArgs),
    /// List the transitions of a job, or of all jobs
    History(history::HistoryArgs),
    /// Wait until jobs end; the exit code is their result
    Wait(wait::WaitArgs),
    /// Print transitions when they are committed
    Watch(watch::WatchArgs),
    /// Poll a job now
    Poll(poll::PollArgs),
    /// Cancel jobs at their provider
    Cancel(cancel::CancelArgs),
    /// Stop tracking jobs; they keep running and their history is kept
    Untrack(untrack::UntrackArgs),
    /// Test a provider's key, address and clock
    Check(check::CheckArgs),
    /// Delete learned durations
    Forget(forget::ForgetDurationsArgs),
    /// Show the status of the daemon and its providers
    Status(status::StatusArgs),
    /// Reload the daemon's configuration and secrets
    Reload,
    /// Write a consistent copy of the database to a new file
    Backup(backup::BackupArgs),
}

/// The client and the output format, for every command.
struct CommandContext {
    client: Client,
    json: bool,
}

/// The definition of the command line, for the manual pages.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// The whole program: parses the arguments, runs the command and returns its exit code.
#[must_use]
pub fn main() -> ExitCode {
    match completion::answer_shell(command) {
        Ok(false) => {}
        Ok(true) => return ExitCode::SUCCESS,
        Err(error) => return report(&error.into()),
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match (Cli::try_parse(), runtime) {
        (Ok(cli), Ok(runtime)) => runtime.block_on(dispatch(cli)),
        (Err(usage), _) => Err(usage.into()),
        (Ok(_), Err(error)) => Err(error.into()),
    };
    result.unwrap_or_else(|error| report(&error))
}

async fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    let context = CommandContext { client: Client::open(cli.socket.as_deref())?, json: cli.json };
    match cli.command {
        Command::Add(args) => add::run(&context, args).await,
        Command::List(args) => list::run(&context, args).await,
        Command::Show(args) => show::run(&context, args).await,
        Command::History(args) => history::run(&context, args).await,
        Command::Wait(args) => wait::run(&context, args).await,
        Command::Watch(args) => watch::run(&context, args).await,
        Command::Poll(args) => poll::run(&context, args).await,
        Command::Cancel(args) => cancel::run(&context, args).await,
        Command::Check(args) => check::run(&context, args).await,
        Command::Untrack(args) => untrack::run(&context, args).await,
        Command::Forget(args) => forget::run(&context, args).await,
        Command::Status(args) => status::run(&context, &args).await,
        Command::Reload => reload::run(&context).await,
        Command::Backup(args) => backup::run(&context, args).await,
    }
}

/// Prints an error and returns its exit code.
fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(usage) = error.downcast_ref::<clap::Error>() {
        if usage.use_stderr() {
            let arguments = std::env::args_os().map(|text| text.to_string_lossy().into_owned());
            usage_error_lines(usage, arguments).into_iter().for_each(stdio::print_notice);
        } else {
            // --help and --version. Nothing can report a failure to print.
            let _ = usage.print();
        }
        return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(EXIT_REJECTED));
    }
    if error.downcast_ref::<io::Error>().is_some_and(stdio::is_broken_pipe) {
        return ExitCode::SUCCESS;
    }
    stdio::print_notice(format!("jobtrack: {error:#}"));
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::NoDaemon(_) | ClientError::Busy(_) | ClientError::ConnectionLost(_)) => {
            ExitCode::from(EXIT_UNAVAILABLE)
        }
        Some(
            ClientError::Setup(_) | ClientError::Rejected(_) | ClientError::InvalidResponse(_),
        )
        | None => ExitCode::from(EXIT_REJECTED),
    }
}

/// A path with `~` expanded, which no shell does after `--socket=`.
fn parse_file_path(text: &str) -> Result<PathBuf, String> {
    Directories::from_env(|name| std::env::var_os(name)).expand_home(text)
}

/// The daemon parses the duration; a check here makes an invalid one a usage error.
fn parse_duration_text(text: &str) -> Result<String, humantime::DurationError> {
    humantime::parse_duration(text).map(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn clap_definitions_are_consistent() {
        super::command().debug_assert();
    }
}
