//! `jobtrack wait`: until jobs are over; the exit code tells how they ended.
//!
//! The newest transition's number is read before the jobs are, and the events after it are
//! followed, so that no end can fall in between.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use super::follow::{Follow, persist};
use super::progress::Progress;
use super::{Context, NO_DAEMON, lines, outlook, output, render, resolve};
use crate::api::{ClientError, Event, Job, Query};
use crate::job::{InvalidName, JobId, JobRef, State, parse_label};

const EXAMPLES: &str = "\
Examples:
  jobtrack wait 17 dune/01GBM4W2N0NMCGPZYW8AYK4YF1 --timeout 2h
  jobtrack wait --label batch=nightly && echo all succeeded
  jobtrack add dune - --label batch=7 < ids && jobtrack wait --label batch=7
Tells on standard error when they should be over, if past runs can tell.
Exit: 0 all succeeded; 1 one failed, was cancelled or expired; 3 one is indeterminate, lost or
untracked; 4 no such job; 124 timed out; 69 the daemon was away for a minute, or cannot answer.";

const FAILED: u8 = 1;
const UNCLEAR: u8 = 3;
const NO_SUCH_JOB: u8 = 4;
const TIMED_OUT: u8 = 124;
/// A look is always taken: with no time at all the question is "is it over?".
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// The arguments of `wait`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Numbers, or `PROVIDER/REMOTE_ID`; or - for one a line from standard input
    #[arg(value_name = "JOB", required_unless_present = "labels")]
    jobs: Vec<Target>,
    /// All jobs that have this label, those that are over included; may be repeated, all of them count
    #[arg(long = "label", value_name = "K=V", value_parser = parse_label, conflicts_with = "jobs")]
    labels: Vec<(String, String)>,
    /// Give up waiting after this time
    #[arg(long, value_name = "DUR", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// Only until the first of them is over
    #[arg(long)]
    any: bool,
}

#[derive(Clone)]
enum Target {
    Job(JobRef),
    StandardInput,
}

impl std::str::FromStr for Target {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if text == "-" { Ok(Self::StandardInput) } else { text.parse().map(Self::Job) }
    }
}

/// Waits. A failure of ours is never told by an exit code that speaks of jobs.
pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<ExitCode> {
    let mut names = Vec::new();
    for target in &args.jobs {
        match target {
            Target::Job(job) => names.push(Ok(job.clone())),
            Target::StandardInput => {
                let mut input = Vec::new();
                io::Read::read_to_end(&mut io::stdin(), &mut input)?;
                names.extend(lines::job_names(&String::from_utf8_lossy(&input)));
            }
        }
    }
    let waiting = wait(context, &args, names);
    let limit = args.timeout.map(|limit| limit.max(FIRST_LOOK));
    let waited = match limit {
        None => waiting.await,
        Some(limit) => tokio::time::timeout(limit, waiting).await.unwrap_or_else(|_| {
            output::note("not all of them are over in that time");
            Ok(ExitCode::from(TIMED_OUT))
        }),
    };
    waited.or_else(|error| match error.downcast_ref::<ClientError>() {
        Some(ClientError::Refused(_) | ClientError::Broken(_)) => {
            output::note(format!("jobtrack: {error:#}"));
            Ok(ExitCode::from(NO_DAEMON))
        }
        Some(ClientError::NoDaemon { .. } | ClientError::Lost(_)) | None => Err(error),
    })
}

async fn wait(
    context: &Context,
    args: &Args,
    names: Vec<Result<JobRef, InvalidName>>,
) -> anyhow::Result<ExitCode> {
    let client = &context.client;
    let tell = |text: &str| output::note(text);
    let after = persist(&tell, async || client.status().await).await?.newest_seq;
    let jobs = if args.labels.is_empty() {
        persist(&tell, async || resolve::named(client, &names).await).await?
    } else {
        Some(persist(&tell, async || resolve::labelled(client, &args.labels).await).await?)
    };
    let Some(jobs) = jobs else { return Ok(ExitCode::from(NO_SUCH_JOB)) };
    if jobs.is_empty() {
        output::note("no such job: nothing was named, or no job has these labels");
        return Ok(ExitCode::from(NO_SUCH_JOB));
    }
    let waiting = Waiting {
        context,
        any: args.any,
        progress: Progress::start(jobs.len()),
        open: BTreeMap::new(),
        ended: Vec::new(),
        foretold: Cell::new(false),
    };
    Ok(ExitCode::from(code(&waiting.all(jobs, after).await?)))
}

