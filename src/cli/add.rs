//! `jobtrack add`: adds jobs, named by arguments or by lines of standard input.
//!
//! Sends requests of up to [`AddRequest::MAX_JOBS`] jobs while it reads. A rejected job or line is
//! reported on standard error and does not stop the others; the exit code is then 1.

use std::collections::BTreeMap;
use std::io::{self, BufRead};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args as _;
use clap::error::ErrorKind;
use tokio::sync::mpsc;

use super::{CommandContext, EXIT_REJECTED, parse_duration_text, stdin_lines, stdio};
use crate::api::{
    AddOutcome, AddRequest, AddRequestEntry, AddResponse, AddResponseEntry, ClientError,
};
use crate::clock::Clock;
use crate::escape::escape_unprintable;
use crate::job::{InvalidText, PollPrice, SimilarityKeys, parse_label};

const EXAMPLES: &str = "\
Examples:
  jobtrack add dune 01GBM4W2N0NMCGPZYW8AYK4YF1 --label team=growth
  jobtrack add dune - < execution-ids.txt
  jobtrack add scripts etl/a1ad-448a --similar-to 'nightly etl'
  echo 'lake/a1b2c3 nightly=yes' | jobtrack add - --give-up-after 2d
Blank lines and lines that begin with # are skipped. Adding a job twice is safe: an existing
job keeps its number; labels, a price and a name for similar runs that are given again are replaced.
Exit: 0 all jobs are tracked, 1 one was rejected, 2 usage, 69 no daemon.";

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
    #[arg(long, value_name = "DUR", value_parser = parse_duration_text)]
    give_up_after: Option<String>,
    /// Replaces the provider's price for these jobs: the detection delay that is worth one request, from
    /// 10ms to 1h, or auto. It has no effect where the provider has the policy "backoff"
    #[arg(long, value_name = "DUR|auto")]
    price: Option<PollPrice>,
    /// Predict and learn durations under this name, instead of the provider's own (its query, script
    /// or statement)
    #[arg(long, value_name = "NAME", value_parser = parse_similarity_key)]
    similar_to: Option<String>,
    /// Print rejected jobs only
    #[arg(short, long)]
    quiet: bool,
}

pub(super) async fn run(context: &CommandContext, args: AddArgs) -> anyhow::Result<ExitCode> {
    let mut sender = AddSender { context, quiet: args.quiet, any_rejected: false };
    match (args.provider.as_str(), args.ids.as_slice()) {
        ("-", []) => sender.add_from_stdin(&args, None).await?,
        (provider, [single]) if provider != "-" && single == "-" => {
            sender.add_from_stdin(&args, Some(provider)).await?;
        }
        (provider, ids) if provider == "-" || ids.is_empty() || ids.iter().any(|id| id == "-") => {
            let message = "expected PROVIDER ID…, PROVIDER -, or - alone";
            let mut command = AddArgs::augment_args(clap::Command::new("jobtrack add"));
            return Err(command.error(ErrorKind::MissingRequiredArgument, message).into());
        }
        (provider, ids) => {
            for ids in ids.chunks(AddRequest::MAX_JOBS) {
                let jobs = ids.iter().map(|id| args.to_add_job(provider, id, BTreeMap::new()));
                sender.send_in_chunks(jobs.collect()).await?;
            }
        }
    }
    Ok(if sender.any_rejected { ExitCode::from(EXIT_REJECTED) } else { ExitCode::SUCCESS })
}

impl AddArgs {
    /// A job with the options applied. The labels of its line override those of the options.
    fn to_add_job(
        &self,
        provider: &str,
        remote_id: &str,
        line_labels: BTreeMap<String, String>,
    ) -> AddRequestEntry {
        let mut labels: BTreeMap<_, _> = self.labels.iter().cloned().collect();
        labels.extend(line_labels);
        AddRequestEntry {
            provider: provider.to_owned(),
            remote_id: remote_id.to_owned(),
            labels,
            give_up_after: self.give_up_after.clone(),
            price: self.price.map(|price| price.to_string()),
            similar_to: self.similar_to.clone(),
        }
    }
}

/// The daemon checks the name too; a check here makes an invalid one a usage error.
fn parse_similarity_key(text: &str) -> Result<String, InvalidText> {
    SimilarityKeys::from_user(text).map(|_| text.to_owned())
}

/// A larger request is split. The daemon's limit for a body is 4 MiB.
const MAX_REQUEST_BYTES: usize = 3 << 20;
/// How long a request is repeated to a daemon that is busy or closes the connection.
const RETRY_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_DELAY: Duration = Duration::from_millis(500);

struct AddSender<'a> {
    context: &'a CommandContext,
    quiet: bool,
    any_rejected: bool,
}

