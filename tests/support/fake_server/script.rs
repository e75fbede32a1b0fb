//! A job's life as a script, and where it stands at any moment of it.
//!
//! Knows no clock and no provider's words: times are counted from the job's submission, and a
//! kind's own file turns a [`Snapshot`] into the body of an answer.
//! Invariant: the last step never ends; a life without steps waits for ever.

use std::time::Duration;

use jiff::Timestamp;

/// How a job ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
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
pub enum Phase {
    Pending,
    Running,
    Ended(End),
    /// Any other word, told with or without the provider's flag for "over".
    Said {
        word: String,
        finished: Option<bool>,
    },
}

/// From when the time of a life runs.
#[derive(Clone, Copy, Debug)]
pub enum Begin {
    WhenPut,
    FirstRequest,
    At(Timestamp),
}

/// A job's script: phases, each with its length.
#[derive(Clone, Debug)]
pub struct Life {
    pub begin: Begin,
    /// Of its result, where the answer carries them.
    rows: usize,
    query: Option<u64>,
    steps: Vec<(Duration, Phase)>,
}

/// Where a life stands; all spans are counted from submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub phase: Phase,
    pub elapsed: Duration,
    /// Until the next phase; none in the last.
    pub left: Option<Duration>,
    pub started: Option<Duration>,
    pub ended: Option<Duration>,
    /// When the result went, if it has.
    pub expired: Option<Duration>,
    /// Of the result.
    pub rows: usize,
    /// What is run, where it has a number.
    pub query: Option<u64>,
}

impl Life {
    const ROWS: usize = 300;

    /// A life whose time runs from when it is put in.
    pub fn new() -> Self {
        Self { begin: Begin::WhenPut, rows: Self::ROWS, query: None, steps: Vec::new() }
    }

    /// A life in the provider's own words, each said for so long, the last for ever. A word that
    /// the provider knows has the body that goes with it.
    pub fn steps(words: Vec<(Duration, String)>) -> Self {
        let said = |(lasts, word)| (lasts, Phase::Said { word, finished: None });
        Self { steps: words.into_iter().map(said).collect(), ..Self::new() }
    }

    /// A life whose time runs from the first request for the job, not from when it was put in.
    pub fn from_first_request() -> Self {
        Self { begin: Begin::FirstRequest, ..Self::new() }
    }

    /// Time runs from `at`, past or future; before it the job is not known.
    pub fn submitted_at(self, at: Timestamp) -> Self {
        Self { begin: Begin::At(at), ..self }
    }

    /// With so many result rows.
    pub fn rows(self, rows: usize) -> Self {
        Self { rows, ..self }
    }

    /// A run of this query, among others of the same.
    pub fn of_query(self, query: u64) -> Self {
        Self { query: Some(query), ..self }
    }

    pub fn query(&self) -> Option<u64> {
        self.query
    }

    pub fn pending(self, lasts: Duration) -> Self {
        self.step(lasts, Phase::Pending)
    }

    pub fn running(self, lasts: Duration) -> Self {
        self.step(lasts, Phase::Running)
    }

    /// Ends the script with `end`.
    pub fn then(self, end: End) -> Self {
        self.step(Duration::ZERO, Phase::Ended(end))
    }

    /// Ends the script with any word, and the provider's flag for "over" if it is to be told.
    pub fn then_says(self, word: &str, finished: Option<bool>) -> Self {
        self.step(Duration::ZERO, Phase::Said { word: word.to_owned(), finished })
    }

    /// Any phase, for so long: for a result that expires, or a state that contradicts another.
    pub fn step(mut self, lasts: Duration, phase: Phase) -> Self {
        self.steps.push((lasts, phase));
        self
    }

    /// The same life up to `elapsed`, when it was stopped; one that was over stays as it was.
    #[must_use]
    pub fn stopped(mut self, elapsed: Duration, end: End) -> Self {
        if self.at(elapsed).ended.is_some() {
            return self;
        }
        let lived: Vec<_> = self
            .timeline()
            .filter(|(begins, ..)| *begins <= elapsed)
            .map(|(begins, ends, phase)| {
                let lasts = ends.map_or(elapsed, |ends| ends.min(elapsed)).saturating_sub(begins);
                (lasts, phase.clone())
            })
            .collect();
        self.steps = lived;
        self.then(end)
    }

    /// The same life with its bare words read by `known`.
    pub fn read_with(mut self, known: impl Fn(&str) -> Option<Phase>) -> Self {
        for (_, phase) in &mut self.steps {
            if let Phase::Said { word, finished: None } = phase
                && let Some(meant) = known(word)
            {
                *phase = meant;
            }
        }
        self
    }

    /// Where the life stands `elapsed` after submission.
    pub fn at(&self, elapsed: Duration) -> Snapshot {
        let mut now = Snapshot {
            phase: Phase::Pending,
            elapsed,
            left: None,
            started: None,
            ended: None,
            expired: None,
            rows: self.rows,
            query: self.query,
        };
        for (begins, ends, phase) in self.timeline().take_while(|(begins, ..)| *begins <= elapsed) {
            match phase {
                Phase::Pending | Phase::Said { finished: None | Some(false), .. } => {}
                Phase::Running => now.started = now.started.or(Some(begins)),
                Phase::Ended(_) | Phase::Said { finished: Some(true), .. } => {
                    now.ended = now.ended.or(Some(begins));
                }
            }
            if *phase == Phase::Ended(End::Expired) {
                now.expired = Some(begins);
            }
            now.left = ends.map(|ends| ends.saturating_sub(elapsed));
            now.phase = phase.clone();
        }
        now
    }

    /// Each phase with its begin, and its end unless it is the last.
    pub fn timeline(&self) -> impl Iterator<Item = (Duration, Option<Duration>, &Phase)> {
        let mut next = Duration::ZERO;
        self.steps.iter().enumerate().map(move |(index, (lasts, phase))| {
            let begins = next;
            next = begins.saturating_add(*lasts);
            (begins, (index + 1 < self.steps.len()).then_some(next), phase)
        })
    }
}

/// The instant `span` after `at`.
pub fn after(at: Timestamp, span: Duration) -> Timestamp {
    at.checked_add(span).unwrap_or(Timestamp::MAX)
}
