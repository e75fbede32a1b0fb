//! The jobs that `wait` waits for: which have reached the awaited state, when the command is done, and its exit code.
//!
//! Pure; `job_waiter` feeds it jobs and events.

use std::collections::{BTreeMap, BTreeSet};

use super::EXIT_NO_SUCH_JOB;
use crate::api::{Job, StreamedEvent};
use crate::job::{JobId, ProviderName, State};

pub(super) const EXIT_UNSUCCESSFUL: u8 = 1;
const EXIT_INCONCLUSIVE: u8 = 3;

/// What each job is awaited for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum AwaitedState {
    /// The job runs, or has ended
    Running,
    /// The job has ended
    #[default]
    End,
}

impl AwaitedState {
    fn is_reached(self, state: State) -> bool {
        match self {
            Self::Running => state == State::Running || state.is_terminal(),
            Self::End => state.is_terminal(),
        }
    }
}

/// When the command is done although jobs are still awaited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum EarlyExit {
    #[default]
    Never,
    /// Once one job has reached the awaited state.
    AnyJob,
    /// Once one job has ended without success.
    AnyFailure,
}

#[derive(Debug)]
struct AwaitedJob {
    provider: ProviderName,
    state: State,
}

#[derive(Debug)]
pub(super) struct WaitedJobs {
    awaited_state: AwaitedState,
    early_exit: EarlyExit,
    awaited: BTreeMap<JobId, AwaitedJob>,
    /// The states of the jobs that have reached the awaited state.
    reached: Vec<State>,
    /// Whether a job was deleted before this command saw its end.
    any_deleted: bool,
}

impl WaitedJobs {
    pub(super) fn new(awaited_state: AwaitedState, early_exit: EarlyExit) -> Self {
        let (awaited, reached) = (BTreeMap::new(), Vec::new());
        Self { awaited_state, early_exit, awaited, reached, any_deleted: false }
    }

    /// Takes over the present state of a job. Returns whether it has reached the awaited state.
    pub(super) fn update(&mut self, job: &Job) -> bool {
        let is_reached = self.awaited_state.is_reached(job.state);
        if is_reached {
            self.awaited.remove(&job.id);
            self.reached.push(job.state);
        } else {
            let awaited = AwaitedJob { provider: job.provider.clone(), state: job.state };
            self.awaited.insert(job.id, awaited);
        }
        is_reached
    }

    pub(super) fn remove_deleted(&mut self, job: JobId) {
        self.awaited.remove(&job);
        self.any_deleted = true;
    }