impl AddSender<'_> {
    async fn add_from_stdin(
        &mut self,
        args: &AddArgs,
        provider: Option<&str>,
    ) -> anyhow::Result<()> {
        let mut number = 0;
        let mut input = spawn_stdin_reader().context("cannot start a thread")?;
        loop {
            let mut lines = Vec::new();
            if input.recv_many(&mut lines, AddRequest::MAX_JOBS).await == 0 {
                return Ok(());
            }
            let lines = lines.into_iter().collect::<io::Result<Vec<_>>>()?;
            let mut jobs = Vec::with_capacity(lines.len());
            for line in lines {
                number += 1;
                match stdin_lines::parse_add_line(&line, provider) {
                    Ok(None) => {}
                    Ok(Some((provider, id, line_labels))) => {
                        jobs.push(args.to_add_job(provider, id, line_labels));
                    }
                    Err(reason) => {
                        stdio::print_notice(format!("line {number} rejected: {reason}"));
                        self.any_rejected = true;
                    }
                }
            }
            self.send_in_chunks(jobs).await?;
        }
    }

    /// Sends the jobs in one request, or in several if it would be too large.
    async fn send_in_chunks(&mut self, jobs: Vec<AddRequestEntry>) -> anyhow::Result<()> {
        let mut pending = vec![AddRequest { jobs }];
        while let Some(mut request) = pending.pop() {
            if request.jobs.len() > 1 && serde_json::to_vec(&request)?.len() > MAX_REQUEST_BYTES {
                let rest = request.jobs.split_off(request.jobs.len() / 2);
                pending.extend([AddRequest { jobs: rest }, request]);
            } else if !request.jobs.is_empty() {
                self.send_request(&request).await?;
            }
        }
        Ok(())
    }

    async fn send_request(&mut self, request: &AddRequest) -> anyhow::Result<()> {
        let result = self.add_with_retries(request).await;
        let response = result.map_err(add_retry_hint)?;
        self.any_rejected |= response.jobs.iter().any(is_rejected);
        match self.print_outcomes(response.jobs) {
            // The reader of our output has closed the pipe; the remaining jobs are still added.
            Err(error) if stdio::is_broken_pipe(&error) => self.quiet = true,
            printed => printed?,
        }
        Ok(())
    }

    /// Adding a job twice is safe. The daemon may have been restarted, or have closed the connection
    /// for another one because it received the request slowly.
    async fn add_with_retries(&self, request: &AddRequest) -> Result<AddResponse, ClientError> {
        let clock = Clock::start();
        let begin = clock.monotonic_now();
        let in_time = || clock.monotonic_now().duration_since(begin) < RETRY_TIMEOUT;
        let mut is_first = true;
        loop {
            let result = self.context.client.add(request).await;
            let retry = match &result {
                Err(ClientError::ConnectionLost(_)) => is_first || in_time(),
                Err(ClientError::Rejected(problem)) => problem.code == "busy" && in_time(),
                Ok(_)
                | Err(
                    ClientError::NoDaemon(_)
                    | ClientError::Busy(_)
                    | ClientError::Setup(_)
                    | ClientError::InvalidResponse(_),
                ) => false,
            };
            if !retry {
                return result;
            }
            if !std::mem::take(&mut is_first) {
                tokio::time::sleep(RETRY_DELAY).await;
            }
        }
    }

    fn print_outcomes(&self, mut jobs: Vec<AddResponseEntry>) -> io::Result<()> {
        if self.quiet {
            jobs.retain(is_rejected);
        }
        if self.context.json {
            return stdio::print_json_lines(&jobs);
        }
        let mut lines = Vec::new();
        for job in &jobs {
            let name = escape_unprintable(&format!("{}/{}", job.provider, job.remote_id));
            let id = job.id.map_or_else(|| "-".to_owned(), |id| id.to_string());
            match job.outcome {
                AddOutcome::Added => lines.push(format!("{id} {name} added")),
                AddOutcome::Existing => lines.push(format!("{id} {name} existing")),
                AddOutcome::Rejected => {
                    let reason = job.error.as_deref().unwrap_or("unknown reason");
                    stdio::print_notice(format!("{id} {name} rejected: {reason}"));
                }
            }
        }
        stdio::print_lines(&lines)
    }
}

fn is_rejected(job: &AddResponseEntry) -> bool {
    job.outcome == AddOutcome::Rejected
}

/// Adds advice to an error after which some jobs may have been added.
fn add_retry_hint(error: ClientError) -> anyhow::Error {
    let outcome_unknown = match &error {
        ClientError::ConnectionLost(_) => true,
        ClientError::Rejected(problem) => problem.code == "busy",
        ClientError::NoDaemon(_)
        | ClientError::Busy(_)
        | ClientError::Setup(_)
        | ClientError::InvalidResponse(_) => false,
    };
    let error = anyhow::Error::from(error);
    if outcome_unknown {
        error.context("some jobs may not have been added; adding them again is safe")
    } else {
        error
    }
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
