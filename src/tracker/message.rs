//! What the tracker is told and what it answers: the words between it and its shell.

use std::time::Duration;

use crate::job::{
    Anomaly, Answer, Asked, Change, Grace, JobId, Lesson, Listing, Mono, Note, Outage, Page,
    ProviderName, RemoteId, Tracked, Utc,
};
use crate::policy::{Backoff, Rule};

use super::health::Pause;
use super::lane::LaneId;

/// A provider's settings, as the tracker needs them.
#[derive(Debug, Clone, PartialEq)]
pub struct LaneSettings {
    /// Its name.
    pub name: ProviderName,
    /// The account that it shares with all that name it; none if it has one of its own.
    pub account: Option<String>,
    /// The budget; of several that share an account the lowest counts.
    pub requests_per_minute: u32,
    /// Polls under way at once, at most.
    pub max_in_flight: u32,
    /// By which rule a job that answers is asked again.
    pub policy: Policy,
    /// When one is, by growing pauses; and one that does not answer, in any case.
    pub backoff: Backoff,
    /// From a job's registration, unless it has its own.
    pub give_up_after: Duration,
    /// "Not found" for so long makes a job lost.
    pub lost_after: Grace,
    /// No poll takes longer.
    pub request_timeout: Duration,
    /// Whether it has a list that answers for many jobs at once.
    pub lists: bool,
}

impl LaneSettings {
    /// No job that answers is left alone for longer.
    pub(super) fn longest_interval(&self) -> Duration {
        match self.policy {
            Policy::Learned(_) => Rule::LONGEST,
            Policy::Backoff => self.backoff.max,
        }
    }
}

/// By which rule jobs are asked again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Policy {
    /// When their past says that it is worth a request.
    Learned(Rule),
    /// After pauses that grow.
    Backoff,
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// Time passed, nothing else.
    Tick,
    /// These are the providers, all of them, from now on.
    Configure(Vec<LaneSettings>),
    /// This was learned in earlier lives, in this order; comes before the jobs.
    Learned(Vec<(ProviderName, Lesson)>),
    /// Forget what was learned of this provider, under this name or at all.
    Forget(ProviderName, Option<String>),
    /// The provider bears another name: the jobs of `from` in the database are those of `to` now.
    Renamed {
        /// The former name, which is configured no more.
        from: ProviderName,
        /// The name now.
        to: ProviderName,
    },
    /// These jobs are in the database and not over; those that are held already stay as they are,
    /// but for what their users say that they are like.
    Track(Vec<Tracked>),
    /// Somebody wants this job asked now, over or not.
    PollNow(Box<Tracked>),
    /// Somebody wants this job no longer asked; the text is why.
    Untrack(JobId, String),
    /// A request to this provider goes out that is no poll of ours: somebody ordered it.
    ErrandBegun(ProviderName),
    /// It has ended, in whatever way.
    ErrandEnded(ProviderName),
    /// A poll came back.
    Answered(JobId, LaneId, Asked, Box<Answer>),
    /// A page of a list came back.
    Listed(PageQuestion, Asked, Box<Listing>),
    /// A change is committed.
    Written(JobId),
    /// The store found another state than the change expected, and wrote nothing: this is the job
    /// as it stands there, if it is there at all.
    Refused(JobId, Option<Box<Tracked>>),
    /// The same of a note, of which nothing was expected but that the job stands as we know it.
    Stale(JobId, Option<Box<Tracked>>),
}

/// What is to be done.
#[derive(Debug)]
pub enum Action {
    /// Ask this now; then say [`Input::Answered`].
    Ask(Question),
    /// Ask for this page now; then say [`Input::Listed`].
    List(PageQuestion),
    /// Commit this; then say [`Input::Written`] or [`Input::Refused`].
    Write(Change),
    /// Keep this some time soon; at once if somebody waits for it.
    Note {
        /// What to keep.
        note: Note,
        /// Somebody waits.
        urgent: bool,
    },
    /// Record this contradiction.
    Anomaly(Anomaly),
    /// Record that an outage began or ended.
    Outage(Outage),
    /// Let the operator know.
    Tell(Tell),
}

/// One poll.
#[derive(Debug, Clone)]
pub struct Question {
    /// Where its answer belongs.
    pub lane: LaneId,
    /// Whose.
    pub job: JobId,
    /// Whom to ask.
    pub provider: ProviderName,
    /// For what.
    pub remote_id: RemoteId,
}

/// One request for a page of a list.
#[derive(Debug, Clone)]
pub struct PageQuestion {
    /// Where its answer belongs.
    pub lane: LaneId,
    /// Whom to ask.
    pub provider: ProviderName,
    /// For what.
    pub page: Page,
    /// The jobs that it may show, and when each is due.
    pub jobs: Vec<(JobId, Mono)>,
}

/// What an operator should know, each said once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tell {
    /// Polls fail, one after the other.
    Failing {
        /// Whose.
        provider: ProviderName,
        /// The last failure.
        why: String,
    },
    /// The provider refuses us and is left alone for a while.
    Paused {
        /// Which.
        provider: ProviderName,
        /// Its words.
        why: String,
        /// How long, this time.
        span: Duration,
    },
    /// It answers again.
    Recovered {
        /// Which.
        provider: ProviderName,
    },
    /// A state that we do not know.
    UnknownWord {
        /// Whose.
        provider: ProviderName,
        /// The word.
        word: String,
    },
}

/// How a lane is doing.
#[derive(Debug, Clone)]
pub struct LaneReport {
    /// Its provider.
    pub name: ProviderName,
    /// Whether the provider is configured.
    pub configured: bool,
    /// Jobs that are not over.
    pub active_jobs: u64,
    /// Polls that wait for the budget.
    pub due_polls: u64,
    /// How late the latest of them is.
    pub late: Duration,
    /// How late the ends of late were seen, on average; none if there were none.
    pub lateness: Option<Duration>,
    /// Polls under way.
    pub in_flight: u32,
    /// Whether one of them should have ended long ago.
    pub stuck: bool,
    /// Requests of the last minute, by all that share its account.
    pub sent_last_minute: u32,
    /// The budget in force, of all that share its account.
    pub requests_per_minute: u32,
    /// Failed polls in a row.
    pub failures: u32,
    /// When the provider began to fail or to refuse; none if it answers.
    pub outage_since: Option<Utc>,
    /// Why nothing is asked.
    pub pause: Option<Pause>,
    /// Words that are not known, of the latest.
    pub unknown_words: Vec<String>,
}
