//! What passes between the tracker and the store: a job as it is loaded, a change of it as it is
//! written, and the bookkeeping of its polls. Plain data; the store adds no meaning of its own.

use std::time::Duration;

use super::answer::Times;
use super::id::{JobId, Labels, ProviderName, RemoteId};
use super::likeness::{Lesson, Likeness};
use super::state::State;
use super::time::Utc;
use super::transition::{Standing, Transition};

/// A job that somebody asks us to track.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Whose job it is.
    pub provider: ProviderName,
    /// The provider's kind, a word of the `jobs` view.
    pub kind: &'static str,
    /// Its name there.
    pub remote_id: RemoteId,
    /// The user's marks.
    pub labels: Labels,
    /// Its own limit of patience, if it has one.
    pub give_up_after: Option<Duration>,
    /// Which past runs it is like, if its user said so.
    pub likeness: Likeness,
    /// The uid of who asked.
    pub added_by: Option<u32>,
    /// When.
    pub registered_at: Utc,
}

/// A job as the store knows it and the tracker needs it.
#[derive(Debug, Clone)]
pub struct Tracked {
    /// Our number.
    pub id: JobId,
    /// Whose job it is.
    pub provider: ProviderName,
    /// Its name there.
    pub remote_id: RemoteId,
    /// Where it stands.
    pub standing: Standing,
    /// When it was registered.
    pub registered_at: Utc,
    /// Its own limit of patience.
    pub give_up_after: Option<Duration>,
    /// When it was to be asked next.
    pub next_poll_at: Option<Utc>,
    /// Polls so far, failed ones included.
    pub polls: u32,
    /// Failed polls so far.
    pub failed_polls: u32,
    /// Its place in the provider's list, if that has one.
    pub listed_at: Option<Utc>,
    /// Which past runs it is like.
    pub likeness: Likeness,
    /// The provider's times.
    pub times: Times,
}

/// A job's move: its rows, and what stands of it afterwards.
#[derive(Debug, Clone)]
pub struct Change {
    /// Whose.
    pub job: JobId,
    /// The state in which the store must find it, or nothing is written…
    pub expected: State,
    /// …and the provider's word for that: a change may be of the word alone.
    pub expected_word: Option<Box<str>>,
    /// The rows, in order, never empty.
    pub rows: Vec<Transition>,
    /// What stands of it after them.
    pub after: Standing,
    /// The bookkeeping of the poll that told it; none if no poll did.
    pub note: Option<Note>,
    /// What its end teaches of those like it; none if it is not over, or teaches nothing.
    pub lesson: Option<Lesson>,
}

/// The bookkeeping of a job's polls: nothing that the history depends on.
#[derive(Debug, Clone)]
pub struct Note {
    /// Whose.
    pub job: JobId,
    /// The state in which the store must find it, or the note is dropped.
    pub expected: State,
    /// When the last poll's answer was in.
    pub last_polled_at: Utc,
    /// When the next poll is due.
    pub next_poll_at: Option<Utc>,
    /// When the request of the last good answer was sent.
    pub answered_from: Option<Utc>,
    /// Polls so far, failed ones included.
    pub polls: u32,
    /// Failed polls so far.
    pub failed_polls: u32,
    /// Why the last poll failed; none if it did not.
    pub last_poll_error: Option<String>,
    /// What the last good answer told, if it told something new.
    pub told: Option<Told>,
}

impl Change {
    /// Adds what an older note told and is not written yet.
    pub fn take_along(&mut self, older: Note) {
        let note = match self.note.take() {
            Some(note) => note.after(Some(older)),
            None => Note { expected: self.expected, ..older },
        };
        let over = self.after.state.is_terminal();
        self.note = Some(Note { next_poll_at: note.next_poll_at.filter(|_| !over), ..note });
    }
}

impl Note {
    /// This note, with what `older` told if it tells nothing itself.
    #[must_use]
    pub fn after(self, older: Option<Self>) -> Self {
        let told = self.told.or_else(|| older.and_then(|older| older.told));
        Self { told, ..self }
    }
}

/// The changing facts of an answer that are no transition.
#[derive(Debug, Clone)]
pub struct Told {
    /// The provider's times.
    pub times: Times,
    /// Why, in the provider's words.
    pub message: Option<String>,
    /// Its place in the provider's list, if that has one.
    pub listed_at: Option<Utc>,
    /// Which past runs it is like.
    pub likeness: Likeness,
    /// A JSON object, as text.
    pub detail: String,
}

/// The beginning or the end of a time in which a provider could not be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// Whose.
    pub provider: ProviderName,
    /// Which of the two.
    pub edge: OutageEdge,
}

/// One end of an outage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutageEdge {
    /// With the first of the failed polls.
    Began {
        /// When that was.
        at: Utc,
        /// What it said.
        reason: String,
    },
    /// With the first good answer.
    Ended {
        /// When that was.
        at: Utc,
        /// Failed polls since it began, or since we started.
        failed_polls: u32,
    },
}

/// A contradiction that is recorded beside the history.
#[derive(Debug, Clone)]
pub struct Anomaly {
    /// Whose.
    pub job: JobId,
    /// When we noticed.
    pub at: Utc,
    /// What.
    pub what: String,
}
