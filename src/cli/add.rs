//! `jobtrack add`: registers jobs, from the arguments or line by line from standard input.
//!
//! Sends them in requests of [`AddRequest::MAX_JOBS`] while it reads. One bad job or line never
//! spoils the others: it is told on standard error, and the exit code is 1 at the end.

use std::collections::BTreeMap;
use std::io::{self, BufRead};
use std::process::ExitCode;

use clap::Args as _;
use clap::error::ErrorKind;
use tokio::sync::mpsc;

use super::render::plain;
use super::{Context, REFUSED, duration_text, lines, output};
use crate::api::{AddJob, AddOutcome, AddRequest, Added, ClientError};
use crate::job::{InvalidName, Likeness, parse_label};

const EXAMPLES: &str = "\
Examples:
  jobtrack add dune 01GBM4W2N0NMCGPZYW8AYK4YF1 --label team=growth
  jobtrack add dune - < execution-ids.txt
  jobtrack add scripts etl/a1ad-448a --like 'nightly etl'
  echo 'lake/a1b2c3 nightly=yes' | jobtrack add - --give-up-after 2d
Blank lines and lines that begin with # are skipped. Adding a job again is safe.";

/// The arguments of `add`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// A configured provider; or - alone for lines `PROVIDER/ID [K=V]…` from standard input
    #[arg(value_name = "PROVIDER")]
    provider: String,
    /// The provider's names for the jobs; or - for lines `ID [K=V]…` from standard input
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Mark each job; may be repeated
    #[arg(long = "label", value_name = "K=V", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// Stop tracking a job that is still not over after this time
    #[arg(long, value_name = "DUR", value_parser = duration_text)]
    give_up_after: Option<String>,
    /// Expect each job to take as long as past runs of this name did, whatever the provider tells;
    /// what it takes is learned under it
    #[arg(long, value_name = "NAME", value_parser = name_of_runs)]
    like: Option<String>,
    /// Print rejections only
    #[arg(short, long)]
    quiet: bool,
}

/// Registers the jobs.
pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<ExitCode> {
    let mut adding = Adding { context, quiet: args.quiet, rejected: false };
    match (args.provider.as_str(), args.ids.as_slice()) {
        ("-", []) => adding.lines(&args, None).await?,
        (provider, [only]) if provider != "-" && only == "-" => {
            adding.lines(&args, Some(provider)).await?;
        }
        (provider, ids) if provider == "-" || ids.is_empty() || ids.iter().any(|id| id == "-") => {
            let what = "give PROVIDER and IDs, or PROVIDER -, or - alone";
            let mut command = Args::augment_args(clap::Command::new("jobtrack add"));
            return Err(command.error(ErrorKind::MissingRequiredArgument, what).into());
        }
        (provider, ids) => {
            for ids in ids.chunks(AddRequest::MAX_JOBS) {
                let jobs = ids.iter().map(|id| args.job(provider, id, BTreeMap::new()));
                adding.send(jobs.collect()).await?;
            }
        }
    }
    Ok(if adding.rejected { ExitCode::from(REFUSED) } else { ExitCode::SUCCESS })
}

impl Args {
    /// A job as the options have it; labels of its own come before theirs.
    fn job(&self, provider: &str, remote_id: &str, own: BTreeMap<String, String>) -> AddJob {
        let mut labels: BTreeMap<_, _> = self.labels.iter().cloned().collect();
        labels.extend(own);
        AddJob {
            provider: provider.to_owned(),
            remote_id: remote_id.to_owned(),
            labels,
            give_up_after: self.give_up_after.clone(),
            like: self.like.clone(),
        }
    }
}

/// The daemon checks it too; here, a typing error is one of usage.
fn name_of_runs(text: &str) -> Result<String, InvalidName> {
    Likeness::given(text).map(|_| text.to_owned())
}

/// The daemon reads 4 MiB of a request.
const MAX_BYTES: usize = 3 << 20;

