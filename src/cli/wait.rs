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

use super::event_follower::{EventFollower, retry_while_unavailable};
use super::progress::Progress;
use super::{CommandContext, EXIT_UNAVAILABLE, forecast, output, render, resolve, stdin_lines};
use crate::api::{ClientError, Job, ListParams, TransitionEvent};
use crate::job::{EventCursor, InvalidName, JobId, JobRef, State, parse_label};

const EXAMPLES: &str = "\
Examples:
  jobtrack wait 17 dune/01GBM4W2N0NMCGPZYW8AYK4YF1 --timeout 2h
  jobtrack wait --label batch=nightly && echo all succeeded
  jobtrack add dune - --label batch=7 < ids && jobtrack wait --label batch=7
Tells on standard error when they should be over, if past runs can tell.
Exit: 0 all succeeded; 1 one failed, was cancelled or expired; 3 one is indeterminate, lost or
untracked; 4 no such job; 124 timed out; 69 the daemon was away for a minute, or cannot answer.";

const EXIT_UNSUCCESSFUL: u8 = 1;
const EXIT_INCONCLUSIVE: u8 = 3;
const EXIT_NO_SUCH_JOB: u8 = 4;
const EXIT_TIMED_OUT: u8 = 124;
/// A look is always taken: with no time at all the question is "is it over?".
const MIN_TIMEOUT: Duration = Duration::from_secs(1);

/// The arguments of `wait`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct WaitArgs {
    /// Numbers, or `PROVIDER/REMOTE_ID`; or - for one a line from standard input
    #[arg(value_name = "JOB", required_unless_present = "labels")]
    jobs: Vec<WaitTarget>,
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
enum WaitTarget {
    Job(JobRef),
    StandardInput,
}

impl std::str::FromStr for WaitTarget {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if text == "-" { Ok(Self::StandardInput) } else { text.parse().map(Self::Job) }
    }
}

/// Waits. A failure of ours is never told by an exit code that speaks of jobs.
pub(super) async fn run(context: &CommandContext, args: WaitArgs) -> anyhow::Result<ExitCode> {
    let mut names = Vec::new();
    for target in &args.jobs {
        match target {
            WaitTarget::Job(job) => names.push(Ok(job.clone())),
            WaitTarget::StandardInput => {
                let mut input = Vec::new();
                io::Read::read_to_end(&mut io::stdin(), &mut input)?;
                names.extend(stdin_lines::parse_job_refs(&String::from_utf8_lossy(&input)));
            }
        }
    }
    let waiting = wait_for_jobs(context, &args, names);
    let limit = args.timeout.map(|limit| limit.max(MIN_TIMEOUT));
    let result = match limit {
        None => waiting.await,
        Some(limit) => tokio::time::timeout(limit, waiting).await.unwrap_or_else(|_| {
            output::print_notice("not all of them are over in that time");
            Ok(ExitCode::from(EXIT_TIMED_OUT))
        }),
    };
    result.or_else(|error| match error.downcast_ref::<ClientError>() {
        Some(ClientError::Rejected(_) | ClientError::InvalidResponse(_)) => {
            output::print_notice(format!("jobtrack: {error:#}"));
            Ok(ExitCode::from(EXIT_UNAVAILABLE))
        }
        Some(ClientError::NoDaemon { .. } | ClientError::ConnectionLost(_)) | None => Err(error),
    })
}

async fn wait_for_jobs(
    context: &CommandContext,
    args: &WaitArgs,
    names: Vec<Result<JobRef, InvalidName>>,
) -> anyhow::Result<ExitCode> {
    let client = &context.client;
    let notify = |text: &str| output::print_notice(text);
    let after =
        retry_while_unavailable(&notify, async || client.status().await).await?.newest_event;
    let jobs = if args.labels.is_empty() {
        retry_while_unavailable(&notify, async || resolve::find_jobs(client, &names).await).await?
    } else {
        Some(
            retry_while_unavailable(&notify, async || {
                resolve::find_jobs_by_labels(client, &args.labels).await
            })
            .await?,
        )
    };
    let Some(jobs) = jobs else { return Ok(ExitCode::from(EXIT_NO_SUCH_JOB)) };
    if jobs.is_empty() {
        output::print_notice("no such job: nothing was named, or no job has these labels");
        return Ok(ExitCode::from(EXIT_NO_SUCH_JOB));
    }
    let waiter = JobWaiter {
        context,
        any: args.any,
        progress: Progress::new(jobs.len()),
        unfinished: BTreeMap::new(),
        final_states: Vec::new(),
        end_announced: Cell::new(false),
    };
    Ok(ExitCode::from(exit_code(&waiter.run(jobs, after).await?)))
}

