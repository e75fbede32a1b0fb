//! Where a job is between a question and its row, and what comes next.

use std::time::Duration;

use crate::job::{Asked, Change, Lesson, Mono, Note, Observation, Ours, Standing};

/// What is being done with a job just now. Each is in exactly one stage, so that it has one poll in
/// flight at most, and none while a change of it is not committed.
#[derive(Debug)]
pub(super) enum Stage {
    /// It stands in its lane's queue under this time.
    Waiting(Mono),
    /// A poll is under way.
    Asking {
        /// Somebody waits for it.
        by_hand: bool,
    },
    /// A change was handed to the store.
    Writing(Box<Pending>),
}

/// A change on its way into the database.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) cause: Cause,
    pub(super) after: Standing,
    pub(super) note: Option<Note>,
    pub(super) due: Mono,
    /// The store found another state than we expected, once already.
    pub(super) replanned: bool,
}

/// Why a job moves; kept until the change is written, to plan it anew on what the store has.
#[derive(Debug, Clone)]
pub(super) enum Cause {
    Told(Box<Observation>, Asked, Option<Taught>),
    Ours(Ours, String),
}

/// What the end of a job teaches.
#[derive(Debug, Clone)]
pub(super) struct Taught {
    pub(super) lesson: Lesson,
    /// How late it was seen, if that is known.
    pub(super) lateness: Option<Duration>,
}

impl Cause {
    pub(super) fn taught(&self) -> Option<&Taught> {
        match self {
            Self::Told(_, _, taught) => taught.as_ref(),
            Self::Ours(..) => None,
        }
    }
}

/// What is to be done after an answer was heard or a change was written.
#[derive(Debug)]
pub(super) enum Next {
    /// Ask again then.
    Wait(Mono),
    /// Write this first; the record is in [`Stage::Writing`].
    Write(Box<Change>),
    /// Nothing: it is over.
    Drop,
}

/// What one answer makes of a job.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) next: Next,
    /// The bookkeeping; none where it goes with the change.
    pub(super) note: Option<Note>,
    pub(super) anomaly: Option<String>,
}
