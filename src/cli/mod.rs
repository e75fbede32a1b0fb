//! The commands of `jobtrack`: arguments in, requests to the daemon, text or JSON lines out.
//!
//! Called by the binary alone. Each command is one file with its arguments and a `run`; only
//! [`main`] here turns what they return into an exit code.

mod add;
mod cancel;
mod check;
mod event_follower;
mod forecast;
mod forget;
mod history;
mod list;
mod output;
mod poll;
mod progress;
mod reload;
mod render;
mod resolve;
mod show;
mod status;
mod stdin_lines;
mod table;
mod untrack;
mod wait;
mod watch;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::api::{Client, ClientError};

/// Refused, also if one of many was.
const EXIT_REJECTED: u8 = 1;
/// Nobody answers.
const EXIT_UNAVAILABLE: u8 = 69;

/// Tracks jobs that were submitted to remote services until they end.
#[derive(Parser)]
#[command(name = "jobtrack", version, after_help = AFTER_HELP)]
struct Cli {
    /// The daemon's socket [default: the first there is of `$XDG_RUNTIME_DIR`, /run/user/UID and
    /// /run, each with jobtrack/control.sock]
    #[arg(
        long,
        value_name = "PATH",
        global = true,
        env = "JOBTRACK_SOCKET",
        hide_env_values = true
    )]
    socket: Option<PathBuf>,
    /// Print one JSON object a line, in the shapes of the API
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
JOB is our number (all digits) or PROVIDER/REMOTE_ID, of several the newest.
Durations: 90s, 15m, 2h, 7d. Points in time: RFC 3339, or a duration, meaning ago.
Exit: 0 done, 1 refused (also if one of many was), 2 usage, 69 no daemon.";

#[derive(Subcommand)]
enum Command {
    /// Register jobs, so that the daemon follows them until they end
    Add(add::AddArgs),
    /// List jobs, newest first: the active ones, unless told otherwise
    List(list::ListArgs),
    /// Show all that is known of one job, when it is asked next and why, and its history
    Show(show::ShowArgs),
    /// Show the transitions of one job, or of all
    History(history::HistoryArgs),
    /// Wait until jobs end; the exit code tells how
    Wait(wait::WaitArgs),
    /// Show transitions as they come
    Watch(watch::WatchArgs),
    /// Ask the provider about a job now
    Poll(poll::PollArgs),
    /// Ask the providers to stop jobs
    Cancel(cancel::CancelArgs),
    /// Stop tracking jobs, which run on; their history stays
    Untrack(untrack::UntrackArgs),
    /// Ask a provider whether key, address and clock are well
    Check(check::CheckArgs),
    /// Forget how long jobs took
    Forget(forget::ForgetDurationsArgs),
    /// Show how the daemon and its providers are
    Status(status::StatusArgs),
    /// Make the daemon read its configuration and secret files again
    Reload,
}

/// What every command needs.
struct CommandContext {
    client: Client,
    json: bool,
}

/// The whole of `jobtrack`.
#[must_use]
pub fn main() -> ExitCode {
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
    }
}

/// Tells why a command could not do its work, and gives the exit code for it.
fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(usage) = error.downcast_ref::<clap::Error>() {
        // Help is an "error" of clap's too. If it cannot be written, nobody reads it.
        let _ = usage.print();
        return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(EXIT_REJECTED));
    }
    if error.downcast_ref::<io::Error>().is_some_and(output::is_broken_pipe) {
        return ExitCode::SUCCESS;
    }
    output::print_notice(format!("jobtrack: {error:#}"));
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::NoDaemon { .. } | ClientError::ConnectionLost(_)) => {
            ExitCode::from(EXIT_UNAVAILABLE)
        }
        Some(ClientError::Rejected(_) | ClientError::InvalidResponse(_)) | None => {
            ExitCode::from(EXIT_REJECTED)
        }
    }
}

/// A duration that the daemon will read again; checked here, so that a typing error is one of usage.
fn parse_duration_text(text: &str) -> Result<String, humantime::DurationError> {
    humantime::parse_duration(text).map(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn clap_definitions_are_consistent() {
        super::Cli::command().debug_assert();
    }
}
