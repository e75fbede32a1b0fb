//! The commands of `jobtrack`: parse arguments, send requests to the daemon, print text or JSON.
//!
//! Called by the binary. Each command is one file with its arguments and a function `run`, which
//! returns the exit code; [`main`] maps errors to exit codes.

mod add;
mod add_sender;
mod backup;
mod cancel;
mod cell;
mod check;
mod columns;
mod completion;
mod error_report;
mod event_follower;
mod failing_jobs;
mod field_list;
mod forecast;
mod forget;
mod history;
mod job_args;
mod job_columns;
mod job_command;
mod job_waiter;
mod label;
mod list;
mod output;
mod pin;
mod poll;
mod poll_problem;
mod problem_notices;
mod progress;
mod prune;
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
mod waited_jobs;
mod watch;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::api::{Client, Job};
use crate::config::parse_file_path;
use crate::escape::usage_error_lines;
use error_report::ErrorReport;
pub use stdin_lines::{parse_add_line, parse_job_refs};

/// A request was rejected, also if one of several was.
const EXIT_REJECTED: u8 = 1;
const EXIT_USAGE: u8 = 2;
/// No such job.
const EXIT_NO_SUCH_JOB: u8 = 4;
const EXIT_TIMED_OUT: u8 = 124;
/// No daemon (`EX_UNAVAILABLE` of sysexits.h).
const EXIT_UNAVAILABLE: u8 = 69;

/// Track jobs on remote services until they end: client of jobtrackd
#[derive(Parser)]
#[command(name = "jobtrack", version, arg_required_else_help = true, after_long_help = AFTER_HELP)]
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
JOB is a job number, PROVIDER/REMOTE_ID, or a REMOTE_ID that only jobs of one provider have; if
several jobs have this ID, the newest.
DUR is a duration such as 90s, 15m, 2h or 7d. TIME is a date, a time such as '2026-11-25 15:00' or
2026-11-25T15:00:00Z, today, yesterday, or a duration before now such as 2h or '2 days ago'; without
a zone it is in UTC, or local with --local.
The socket is by default the first with a running daemon of jobtrack/control.sock in $XDG_RUNTIME_DIR,
/run/user/UID, $XDG_STATE_HOME and ~/.local/state (not for root), /run and /var/lib.
Exit: 0 success, 1 rejected (also if one of several jobs was), 2 usage, 4 no such job, 69 no daemon.
With --json, each error is a JSON object on standard error with the fields code, title and detail, and
each notice one with the field notice; a job that `add` rejects is one on standard output, with the
reason in the field error.";

#[derive(Subcommand)]
enum Command {
    /// Add jobs, which the daemon then polls until they end
    ///
    /// Adding a job twice is safe: it keeps its number. With "-" as an ID, jobs are read from standard input, one per
    /// line, each followed by labels of its own.
    Add(add::AddArgs),
    /// List jobs, newest first; by default unfinished ones
    ///
    /// On a terminal, the widest columns are shortened to its width.
    List(list::ListArgs),
    /// Show a job with its next poll, its expected end and its history
    ///
    /// The row "next poll" says when the job is polled next, and why. With --json the transitions are a field of
    /// the job.
    Show(show::ShowArgs),
    /// List the transitions of a job, or of all jobs
    ///
    /// The evidence of a transition is "observed" (seen in an answer), "reported" (a later answer gave the time of the
    /// step) or "local" (an act of jobtrack).
    History(history::HistoryArgs),
    /// Wait until jobs end; the exit code is their result
    ///
    /// Each job is printed when it ends. The command goes on over a restart of the daemon, and says what keeps the
    /// jobs from being polled.
    Wait(wait::WaitArgs),
    /// Print transitions when they are committed
    ///
    /// The command runs until Ctrl-C. It misses no transition when the daemon is restarted.
    Watch(watch::WatchArgs),
    /// Poll a job now
    ///
    /// The poll waits for the rate limit like any other. One that fails changes no state.
    Poll(poll::PollArgs),
    /// Cancel jobs at their provider
    ///
    /// Each job is polled afterwards; the provider may need a while until it has ended.
    Cancel(cancel::CancelArgs),
    /// Stop tracking jobs; they keep running and their history is kept
    ///
    /// The state becomes "untracked". To stop the jobs themselves, use cancel.
    Untrack(untrack::UntrackArgs),
    /// Keep jobs and their history whatever their age
    ///
    /// The maintenance deletes other finished jobs when their retention has passed; it never deletes a pinned job.
    Pin(pin::PinArgs),
    /// Let jobs be deleted again when their retention has passed
    Unpin(pin::PinArgs),
    /// Show which jobs the next maintenance deletes, and when
    ///
    /// Finished jobs are deleted with their history when the time that `maintenance.retention` sets for their state has
    /// passed, but no pinned job. This command deletes nothing; without --dry-run it only says when the daemon does.
    Prune(prune::PruneArgs),
    /// Set labels of a job
    Label(label::LabelArgs),
    /// Set the label "note" of a job
    Note(label::NoteArgs),
    /// Test a provider's key, address and clock
    ///
    /// Sends one request, for a job that does not exist, and says what to correct. If the request is accepted, a
    /// pause of the provider ends. A check that is repeated soon prints the same result.
    Check(check::CheckArgs),
    /// Delete learned durations
    ///
    /// Jobs and their history stay. The provider need not be configured any more.
    Forget(forget::ForgetDurationsArgs),
    /// Show the status of the daemon and its providers
    ///
    /// A row "degraded" says what is wrong. The lines below the table say of each provider why it is paused and how
    /// many requests were sent.
    Status(status::StatusArgs),
    /// Reload the daemon's configuration and secrets
    ///
    /// Prints what changed. A configuration that cannot be used changes nothing. The paths of the database and of
    /// the socket take effect at the next start.
    Reload,
    /// Write a consistent copy of the database to a new file
    ///
    /// The daemon goes on meanwhile. `jobtrackd restore` puts such a copy in the place of the database.
    Backup(backup::BackupArgs),
}

