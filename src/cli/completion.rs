//! Completes arguments for a shell: jobs and providers are those of the daemon.
//!
//! `JOBTRACK_COMPLETE=bash jobtrack` prints the code that a shell evaluates once; that code calls
//! `jobtrack` again, with the words typed so far, at each completion. Called by `main` before the
//! arguments are parsed. Nothing is printed but candidates: without a daemon, or with one that does not
//! answer in time, there are none.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::Str;
use clap::{Arg, Command};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};

use super::render;
use crate::api::{Client, ClientError, ListParams};
use crate::escape::escape_unprintable;
use crate::job::{State, StateFilter};

/// Not clap's `COMPLETE`: another program may use that name, and jobtrack runs in scripts.
const VARIABLE: &str = "JOBTRACK_COMPLETE";

/// The limit for the daemon's answer: a person waits for it.
const TIMEOUT: Duration = Duration::from_millis(200);

/// How many jobs are candidates, the newest.
const MAX_JOBS: usize = 100;

/// Answers if a shell calls; returns whether it did.
pub(super) fn answer_shell(command: fn() -> Command) -> clap::error::Result<bool> {
    let directory = std::env::current_dir().ok();
    CompleteEnv::with_factory(|| with_completers(command()))
        .var(VARIABLE)
        .try_complete(std::env::args_os(), directory.as_deref())
}

/// The name of a value in the help says what it is.
fn with_completers(command: Command) -> Command {
    command.mut_subcommands(|subcommand| {
        let states = match subcommand.get_name() {
            "cancel" | "poll" | "untrack" | "wait" => vec![StateFilter::Active],
            _ => Vec::new(),
        };
        subcommand.mut_args(|argument| with_completer(argument, &states))
    })
}

fn with_completer(argument: Arg, states: &[StateFilter]) -> Arg {
    let name = argument.get_value_names().and_then(<[_]>::first);
    let completer = match name.map(Str::as_str) {
        Some("JOB") => {
            let states = states.to_vec();
            ArgValueCompleter::new(move |typed: &OsStr| complete_job(typed, states.clone()))
        }
        Some("PROVIDER") => ArgValueCompleter::new(complete_provider),
        Some("STATE") => ArgValueCompleter::new(complete_state),
        Some(_) | None => return argument,
    };
    argument.add(completer)
}

/// Numbers; or names, if something that is no number was typed.
fn complete_job(typed: &OsStr, states: Vec<StateFilter>) -> Vec<CompletionCandidate> {
    let Some(typed) = typed.to_str() else { return Vec::new() };
    let by_name = typed.contains(|character: char| !character.is_ascii_digit());
    let query = ListParams { states, limit: Some(MAX_JOBS), ..ListParams::default() };
    let page = ask(async |client| client.jobs(&query).await);
    let jobs = page.map_or_else(Vec::new, |page| page.jobs);
    let candidates = jobs.iter().enumerate().filter_map(|(position, job)| {
        let (name, number) = (render::job_name(job), job.id.to_string());
        let (value, other) = if by_name { (name, number) } else { (number, name) };
        let help = escape_unprintable(&format!("{other} {}", job.state));
        let candidate = CompletionCandidate::new(&value).help(Some(help.into()));
        let fits = value.starts_with(typed) && is_plain_word(&value);
        fits.then(|| candidate.display_order(Some(position)))
    });
    candidates.collect()
}

fn complete_provider(typed: &OsStr) -> Vec<CompletionCandidate> {
    let status = ask(async |client| client.status().await);
    let providers = status.map_or_else(Vec::new, |status| status.providers);
    let names = providers.into_iter().map(|provider| provider.provider.to_string());
    matching(names, typed)
}

fn complete_state(typed: &OsStr) -> Vec<CompletionCandidate> {
    let groups = [StateFilter::Active, StateFilter::Terminal, StateFilter::Unsuccessful];
    let filters = groups.into_iter().chain(State::ALL.map(StateFilter::Exactly));
    matching(filters.map(|filter| filter.to_string()), typed)
}

fn matching(words: impl Iterator<Item = String>, typed: &OsStr) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    words.filter(|word| word.starts_with(&*typed)).map(CompletionCandidate::new).collect()
}

/// Whether a shell takes the text for a word as it stands. Ids come from outside and could contain what
/// a shell would execute; an older version accepted more of them than this one.
fn is_plain_word(text: &str) -> bool {
    text.chars().all(|character| character.is_ascii_alphanumeric() || "/._-".contains(character))
}

/// The answer to one request, if the daemon gives it in time.
fn ask<T>(request: impl AsyncFnOnce(Client) -> Result<T, ClientError>) -> Option<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let client = Client::open(socket().as_deref()).ok()?;
    let answer = async { tokio::time::timeout(TIMEOUT, request(client)).await };
    runtime.block_on(answer).ok()?.ok()
}

/// The option `--socket` among the words typed so far, else the variable, as the command would use it.
fn socket() -> Option<PathBuf> {
    let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    let variable = || std::env::var("JOBTRACK_SOCKET").ok().filter(|path| !path.is_empty());
    let path = socket_option(words).or_else(variable)?;
    crate::config::parse_file_path(&path).ok()
}

/// The value of the option `--socket`. bash passes `--socket=PATH` as three words.
fn socket_option(mut words: impl Iterator<Item = String>) -> Option<String> {
    loop {
        let word = words.next()?;
        if let Some(path) = word.strip_prefix("--socket=") {
            return Some(path.to_owned());
        }
        if word == "--socket" {
            return words.find(|word| word != "=");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_found_in_every_form_of_the_option() {
        let cases = [
            ("jobtrack show", None),
            ("jobtrack --socket /a show", Some("/a")),
            ("jobtrack --socket=/a show", Some("/a")),
            ("jobtrack --socket = /a show", Some("/a")),
            ("jobtrack show --socket", None),
        ];
        for (words, expected) in cases {
            let found = socket_option(words.split(' ').map(str::to_owned));
            assert_eq!(found.as_deref(), expected, "{words}");
        }
    }

    #[test]
    fn text_that_a_shell_would_change_or_execute_is_not_a_plain_word() {
        for word in ["17", "dune/01GBM4W2N0NMCGPZYW8AYK4YF1", "etl.sql/a1ad-448a_9"] {
            assert!(is_plain_word(word), "{word}");
        }
        for text in ["$(reboot)", "`reboot`", "a;b", "a b", "~x", "a*", "it's", "a\\b", "ä", "a\nb"]
        {
            assert!(!is_plain_word(text), "{text}");
        }
    }
}
