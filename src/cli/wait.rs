//! `jobtrack wait`: waits until jobs have ended; the exit code is their result.
//!
//! The cursor of the newest event is read before the jobs, and the events after it are followed,
//! so that no end is missed in between.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use super::event_follower::{EventFollower, retry_while_unavailable};
use super::job_args::{JobArg, read_job_refs};
use super::progress::Progress;
use super::{CommandContext, EXIT_UNAVAILABLE, forecast, render, resolve, stdio};
use crate::api::{ClientError, Job, ListParams, StreamedEvent};
use crate::job::{EventCursor, InvalidText, JobId, JobRef, State, parse_label};

const EXAMPLES: &str = "\
Examples:
  jobtrack wait 17 dune/01GBM4W2N0NMCGPZYW8AYK4YF1 --timeout 2h
  jobtrack wait --label batch=nightly && echo all succeeded
  jobtrack add dune - --label batch=7 < ids && jobtrack wait --label batch=7
Prints the expected end on standard error if similar runs are known.
Exit: 0 all succeeded; 1 one failed, was cancelled or expired; 2 usage; 3 one is indeterminate,
lost or untracked; 4 no such job, or one was deleted; 69 the daemon was unavailable for a minute, or another error;
124 timeout.";

const EXIT_UNSUCCESSFUL: u8 = 1;
const EXIT_INCONCLUSIVE: u8 = 3;
const EXIT_NO_SUCH_JOB: u8 = 4;
const EXIT_TIMED_OUT: u8 = 124;
/// Shorter timeouts are extended to this, so that `--timeout 0s` tests whether the jobs have ended.
const MIN_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct WaitArgs {
    /// Job numbers or `PROVIDER/REMOTE_ID`, or - to read one per line from standard input
    #[arg(value_name = "JOB", required_unless_present = "labels")]
    jobs: Vec<JobArg>,
    /// All jobs with this label, finished ones included; if repeated, all labels must match
    #[arg(long = "label", value_name = "K=V", value_parser = parse_label, conflicts_with = "jobs")]
    labels: Vec<(String, String)>,
    /// Stop waiting after this time and exit with 124
    #[arg(long, value_name = "DUR", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// Wait only until one of the jobs has ended
    #[arg(long)]
    any: bool,
}

/// Waits for the jobs. Every error but a usage error exits with [`EXIT_UNAVAILABLE`], because 1 is a
/// result of jobs.
pub(super) async fn run(context: &CommandContext, args: WaitArgs) -> anyhow::Result<ExitCode> {
    Ok(wait_with_timeout(context, args).await.unwrap_or_else(|error| {
        stdio::print_notice(format!("jobtrack: {error:#}"));
        ExitCode::from(EXIT_UNAVAILABLE)
    }))
}

async fn wait_with_timeout(context: &CommandContext, args: WaitArgs) -> anyhow::Result<ExitCode> {
    let names = read_job_refs(&args.jobs).context("cannot read standard input")?;
    let waiting = wait_for_jobs(context, &args, names);
    match args.timeout.map(|limit| limit.max(MIN_TIMEOUT)) {
        None => waiting.await,
        Some(limit) => tokio::time::timeout(limit, waiting).await.unwrap_or_else(|_| {
            stdio::print_notice("timeout: not all jobs have ended");
            Ok(ExitCode::from(EXIT_TIMED_OUT))
        }),
    }
}

async fn wait_for_jobs(
    context: &CommandContext,
    args: &WaitArgs,
    names: Vec<Result<JobRef, InvalidText>>,
) -> anyhow::Result<ExitCode> {
    let client = &context.client;
    let notify = |text: &str| stdio::print_notice(text);
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
        stdio::print_notice("no such job: standard input is empty, or no job has these labels");
        return Ok(ExitCode::from(EXIT_NO_SUCH_JOB));
    }
    let waiter = JobWaiter {
        context,
        any: args.any,
        progress: Progress::new(jobs.len()),
        unfinished: BTreeMap::new(),
        final_states: Vec::new(),
        any_deleted: false,
        end_announced: Cell::new(false),
    };
    Ok(ExitCode::from(waiter.run(jobs, after).await?))
}

struct JobWaiter<'a> {
    context: &'a CommandContext,
    any: bool,
    progress: Progress,
    unfinished: BTreeMap<JobId, State>,
    final_states: Vec<State>,
    /// Whether a job was deleted before this command saw its end.
    any_deleted: bool,
    /// Whether the expected end was printed; without a terminal it is printed once.
    end_announced: Cell<bool>,
}

