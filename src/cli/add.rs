//! `jobtrack add`: adds jobs, named by arguments or by lines of standard input.
//!
//! A rejected job or line is reported on standard error and does not stop the others; the exit code is then 1.
//! `add_sender` sends the jobs.

use std::collections::BTreeMap;
use std::io::{self, BufRead};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args as _;
use clap::error::ErrorKind;
use tokio::sync::mpsc;

use super::add_sender::AddSender;
use super::wait::{WaitRequest, wait_for_ids};
use super::{CommandContext, EXIT_REJECTED, stdin_lines};
use crate::api::{AddRequest, AddRequestEntry};
use crate::job::{InvalidText, JobPrice, SimilarityKeys, parse_label};

const EXAMPLES: &str = "\
Examples:
  jobtrack add dune 01GBM4W2N0NMCGPZYW8AYK4YF1 --label team=growth
  jobtrack add dune 01GBM4W2N0NMCGPZYW8AYK4YF1 --wait && echo succeeded
  jobtrack add dune - < execution-ids.txt
  jobtrack add scripts etl/a1ad-448a --similar-to 'nightly etl'
  echo 'lake/a1b2c3 nightly=yes' | jobtrack add - --give-up-after 2d
Lines may have quotes as in a shell, or be JSON objects with the fields of the API. Blank lines and
lines that begin with # are skipped. Adding a job twice is safe: an existing
job keeps its number; labels, a price and a name for similar runs that are given again are replaced.
Exit: 0 all jobs are tracked, 1 one was rejected, 2 usage, 69 no daemon. With --wait, if none was
rejected, that of `jobtrack wait`.";

#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct AddArgs {
    /// A configured provider, or - to read lines `PROVIDER/ID [K=V]…` from standard input
    #[arg(value_name = "PROVIDER")]
    provider: String,
    /// The provider's job IDs, or - to read lines `ID [K=V]…` from standard input
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Label for each job; may be repeated
    #[arg(long = "label", value_name = "K=V", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// Stop tracking a job that is unfinished after this time
    #[arg(long, value_name = "DUR", value_parser = parse_give_up_after)]
    give_up_after: Option<String>,
    /// Replaces the provider's price for these jobs: the detection delay that is worth one request, from
    /// 10ms to 1h, or auto; default takes it back to the provider's. It has no effect where the provider
    /// has the policy "backoff"
    #[arg(long, value_name = "DUR|auto|default")]
    price: Option<JobPrice>,
    /// Predict and learn durations under this name, instead of the provider's own (its query, script
    /// or statement)
    #[arg(long, value_name = "NAME", value_parser = parse_similarity_key)]
    similar_to: Option<String>,
    /// Add a new job for each ID whose job has ended: the service runs it again
    #[arg(long)]
    again: bool,
    /// Print rejected jobs only
    #[arg(short, long)]
    quiet: bool,
    /// Then wait until the jobs have ended; the exit code is their result
    #[arg(long)]
    wait: bool,
    /// With --wait: stop waiting after this time and exit with 124
    #[arg(long, value_name = "DUR", requires = "wait", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
}

pub(super) async fn run(context: &CommandContext, args: AddArgs) -> anyhow::Result<ExitCode> {
    // Before the jobs are added: the events after it include their ends.
    let status = if args.wait { Some(context.client.status().await?) } else { None };
    let mut sender = AddSender::new(context, args.quiet);
    match (args.provider.as_str(), args.ids.as_slice()) {
        ("-", []) => add_from_stdin(context, &mut sender, &args, None).await?,
        (provider, [single]) if provider != "-" && single == "-" => {
            add_from_stdin(context, &mut sender, &args, Some(provider)).await?;
        }
        (provider, ids) if provider == "-" || ids.is_empty() || ids.iter().any(|id| id == "-") => {
            let message = match provider.split_once('/') {
                Some((name, id)) => {
                    format!("expected PROVIDER ID…; write: jobtrack add {name} {id}")
                }
                None => "expected PROVIDER ID…, PROVIDER -, or - alone".to_owned(),
            };
            let mut command = AddArgs::augment_args(clap::Command::new("jobtrack add"));
            return Err(command.error(ErrorKind::MissingRequiredArgument, message).into());
        }
        (provider, ids) => {
            for ids in ids.chunks(AddRequest::MAX_JOBS) {
                let jobs = ids.iter().map(|id| args.entry(provider, id));
                sender.send_in_chunks(jobs.collect()).await?;
            }
        }
    }
    let added = sender.finish();
    let waited = match status {
        Some(status) if !added.ids.is_empty() => {
            let request = WaitRequest { timeout: args.timeout, quiet: args.quiet };
            wait_for_ids(context, added.ids, status, request).await
        }
        Some(_) | None => ExitCode::SUCCESS,
    };
    Ok(if added.any_rejected { ExitCode::from(EXIT_REJECTED) } else { waited })
}

