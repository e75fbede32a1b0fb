//! What passes between the tracker and the store: a job as it is loaded, a change of it as it is
//! written, and the bookkeeping of its polls. Plain data; the store adds no meaning of its own.

use std::time::Duration;

use super::answer::ProviderTimes;
use super::id::{JobId, Labels, ProviderName, RemoteId};
use super::similarity::{DurationSample, SimilarityKeys};
use super::state::State;
use super::time::UtcTime;
use super::transition::{CurrentState, Transition};

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
    pub similarity_keys: SimilarityKeys,
    /// The uid of who asked.
    pub added_by: Option<u32>,
    /// When.
    pub registered_at: UtcTime,
}

/// A job as the store knows it and the tracker needs it.
#[derive(Debug, Clone)]
pub struct StoredJob {
    /// Our number.
    pub id: JobId,
    /// Whose job it is.
    pub provider: ProviderName,
    /// Its name there.
    pub remote_id: RemoteId,
    /// Where it stands.
    pub current_state: CurrentState,
    /// When it was registered.
    pub registered_at: UtcTime,
    /// Its own limit of patience.
    pub give_up_after: Option<Duration>,
    /// When it was to be asked next.
    pub next_poll_at: Option<UtcTime>,
    /// Polls so far, failed ones included.
    pub polls: u32,
    /// Failed polls so far.
    pub failed_polls: u32,
    /// Its place in the provider's list, if that has one.
    pub list_time: Option<UtcTime>,
    /// Which past runs it is like.
    pub similarity_keys: SimilarityKeys,
    /// The provider's times.
    pub times: ProviderTimes,
}

/// A job's move: its rows, and what stands of it afterwards.
#[derive(Debug, Clone)]
pub struct Change {
    /// Whose.
    pub job: JobId,
    /// The state in which the store must find it, or nothing is written…
    pub expected_state: State,
    /// …and the provider's word for that: a change may be of the word alone.
    pub expected_provider_state: Option<Box<str>>,
    /// The rows, in order, never empty.
    pub transitions: Vec<Transition>,
    /// What stands of it after them.
    pub new_state: CurrentState,
    /// The bookkeeping of the poll that told it; none if no poll did.
    pub poll_record: Option<PollRecord>,
    /// What its end teaches of those like it; none if it is not over, or teaches nothing.
    pub duration_sample: Option<DurationSample>,
}

/// The bookkeeping of a job's polls: nothing that the history depends on.
#[derive(Debug, Clone)]
pub struct PollRecord {
    /// Whose.
    pub job: JobId,
    /// The state in which the store must find it, or the note is dropped.
    pub expected_state: State,
    /// When the last poll's answer was in.
    pub last_polled_at: UtcTime,
    /// When the next poll is due.
    pub next_poll_at: Option<UtcTime>,
    /// When the request of the last good answer was sent.
    pub last_success_sent_at: Option<UtcTime>,
    /// Polls so far, failed ones included.
    pub polls: u32,
    /// Failed polls so far.
    pub failed_polls: u32,
    /// Why the last poll failed; none if it did not.
    pub last_poll_error: Option<String>,
    /// What the last good answer told, if it told something new.
    pub metadata: Option<Metadata>,
}

impl Change {
    /// Adds what an older note told and is not written yet.
    pub fn merge_older_record(&mut self, older: PollRecord) {
        let record = match self.poll_record.take() {
            Some(newer) => newer.with_older_metadata(Some(older)),
            None => PollRecord { expected_state: self.expected_state, ..older },
        };
        let is_terminal = self.new_state.state().is_terminal();
        self.poll_record = Some(PollRecord {
            next_poll_at: record.next_poll_at.filter(|_| !is_terminal),
            ..record
        });
    }
}

impl PollRecord {
    /// This note, with what `older` told if it tells nothing itself.
    #[must_use]
    pub fn with_older_metadata(self, older: Option<Self>) -> Self {
        let metadata = self.metadata.or_else(|| older.and_then(|older| older.metadata));
        Self { metadata, ..self }
    }
}

/// The changing facts of an answer that are no transition.
#[derive(Debug, Clone)]
pub struct Metadata {
    /// The provider's times.
    pub times: ProviderTimes,
    /// Why, in the provider's words.
    pub message: Option<String>,
    /// Its place in the provider's list, if that has one.
    pub list_time: Option<UtcTime>,
    /// Which past runs it is like.
    pub similarity_keys: SimilarityKeys,
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
        at: UtcTime,
        /// What it said.
        reason: String,
    },
    /// With the first good answer.
    Ended {
        /// When that was.
        at: UtcTime,
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
    pub at: UtcTime,
    /// What.
    pub description: String,
}