struct Waiting<'a> {
    context: &'a Context,
    any: bool,
    progress: Progress,
    open: BTreeMap<JobId, State>,
    ended: Vec<State>,
    /// The expected end has been told, where that is done but once.
    foretold: Cell<bool>,
}

impl Waiting<'_> {
    /// The expected end is told anew after this time.
    const FORETOLD_EVERY: Duration = Duration::from_secs(5);
    /// Each is a request: of more jobs no end is foretold.
    const MOST_FORETOLD: usize = 32;

    /// Waits for these jobs, as they stood at transition `after`; how they ended.
    async fn all(mut self, jobs: Vec<Job>, after: i64) -> anyhow::Result<Vec<State>> {
        for job in jobs {
            if !job.terminal {
                self.open.insert(job.id, job.state);
            } else if !self.enough() {
                self.ended.push(job.state);
                self.show(&job)?;
            }
        }
        let client = &self.context.client;
        let query = Query { after: Some(after), ..Query::default() };
        let progress = self.progress.clone();
        let tell = |text: &str| progress.beside(|| output::note(text));
        let mut follow = Follow::new(client, query, &tell);
        while !self.open.is_empty() && !self.enough() {
            self.progress.show(self.open.values().copied());
            let event = tokio::select! {
                event = self.next_of_ours(&mut follow) => event?,
                never = self.foretell() => match never {},
            };
            self.open.insert(event.job_id, event.to_state);
            if event.to_state.is_terminal() {
                self.open.remove(&event.job_id);
                self.ended.push(event.to_state);
                let job = persist(&tell, async || client.job(event.job_id).await).await?;
                self.show(&job)?;
            }
        }
        Ok(self.ended)
    }

    async fn next_of_ours(&self, follow: &mut Follow<'_>) -> Result<Event, ClientError> {
        loop {
            let event = follow.next().await?;
            if self.open.contains_key(&event.job_id) {
                return Ok(event);
            }
        }
    }

    /// Tells when they should be over: every few seconds where the line is drawn, else in one line,
    /// once it can be told. Never ends.
    async fn foretell(&self) -> Infallible {
        while self.open.len() <= Self::MOST_FORETOLD && !self.foretold.get() {
            let mut ends = Vec::with_capacity(self.open.len());
            for id in self.open.keys() {
                // Whether the daemon is there is not for this to say.
                let outlook = self.context.client.job(*id).await.ok().and_then(|job| job.outlook);
                ends.push(outlook.and_then(|outlook| outlook.ends_in_s));
            }
            let end = outlook::expected_end(&ends, self.any);
            self.progress.expect(end.as_deref());
            if !self.progress.is_drawn() {
                self.foretold.set(end.is_some());
                end.into_iter().for_each(output::note);
                // The next news may tell more.
                break;
            }
            tokio::time::sleep(Self::FORETOLD_EVERY).await;
        }
        std::future::pending().await
    }

    fn enough(&self) -> bool {
        self.any && !self.ended.is_empty()
    }

    fn show(&self, job: &Job) -> io::Result<()> {
        self.progress.beside(|| {
            if self.context.json {
                output::print_json(&[job])
            } else {
                output::print(&[render::job_line(job)])
            }
        })
    }
}

/// The exit code for these ends: a job that surely went wrong outweighs one of which that is open.
fn code(ended: &[State]) -> u8 {
    let of = |state: &State| match state {
        State::Failed | State::Cancelled | State::Expired => FAILED,
        State::Indeterminate | State::Lost | State::Untracked => UNCLEAR,
        State::Registered | State::Pending | State::Running | State::Unknown | State::Succeeded => {
            0
        }
    };
    let codes: BTreeSet<u8> = ended.iter().map(of).collect();
    [FAILED, UNCLEAR].into_iter().find(|code| codes.contains(code)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use State::{Cancelled, Expired, Failed, Indeterminate, Lost, Succeeded, Untracked};

    #[test]
    fn the_worst_end_decides() {
        let cases: [(&[State], u8); 12] = [
            (&[], 0),
            (&[Succeeded, Succeeded], 0),
            (&[Failed], 1),
            (&[Cancelled], 1),
            (&[Expired], 1),
            (&[Indeterminate], 3),
            (&[Lost], 3),
            (&[Untracked], 3),
            (&[Succeeded, Lost], 3),
            (&[Lost, Failed], 1),
            (&[Failed, Lost], 1),
            (&[Succeeded, Untracked, Expired, Succeeded], 1),
        ];
        for (ended, expected) in cases {
            assert_eq!(code(ended), expected, "{ended:?}");
        }
    }
}