async fn add_from_stdin(
    context: &CommandContext,
    sender: &mut AddSender<'_>,
    args: &AddArgs,
    provider: Option<&str>,
) -> anyhow::Result<()> {
    let (mut number, mut is_without_jobs) = (0, true);
    let mut input = spawn_stdin_reader().context("cannot start a thread")?;
    sender.show_progress();
    loop {
        let mut lines = Vec::new();
        if input.recv_many(&mut lines, AddRequest::MAX_JOBS).await == 0 {
            if is_without_jobs {
                context.print_notice("no job is on standard input, and none was added");
            }
            return Ok(());
        }
        let lines = lines.into_iter().collect::<io::Result<Vec<_>>>()?;
        let mut jobs = Vec::with_capacity(lines.len());
        for line in lines {
            number += 1;
            match stdin_lines::parse_add_line(&line, provider) {
                Ok(None) => {}
                Ok(Some(entry)) => jobs.push(args.complete(entry)),
                Err(reason) => {
                    sender.reject_line(number, &reason);
                    is_without_jobs = false;
                }
            }
        }
        is_without_jobs &= jobs.is_empty();
        sender.send_in_chunks(jobs).await?;
    }
}

impl AddArgs {
    fn entry(&self, provider: &str, remote_id: &str) -> AddRequestEntry {
        self.complete(AddRequestEntry::new(provider.to_owned(), remote_id.to_owned()))
    }

    /// Applies the options. What a line gives of its own overrides them.
    fn complete(&self, entry: AddRequestEntry) -> AddRequestEntry {
        let mut labels: BTreeMap<_, _> = self.labels.iter().cloned().collect();
        labels.extend(entry.labels);
        AddRequestEntry {
            labels,
            give_up_after: entry.give_up_after.or_else(|| self.give_up_after.clone()),
            price: entry.price.or_else(|| self.price.map(|price| price.to_string())),
            similar_to: entry.similar_to.or_else(|| self.similar_to.clone()),
            again: entry.again || self.again,
            ..entry
        }
    }
}

/// The daemon parses the duration; a check here makes an invalid one a usage error.
fn parse_give_up_after(text: &str) -> Result<String, String> {
    let limit = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if !AddRequestEntry::GIVE_UP_AFTER_RANGE.contains(&limit) {
        return Err(AddRequestEntry::GIVE_UP_AFTER_LIMITS.to_owned());
    }
    Ok(text.to_owned())
}

/// The daemon checks the name too; a check here makes an invalid one a usage error.
fn parse_similarity_key(text: &str) -> Result<String, InvalidText> {
    SimilarityKeys::from_user(text).map(|_| text.to_owned())
}

/// Reads standard input in a thread, so that available lines are sent while others are awaited.
fn spawn_stdin_reader() -> io::Result<mpsc::Receiver<io::Result<Vec<u8>>>> {
    let (line_tx, line_rx) = mpsc::channel(AddRequest::MAX_JOBS);
    std::thread::Builder::new().spawn(move || {
        for line in io::stdin().lock().split(b'\n') {
            if line_tx.blocking_send(line).is_err() {
                return;
            }
        }
    })?;
    Ok(line_rx)
}