impl JobWaiter<'_> {
    /// How often the progress line gets a new expected end.
    const FORECAST_INTERVAL: Duration = Duration::from_secs(5);
    /// Each forecast is a request; with more unfinished jobs no expected end is shown.
    const MAX_FORECAST_JOBS: usize = 32;

    /// Waits for these jobs, which were read after the event `after`; returns the exit code.
    async fn run(mut self, jobs: Vec<Job>, after: EventCursor) -> anyhow::Result<u8> {
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
        let notify = |text: &str| progress.suspend(|| stdio::print_notice(text));
        let mut follower = EventFollower::new(client, query, &notify);
        while !self.unfinished.is_empty() && !self.is_satisfied() {
            self.progress.update(self.unfinished.values().copied());
            let event = tokio::select! {
                event = self.next_relevant_event(&mut follower) => event?,
                never = self.announce_expected_end() => match never {},
            };
            for id in self.possibly_ended(&event) {
                let read = retry_while_unavailable(&notify, async || client.job(id).await).await;
                match read {
                    Ok(job) if job.terminal => {
                        self.unfinished.remove(&id);
                        self.final_states.push(job.state);
                        self.print_job(&job)?;
                    }
                    Ok(job) => drop(self.unfinished.insert(id, job.state)),
                    Err(ClientError::Rejected(problem)) if problem.code == "not_found" => {
                        notify(&format!("job {id} was deleted; its end is not known"));
                        self.unfinished.remove(&id);
                        self.any_deleted = true;
                    }
                    Err(error) => return Err(error.into()),
                }
                if self.is_satisfied() {
                    break;
                }
            }
        }
        Ok(match exit_code(&self.final_states) {
            code if self.any_deleted && code != EXIT_UNSUCCESSFUL => EXIT_NO_SUCH_JOB,
            code => code,
        })
    }

    /// Waits for a transition of a job that is unfinished as far as is known, or for the report that
    /// transitions were deleted.
    async fn next_relevant_event(
        &self,
        follower: &mut EventFollower<'_>,
    ) -> Result<StreamedEvent, ClientError> {
        loop {
            match follower.next_event().await? {
                StreamedEvent::Transition(event)
                    if !self.unfinished.contains_key(&event.job_id) => {}
                event => return Ok(event),
            }
        }
    }

    /// The jobs that may have ended with this event.
    fn possibly_ended(&mut self, event: &StreamedEvent) -> Vec<JobId> {
        match event {
            StreamedEvent::Transition(event) if event.to_state.is_terminal() => vec![event.job_id],
            StreamedEvent::Transition(event) => {
                self.unfinished.insert(event.job_id, event.to_state);
                Vec::new()
            }
            // Among the deleted transitions may be the end of any of them.
            StreamedEvent::Pruned(_) => self.unfinished.keys().copied().collect(),
        }
    }

    /// Shows the expected end: every few seconds in the progress line, else once in a notice. Never
    /// returns.
    async fn announce_expected_end(&self) -> Infallible {
        while self.unfinished.len() <= Self::MAX_FORECAST_JOBS && !self.end_announced.get() {
            let mut ends = Vec::with_capacity(self.unfinished.len());
            for id in self.unfinished.keys() {
                // An error is ignored: the event stream reports an unavailable daemon.
                let forecast = self.context.client.job(*id).await.ok().and_then(|job| job.forecast);
                ends.push(forecast.and_then(|forecast| forecast.expected_remaining_s));
            }
            let end = forecast::describe_expected_end(&ends, self.any);
            self.progress.set_expected_end(end.as_deref());
            if !self.progress.is_visible() {
                self.end_announced.set(end.is_some());
                end.into_iter().for_each(stdio::print_notice);
                // Without an expected end yet, the next event starts this function anew.
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
        let printed = self.progress.suspend(|| {
            if self.context.json {
                stdio::print_json_lines(&[job])
            } else {
                stdio::print_lines(&[render::job_line(job)])
            }
        });
        match printed {
            // The reader of our output has closed the pipe; the exit code is still the jobs' result.
            Err(error) if stdio::is_broken_pipe(&error) => Ok(()),
            printed => printed,
        }
    }
}

/// The exit code for these final states: a failure outweighs an unclear result.
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
