//! A job's life as a script, and where it stands at any moment of it.
//!
//! Knows no clock and no provider's words: times are counted from the job's submission, and a
//! kind's own file turns a [`Snapshot`] into the body of an answer.
//! Invariant: the last step never ends; a life without steps waits for ever.

use std::time::Duration;

use jiff::Timestamp;

/// How a job ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobEnd {
    Completed,
    CompletedPartial,
    Failed,
    /// Stopped, spelt as in the older documents.
    Cancelled,
    /// Stopped, spelt as in the newer ones.
    Canceled,
    Expired,
}

/// What a job is at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobPhase {
    Pending,
    Running,
    Ended(JobEnd),
    /// Any other word, told with or without the provider's flag for "over".
    Custom {
        state: String,
        finished: Option<bool>,
    },
}

/// From when the time of a life runs.
#[derive(Clone, Copy, Debug)]
pub enum ScriptStart {
    WhenAdded,
    AtFirstRequest,
    At(Timestamp),
}

/// A job's script: phases, each with its length.
#[derive(Clone, Debug)]
pub struct JobScript {
    pub start: ScriptStart,
    /// Of its result, where the answer carries them.
    result_rows: usize,
    query_id: Option<u64>,
    phases: Vec<(Duration, JobPhase)>,
}

/// Where a life stands; all spans are counted from submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptSnapshot {
    pub phase: JobPhase,
    pub elapsed: Duration,
    /// Until the next phase; none in the last.
    pub until_next_phase: Option<Duration>,
    pub started_after: Option<Duration>,
    pub ended_after: Option<Duration>,
    /// When the result went, if it has.
    pub expired_after: Option<Duration>,
    /// Of the result.
    pub result_rows: usize,
    /// What is run, where it has a number.
    pub query_id: Option<u64>,
}

impl JobScript {
    const DEFAULT_RESULT_ROWS: usize = 300;

    /// A life whose time runs from when it is put in.
    pub fn new() -> Self {
        Self {
            start: ScriptStart::WhenAdded,
            result_rows: Self::DEFAULT_RESULT_ROWS,
            query_id: None,
            phases: Vec::new(),
        }
    }

    /// A life in the provider's own words, each said for so long, the last for ever. A word that
    /// the provider knows has the body that goes with it.
    pub fn from_states(states: Vec<(Duration, String)>) -> Self {
        let custom = |(lasts, word)| (lasts, JobPhase::Custom { state: word, finished: None });
        Self { phases: states.into_iter().map(custom).collect(), ..Self::new() }
    }

    /// A life whose time runs from the first request for the job, not from when it was put in.
    pub fn starting_at_first_request() -> Self {
        Self { start: ScriptStart::AtFirstRequest, ..Self::new() }
    }

    /// Time runs from `at`, past or future; before it the job is not known.
    pub fn submitted_at(self, at: Timestamp) -> Self {
        Self { start: ScriptStart::At(at), ..self }
    }

    /// With so many result rows.
    pub fn with_result_rows(self, rows: usize) -> Self {
        Self { result_rows: rows, ..self }
    }

    /// A run of this query, among others of the same.
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

    /// Ends the script with `end`.
    pub fn ending_with(self, end: JobEnd) -> Self {
        self.with_phase(Duration::ZERO, JobPhase::Ended(end))
    }

    /// Ends the script with any word, and the provider's flag for "over" if it is to be told.
    pub fn ending_in_state(self, word: &str, finished: Option<bool>) -> Self {
        self.with_phase(Duration::ZERO, JobPhase::Custom { state: word.to_owned(), finished })
    }

    /// Any phase, for so long: for a result that expires, or a state that contradicts another.
    pub fn with_phase(mut self, duration: Duration, phase: JobPhase) -> Self {
        self.phases.push((duration, phase));
        self
    }

    /// The same life up to `elapsed`, when it was stopped; one that was over stays as it was.
    #[must_use]
    pub fn cancelled_after(mut self, elapsed: Duration, end: JobEnd) -> Self {
        if self.snapshot_after(elapsed).ended_after.is_some() {
            return self;
        }
        let past_phases: Vec<_> = self
            .timeline()
            .filter(|(begins, ..)| *begins <= elapsed)
            .map(|(begins, ends, phase)| {
                let lasts = ends.map_or(elapsed, |ends| ends.min(elapsed)).saturating_sub(begins);
                (lasts, phase.clone())
            })
            .collect();
        self.phases = past_phases;
        self.ending_with(end)
    }

    /// The same life with its bare words read by `known`.
    pub fn resolve_states_with(
        mut self,
        phase_of_state: impl Fn(&str) -> Option<JobPhase>,
    ) -> Self {
        for (_, phase) in &mut self.phases {
            if let JobPhase::Custom { state: word, finished: None } = phase
                && let Some(meant) = phase_of_state(word)
            {
                *phase = meant;
            }
        }
        self
    }

    /// Where the life stands `elapsed` after submission.
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
        for (begins, ends, phase) in self.timeline().take_while(|(begins, ..)| *begins <= elapsed) {
            match phase {
                JobPhase::Pending | JobPhase::Custom { finished: None | Some(false), .. } => {}
                JobPhase::Running => {
                    snapshot.started_after = snapshot.started_after.or(Some(begins));
                }
                JobPhase::Ended(_) | JobPhase::Custom { finished: Some(true), .. } => {
                    snapshot.ended_after = snapshot.ended_after.or(Some(begins));
                }
            }
            if *phase == JobPhase::Ended(JobEnd::Expired) {
                snapshot.expired_after = Some(begins);
            }
            snapshot.until_next_phase = ends.map(|ends| ends.saturating_sub(elapsed));
            snapshot.phase = phase.clone();
        }
        snapshot
    }

    /// Each phase with its begin, and its end unless it is the last.
    pub fn timeline(&self) -> impl Iterator<Item = (Duration, Option<Duration>, &JobPhase)> {
        let mut next = Duration::ZERO;
        self.phases.iter().enumerate().map(move |(index, (lasts, phase))| {
            let begins = next;
            next = begins.saturating_add(*lasts);
            (begins, (index + 1 < self.phases.len()).then_some(next), phase)
        })
    }
}

/// The instant `span` after `at`.
pub fn add_duration(at: Timestamp, span: Duration) -> Timestamp {
    at.checked_add(span).unwrap_or(Timestamp::MAX)
}