struct JobWaiter<'a> {
    context: &'a CommandContext,
    any: bool,
    progress: Progress,
    unfinished: BTreeMap<JobId, State>,
    final_states: Vec<State>,
    /// The expected end has been told, where that is done but once.
    end_announced: Cell<bool>,
}

impl JobWaiter<'_> {
    /// The expected end is told anew after this time.
    const FORECAST_INTERVAL: Duration = Duration::from_secs(5);
    /// Each is a request: of more jobs no end is foretold.
    const MAX_FORECAST_JOBS: usize = 32;

    /// Waits for these jobs, as they stood at transition `after`; how they ended.
    async fn run(mut self, jobs: Vec<Job>, after: EventCursor) -> anyhow::Result<Vec<State>> {
        for job in jobs {
            if !job.terminal {
                self.unfinished.insert(job.id, job.state);
            } else if !self.is_satisfied() {
                self.final_states.push(job.state);
                self.print_job(&job)?;
            }
        }
        let client = &self.context.client;
        let query = ListParams { after: Some(after.into()), ..ListParams::default() };
        let progress = self.progress.clone();
        let notify = |text: &str| progress.suspend(|| output::print_notice(text));
        let mut follower = EventFollower::new(client, query, &notify);
        while !self.unfinished.is_empty() && !self.is_satisfied() {
            self.progress.update(self.unfinished.values().copied());
            let event = tokio::select! {
                event = self.next_relevant_event(&mut follower) => event?,
                never = self.announce_expected_end() => match never {},
            };
            self.unfinished.insert(event.job_id, event.to_state);
            if event.to_state.is_terminal() {
                self.unfinished.remove(&event.job_id);
                self.final_states.push(event.to_state);
                let job = retry_while_unavailable(&notify, async || client.job(event.job_id).await)
                    .await?;
                self.print_job(&job)?;
            }
        }
        Ok(self.final_states)
    }

    async fn next_relevant_event(
        &self,
        follower: &mut EventFollower<'_>,
    ) -> Result<TransitionEvent, ClientError> {
        loop {
            let event = follower.next_event().await?;
            if self.unfinished.contains_key(&event.job_id) {
                return Ok(event);
            }
        }
    }

    /// Tells when they should be over: every few seconds where the line is drawn, else in one line,
    /// once it can be told. Never ends.
    async fn announce_expected_end(&self) -> Infallible {
        while self.unfinished.len() <= Self::MAX_FORECAST_JOBS && !self.end_announced.get() {
            let mut ends = Vec::with_capacity(self.unfinished.len());
            for id in self.unfinished.keys() {
                // Whether the daemon is there is not for this to say.
                let forecast = self.context.client.job(*id).await.ok().and_then(|job| job.forecast);
                ends.push(forecast.and_then(|outlook| outlook.expected_remaining_s));
            }
            let end = forecast::describe_expected_end(&ends, self.any);
            self.progress.set_expected_end(end.as_deref());
            if !self.progress.is_visible() {
                self.end_announced.set(end.is_some());
                end.into_iter().for_each(output::print_notice);
                // The next news may tell more.
                break;
            }
            tokio::time::sleep(Self::FORECAST_INTERVAL).await;
        }
        std::future::pending().await
    }

    fn is_satisfied(&self) -> bool {
        self.any && !self.final_states.is_empty()
    }

    fn print_job(&self, job: &Job) -> io::Result<()> {
        self.progress.suspend(|| {
            if self.context.json {
                output::print_json_lines(&[job])
            } else {
                output::print_lines(&[render::job_line(job)])
            }
        })
    }
}

/// The exit code for these ends: a job that surely went wrong outweighs one of which that is open.
fn exit_code(final_states: &[State]) -> u8 {
    let code_of = |state: &State| match state {
        State::Failed | State::Cancelled | State::Expired => EXIT_UNSUCCESSFUL,
        State::Indeterminate | State::Lost | State::Untracked => EXIT_INCONCLUSIVE,
        State::Registered | State::Pending | State::Running | State::Unknown | State::Succeeded => {
            0
        }
    };
    let codes: BTreeSet<u8> = final_states.iter().map(code_of).collect();
    [EXIT_UNSUCCESSFUL, EXIT_INCONCLUSIVE]
        .into_iter()
        .find(|code| codes.contains(code))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use State::{Cancelled, Expired, Failed, Indeterminate, Lost, Succeeded, Untracked};

    #[test]
    fn worst_final_state_decides_exit_code() {
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
            assert_eq!(exit_code(ended), expected, "{ended:?}");
        }
    }
}