struct Adding<'a> {
    context: &'a Context,
    quiet: bool,
    rejected: bool,
}

impl Adding<'_> {
    async fn lines(&mut self, args: &Args, provider: Option<&str>) -> anyhow::Result<()> {
        let mut number = 0;
        let mut input = read_lines();
        loop {
            let mut lines = Vec::new();
            if input.recv_many(&mut lines, AddRequest::MAX_JOBS).await == 0 {
                return Ok(());
            }
            let lines = lines.into_iter().collect::<io::Result<Vec<_>>>()?;
            let mut jobs = Vec::with_capacity(lines.len());
            for line in lines {
                number += 1;
                match lines::job_to_add(&line, provider) {
                    Ok(None) => {}
                    Ok(Some((provider, id, own))) => jobs.push(args.job(provider, id, own)),
                    Err(why) => {
                        output::note(format!("line {number}: rejected: {why}"));
                        self.rejected = true;
                    }
                }
            }
            self.send(jobs).await?;
        }
    }

    /// In one request, or in as many as their size needs.
    async fn send(&mut self, jobs: Vec<AddJob>) -> anyhow::Result<()> {
        let mut waiting = vec![AddRequest { jobs }];
        while let Some(mut request) = waiting.pop() {
            if request.jobs.len() > 1 && serde_json::to_vec(&request)?.len() > MAX_BYTES {
                let rest = request.jobs.split_off(request.jobs.len() / 2);
                waiting.extend([AddRequest { jobs: rest }, request]);
            } else if !request.jobs.is_empty() {
                self.send_one(&request).await?;
            }
        }
        Ok(())
    }

    async fn send_one(&mut self, request: &AddRequest) -> anyhow::Result<()> {
        let client = &self.context.client;
        let answer = match client.add(request).await {
            // Adding twice is adding once, and the daemon may just have been restarted.
            Err(ClientError::Lost(_)) => client.add(request).await,
            done => done,
        };
        let answer = answer.map_err(explain)?;
        self.rejected |= answer.jobs.iter().any(is_rejected);
        match self.show(answer.jobs) {
            // Who reads our list may have enough of it; the rest is added all the same.
            Err(error) if output::is_closed(&error) => self.quiet = true,
            shown => shown?,
        }
        Ok(())
    }

    fn show(&self, mut jobs: Vec<Added>) -> io::Result<()> {
        if self.quiet {
            jobs.retain(is_rejected);
        }
        if self.context.json {
            return output::print_json(&jobs);
        }
        let mut lines = Vec::new();
        for job in &jobs {
            let name = plain(&format!("{}/{}", job.provider, job.remote_id));
            let id = job.id.map_or_else(|| "-".to_owned(), |id| id.to_string());
            match job.outcome {
                AddOutcome::Added => lines.push(format!("{id} {name} added")),
                AddOutcome::Known => lines.push(format!("{id} {name} known")),
                AddOutcome::Rejected => {
                    let why = job.error.as_deref().unwrap_or("no reason given");
                    output::note(format!("{id} {name} rejected: {why}"));
                }
            }
        }
        output::print(&lines)
    }
}

fn is_rejected(job: &Added) -> bool {
    job.outcome == AddOutcome::Rejected
}

/// Where it is open what became of the jobs, says that adding them again does no harm.
fn explain(error: ClientError) -> anyhow::Error {
    let open = match &error {
        ClientError::Lost(_) => true,
        ClientError::Refused(problem) => problem.code == "busy",
        ClientError::NoDaemon { .. } | ClientError::Broken(_) => false,
    };
    let error = anyhow::Error::from(error);
    if open { error.context("not all jobs were added; adding them again is safe") } else { error }
}

/// Standard input, line by line as it comes: what is there is sent, be it one line or a thousand.
fn read_lines() -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (lines, input) = mpsc::channel(AddRequest::MAX_JOBS);
    std::thread::spawn(move || {
        for line in io::stdin().lock().split(b'\n') {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    input
}
