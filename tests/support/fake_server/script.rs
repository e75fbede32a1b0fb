//! The script of a job: a sequence of phases, and the phase at any time after the submission.
//!
//! This module reads no clock and knows no provider's states: durations count from the submission,
//! and the file of a service turns a [`ScriptSnapshot`] into the body of a response. Invariant: the
//! last phase never ends; a script without phases stays pending.

use std::time::Duration;

use jiff::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobEnd {
    Completed,
    CompletedPartial,
    Failed,
    /// Spelt as in the older documents of the services.
    Cancelled,
    /// Spelt as in the newer documents.
    Canceled,
    Expired,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobPhase {
    Pending,
    Running,
    Ended(JobEnd),
    /// Any other provider state. `finished` is the service's own flag for a finished job, if it
    /// sends one.
    Custom {
        state: String,
        finished: Option<bool>,
    },
}

/// When the job is submitted, that is, when its first phase starts.
#[derive(Clone, Copy, Debug)]
pub enum ScriptStart {
    WhenAdded,
    AtFirstRequest,
    At(Timestamp),
}

#[derive(Clone, Debug)]
pub struct JobScript {
    pub start: ScriptStart,
    /// Number of result rows; only DataArts Studio returns them.
    result_rows: usize,
    query_id: Option<u64>,
    phases: Vec<(Duration, JobPhase)>,
}

/// The state of a script at one time; all durations count from the submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptSnapshot {
    pub phase: JobPhase,
    pub elapsed: Duration,
    /// `None` in the last phase.
    pub until_next_phase: Option<Duration>,
    pub started_after: Option<Duration>,
    pub ended_after: Option<Duration>,
    /// When the result expired, if it has.
    pub expired_after: Option<Duration>,
    pub result_rows: usize,
    pub query_id: Option<u64>,
}

impl JobScript {
    const DEFAULT_RESULT_ROWS: usize = 300;

    /// A script whose job is submitted when it is added.
    pub fn new() -> Self {
        Self {
            start: ScriptStart::WhenAdded,
            result_rows: Self::DEFAULT_RESULT_ROWS,
            query_id: None,
            phases: Vec::new(),
        }
    }

    /// A script of provider states, each with its duration; the last one never ends. A state that
    /// the service knows gets the body of its phase; see [`Self::resolve_states_with`].
    pub fn from_states(states: Vec<(Duration, String)>) -> Self {
        let custom = |(duration, state)| (duration, JobPhase::Custom { state, finished: None });
        Self { phases: states.into_iter().map(custom).collect(), ..Self::new() }
    }

    /// A script whose job is submitted when it is first requested.
    pub fn starting_at_first_request() -> Self {
        Self { start: ScriptStart::AtFirstRequest, ..Self::new() }
    }

    /// Sets the submission to `at`, past or future; the job does not exist before.
    pub fn submitted_at(self, at: Timestamp) -> Self {
        Self { start: ScriptStart::At(at), ..self }
    }

    pub fn with_result_rows(self, rows: usize) -> Self {
        Self { result_rows: rows, ..self }
    }

    pub fn with_query_id(self, query: u64) -> Self {
        Self { query_id: Some(query), ..self }
    }

    pub fn query_id(&self) -> Option<u64> {
        self.query_id
    }

    pub fn pending(self, duration: Duration) -> Self {
        self.with_phase(duration, JobPhase::Pending)
    }

    pub fn running(self, duration: Duration) -> Self {
        self.with_phase(duration, JobPhase::Running)
    }

    pub fn ending_with(self, end: JobEnd) -> Self {
        self.with_phase(Duration::ZERO, JobPhase::Ended(end))
    }

    /// Ends the script in any provider state; `finished` is the service's flag, if it sends one.
    pub fn ending_in_state(self, state: &str, finished: Option<bool>) -> Self {
        self.with_phase(Duration::ZERO, JobPhase::Custom { state: state.to_owned(), finished })
    }

    /// Adds any phase, for example the expiry of a result, or a phase that contradicts an earlier
    /// one.
    pub fn with_phase(mut self, duration: Duration, phase: JobPhase) -> Self {
        self.phases.push((duration, phase));
        self
    }

    /// The same script up to `elapsed`, and then `end`; a script that has ended by then is
    /// unchanged.
    #[must_use]
    pub fn cancelled_after(mut self, elapsed: Duration, end: JobEnd) -> Self {
        if self.snapshot_after(elapsed).ended_after.is_some() {
            return self;
        }
        let past_phases: Vec<_> = self
            .timeline()
            .filter(|(starts_after, ..)| *starts_after <= elapsed)
            .map(|(starts_after, ends_after, phase)| {
                let ends_after = ends_after.map_or(elapsed, |end| end.min(elapsed));
                let duration = ends_after.saturating_sub(starts_after);
                (duration, phase.clone())
            })
            .collect();
        self.phases = past_phases;
        self.ending_with(end)
    }

    /// Replaces each custom state without a `finished` flag by the phase that the service gives it.
    pub fn resolve_states_with(
        mut self,
        phase_of_state: impl Fn(&str) -> Option<JobPhase>,
    ) -> Self {
        for (_, phase) in &mut self.phases {
            if let JobPhase::Custom { state, finished: None } = phase
                && let Some(known_phase) = phase_of_state(state)
            {
                *phase = known_phase;
            }
        }
        self
    }

    pub fn snapshot_after(&self, elapsed: Duration) -> ScriptSnapshot {
        let mut snapshot = ScriptSnapshot {
            phase: JobPhase::Pending,
            elapsed,
            until_next_phase: None,
            started_after: None,
            ended_after: None,
            expired_after: None,
            result_rows: self.result_rows,
            query_id: self.query_id,
        };
        for (starts_after, ends_after, phase) in
            self.timeline().take_while(|(starts_after, ..)| *starts_after <= elapsed)
        {
            match phase {
                JobPhase::Pending | JobPhase::Custom { finished: None | Some(false), .. } => {}
                JobPhase::Running => {
                    snapshot.started_after = snapshot.started_after.or(Some(starts_after));
                }
                JobPhase::Ended(_) | JobPhase::Custom { finished: Some(true), .. } => {
                    snapshot.ended_after = snapshot.ended_after.or(Some(starts_after));
                }
            }
            if *phase == JobPhase::Ended(JobEnd::Expired) {
                snapshot.expired_after = Some(starts_after);
            }
            snapshot.until_next_phase = ends_after.map(|end| end.saturating_sub(elapsed));
            snapshot.phase = phase.clone();
        }
        snapshot
    }

    /// Each phase with its start, and its end unless it is the last.
    pub fn timeline(&self) -> impl Iterator<Item = (Duration, Option<Duration>, &JobPhase)> {
        let mut next_start = Duration::ZERO;
        self.phases.iter().enumerate().map(move |(index, (duration, phase))| {
            let starts_after = next_start;
            next_start = starts_after.saturating_add(*duration);
            (starts_after, (index + 1 < self.phases.len()).then_some(next_start), phase)
        })
    }
}

/// `at + span`, saturating.
pub fn add_duration(at: Timestamp, span: Duration) -> Timestamp {
    at.checked_add(span).unwrap_or(Timestamp::MAX)
}