impl Cli {
    /// Whether results, errors and notices are JSON objects: `--output json` of a command does the same as `--json`.
    fn prints_json(&self) -> bool {
        self.json
            || matches!(&self.command, Command::List(args) if args.output.is_json())
            || matches!(&self.command, Command::History(args) if args.output.is_json())
    }
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

impl CommandContext {
    /// Says something besides results and errors, on standard error.
    fn print_notice(&self, text: &str) {
        stdio::print_notice(text, self.json);
    }

    /// Prints a job: one line of text, or the whole job as JSON.
    fn print_job(&self, job: &Job) -> io::Result<()> {
        self.print_job_as(job, render::job_line)
    }

    fn print_job_as(&self, job: &Job, line: fn(&Job) -> String) -> io::Result<()> {
        if self.json { stdio::print_json_lines(&[job]) } else { stdio::print_lines(&[line(job)]) }
    }
}

/// The whole program: parses the arguments, runs the command and returns its exit code.
#[must_use]
pub fn main() -> ExitCode {
    match completion::answer_shell(command) {
        Ok(false) => {}
        Ok(true) => return ExitCode::SUCCESS,
        Err(error) => return report(&error.into(), false),
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let parsed = Cli::try_parse();
    let json = match &parsed {
        Ok(cli) => cli.prints_json(),
        // The arguments could not be parsed.
        Err(_) => std::env::args_os().any(|argument| argument == "--json"),
    };
    let result = match (parsed, runtime) {
        (Ok(cli), Ok(runtime)) => runtime.block_on(dispatch(cli)),
        (Err(usage), _) => Err(usage.into()),
        (Ok(_), Err(error)) => Err(error.into()),
    };
    result.unwrap_or_else(|error| report(&error, json))
}

async fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    // An empty variable counts as not set, as in the daemon.
    let socket = cli.socket.as_deref().filter(|path| !path.as_os_str().is_empty());
    let context = CommandContext { client: Client::open(socket)?, json: cli.prints_json() };
    match cli.command {
        Command::Add(args) => add::run(&context, args).await,
        Command::List(args) => list::run(&context, args).await,
        Command::Show(args) => show::run(&context, args).await,
        Command::History(args) => history::run(&context, args).await,
        Command::Wait(args) => wait::run(&context, args).await,
        Command::Watch(args) => watch::run(&context, args).await,
        Command::Poll(args) => poll::run(&context, args).await,
        Command::Cancel(args) => cancel::run(&context, args).await,
        Command::Label(args) => label::run(&context, args).await,
        Command::Note(args) => label::run_note(&context, args).await,
        Command::Check(args) => check::run(&context, args).await,
        Command::Untrack(args) => untrack::run(&context, args).await,
        Command::Pin(args) => pin::run(&context, args, true).await,
        Command::Unpin(args) => pin::run(&context, args, false).await,
        Command::Prune(args) => prune::run(&context, args).await,
        Command::Forget(args) => forget::run(&context, args).await,
        Command::Status(args) => status::run(&context, &args).await,
        Command::Reload => reload::run(&context).await,
        Command::Backup(args) => backup::run(&context, args).await,
    }
}

/// Prints an error and returns its exit code.
fn report(error: &anyhow::Error, json: bool) -> ExitCode {
    if let Some(usage) = error.downcast_ref::<clap::Error>() {
        if !usage.use_stderr() {
            // --help and --version. Nothing can report a failure to print.
            let _ = usage.print();
            return ExitCode::SUCCESS;
        }
        let arguments = std::env::args_os().map(|text| text.to_string_lossy().into_owned());
        let text = usage_error_lines(usage, arguments).join("\n");
        return ExitCode::from(ErrorReport::usage(text).print(json));
    }
    if error.downcast_ref::<io::Error>().is_some_and(stdio::is_broken_pipe) {
        return ExitCode::SUCCESS;
    }
    ExitCode::from(ErrorReport::of(error).print(json))
}

#[cfg(test)]
mod tests {
    #[test]
    fn clap_definitions_are_consistent() {
        super::command().debug_assert();
    }
}