    /// Takes over an event. Returns the jobs that may have reached the awaited state with it.
    pub(super) fn apply_event(&mut self, event: &StreamedEvent) -> Vec<JobId> {
        match event {
            StreamedEvent::Transition(event) => {
                let Some(job) = self.awaited.get_mut(&event.job_id) else { return Vec::new() };
                job.state = event.to_state;
                let is_reached = self.awaited_state.is_reached(event.to_state);
                is_reached.then_some(event.job_id).into_iter().collect()
            }
            // Among the deleted transitions may be the end of any of them.
            StreamedEvent::Pruned(_) => self.awaited.keys().copied().collect(),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.awaited.is_empty() || self.exits_early()
    }

    /// Whether the command is done, whatever the jobs are doing that are still awaited.
    pub(super) fn exits_early(&self) -> bool {
        let is_unsuccessful = |state: &State| state.is_terminal() && *state != State::Succeeded;
        match self.early_exit {
            EarlyExit::Never => false,
            EarlyExit::AnyJob => !self.reached.is_empty(),
            EarlyExit::AnyFailure => self.reached.iter().any(is_unsuccessful),
        }
    }

    pub(super) fn awaits(&self, job: JobId) -> bool {
        self.awaited.contains_key(&job)
    }

    pub(super) fn awaited_ids(&self) -> impl ExactSizeIterator<Item = JobId> {
        self.awaited.keys().copied()
    }

    pub(super) fn awaited_of(&self, provider: &ProviderName) -> impl Iterator<Item = JobId> {
        let of_provider = |(_, job): &(&JobId, &AwaitedJob)| job.provider == *provider;
        self.awaited.iter().filter(of_provider).map(|(id, _)| *id)
    }

    pub(super) fn awaited_states(&self) -> impl Iterator<Item = State> {
        self.awaited.values().map(|job| job.state)
    }

    pub(super) fn awaits_provider(&self, provider: &ProviderName) -> bool {
        self.awaited.values().any(|job| job.provider == *provider)
    }

    pub(super) fn exits_after_any_job(&self) -> bool {
        self.early_exit == EarlyExit::AnyJob
    }

    /// The jobs that have reached the awaited state, counted by state: `4990 succeeded, 10 failed`.
    pub(super) fn summary(&self) -> String {
        let counts = State::ALL.into_iter().filter_map(|state| {
            let count = self.reached.iter().filter(|reached| **reached == state).count();
            (count > 0).then(|| format!("{count} {state}"))
        });
        counts.collect::<Vec<_>>().join(", ")
    }

    /// A failure outweighs a deleted job, and that an unclear result.
    pub(super) fn exit_code(&self) -> u8 {
        let code_of = |state: &State| match state {
            State::Failed | State::Cancelled | State::Expired => EXIT_UNSUCCESSFUL,
            State::Indeterminate | State::Lost | State::Untracked => EXIT_INCONCLUSIVE,
            State::Registered
            | State::Pending
            | State::Running
            | State::Unknown
            | State::Succeeded => 0,
        };
        let codes: BTreeSet<u8> = self.reached.iter().map(code_of).collect();
        if codes.contains(&EXIT_UNSUCCESSFUL) {
            EXIT_UNSUCCESSFUL
        } else if self.any_deleted {
            EXIT_NO_SUCH_JOB
        } else {
            codes.last().copied().unwrap_or(0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use State::{
        Cancelled, Expired, Failed, Indeterminate, Lost, Pending, Running, Succeeded, Untracked,
    };

    fn with_reached(reached: &[State], early_exit: EarlyExit) -> WaitedJobs {
        let mut jobs = WaitedJobs::new(AwaitedState::End, early_exit);
        jobs.reached = reached.to_vec();
        jobs
    }

    #[test]
    fn worst_final_state_decides_exit_code() {
        let cases: [(&[State], u8); 13] = [
            (&[], 0),
            (&[Running], 0),
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
        for (reached, expected) in cases {
            let mut jobs = with_reached(reached, EarlyExit::Never);
            assert_eq!(jobs.exit_code(), expected, "{reached:?}");
            jobs.remove_deleted(JobId(1));
            assert_eq!(jobs.exit_code(), if expected == 1 { 1 } else { 4 }, "{reached:?}");
        }
    }

    #[test]
    fn the_command_is_done_early_after_any_job_or_after_a_failure() {
        let provider: ProviderName = "dune".parse().expect("a name");
        let cases: [(&[State], bool, bool); 4] = [
            (&[], false, false),
            (&[Succeeded], true, false),
            (&[Running], true, false),
            (&[Succeeded, Lost], true, true),
        ];
        for (reached, any_job, any_failure) in cases {
            for (early_exit, expected) in [
                (EarlyExit::Never, false),
                (EarlyExit::AnyJob, any_job),
                (EarlyExit::AnyFailure, any_failure),
            ] {
                let mut jobs = with_reached(reached, early_exit);
                let awaited = AwaitedJob { provider: provider.clone(), state: Pending };
                jobs.awaited.insert(JobId(1), awaited);
                assert_eq!(jobs.is_done(), expected, "{reached:?} {early_exit:?}");
                jobs.awaited.clear();
                assert!(jobs.is_done());
            }
        }
    }

    #[test]
    fn a_job_that_ends_without_running_is_not_awaited_any_more() {
        for (state, runs, has_ended) in
            [(Pending, false, false), (Running, true, false), (Failed, true, true)]
        {
            assert_eq!(AwaitedState::Running.is_reached(state), runs, "{state}");
            assert_eq!(AwaitedState::End.is_reached(state), has_ended, "{state}");
        }
    }

    #[test]
    fn the_summary_counts_by_state() {
        let jobs = with_reached(&[Failed, Succeeded, Succeeded], EarlyExit::Never);
        assert_eq!(jobs.summary(), "2 succeeded, 1 failed");
    }
}
