//! What the tracker is told and what it answers: the words between it and its shell.

use std::time::Duration;

use crate::job::{
    Anomaly, Answer, Change, DurationSample, JobId, ListPage, ListWindow, MonotonicTime,
    NotFoundTimeout, Outage, PollRecord, ProviderName, RemoteId, RequestTimes, StoredJob, UtcTime,
};
use crate::policy::{Backoff, PollRule};

use super::breaker::RequestPause;
use super::provider_queue::ProviderIndex;

/// A provider's settings, as the tracker needs them.
#[derive(Debug, Clone, PartialEq)]
pub struct ProviderSettings {
    /// Its name.
    pub name: ProviderName,
    /// The account that it shares with all that name it; none if it has one of its own.
    pub account: Option<String>,
    /// The budget; of several that share an account the lowest counts.
    pub requests_per_minute: u32,
    /// Polls under way at once, at most.
    pub max_in_flight: u32,
    /// By which rule a job that answers is asked again.
    pub policy: PollPolicy,
    /// When one is, by growing pauses; and one that does not answer, in any case.
    pub backoff: Backoff,
    /// From a job's registration, unless it has its own.
    pub give_up_after: Duration,
    /// "Not found" for so long makes a job lost.
    pub lost_after: NotFoundTimeout,
    /// No poll takes longer.
    pub request_timeout: Duration,
    /// Whether it has a list that answers for many jobs at once.
    pub supports_list: bool,
}

impl ProviderSettings {
    /// No job that answers is left alone for longer.
    pub(super) fn max_poll_interval(&self) -> Duration {
        match self.policy {
            PollPolicy::Learned(_) => PollRule::MAX_INTERVAL,
            PollPolicy::Backoff => self.backoff.max,
        }
    }
}

/// By which rule jobs are asked again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PollPolicy {
    /// When their past says that it is worth a request.
    Learned(PollRule),
    /// After pauses that grow.
    Backoff,
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// Time passed, nothing else.
    Tick,
    /// These are the providers, all of them, from now on.
    Configure(Vec<ProviderSettings>),
    /// This was learned in earlier lives, in this order; comes before the jobs.
    LoadDurationSamples(Vec<(ProviderName, DurationSample)>),
    /// Forget what was learned of this provider, under this name or at all.
    ForgetDurations(ProviderName, Option<String>),
    /// The provider bears another name: the jobs of `from` in the database are those of `to` now.
    ProviderRenamed {
        /// The former name, which is configured no more.
        from: ProviderName,
        /// The name now.
        to: ProviderName,
    },
    /// These jobs are in the database and not over; those that are held already stay as they are,
    /// but for what their users say that they are like.
    Track(Vec<StoredJob>),
    /// Somebody wants this job asked now, over or not.
    PollNow(Box<StoredJob>),
    /// Somebody wants this job no longer asked; the text is why.
    Untrack(JobId, String),
    /// A request to this provider goes out that is no poll of ours: somebody ordered it.
    OnDemandRequestStarted(ProviderName),
    /// It has ended, in whatever way.
    OnDemandRequestFinished(ProviderName),
    /// A poll came back.
    PollAnswered(JobId, ProviderIndex, RequestTimes, Box<Answer>),
    /// A page of a list came back.
    ListAnswered(ListRequest, RequestTimes, Box<Answer<ListPage>>),
    /// A change is committed.
    ChangeCommitted(JobId),
    /// The store found another state than the change expected, and wrote nothing: this is the job
    /// as it stands there, if it is there at all.
    ChangeRejected(JobId, Option<Box<StoredJob>>),
    /// The same of a note, of which nothing was expected but that the job stands as we know it.
    PollRecordRejected(JobId, Option<Box<StoredJob>>),
}

/// What is to be done.
#[derive(Debug)]
pub enum Action {
    /// Ask this now; then say [`Input::Answered`].
    Poll(PollRequest),
    /// Ask for this page now; then say [`Input::Listed`].
    List(ListRequest),
    /// Commit this; then say [`Input::Written`] or [`Input::Refused`].
    Commit(Change),
    /// Keep this some time soon; at once if somebody waits for it.
    RecordPoll {
        /// What to keep.
        poll_record: PollRecord,
        /// Somebody waits.
        urgent: bool,
    },
    /// Record this contradiction.
    RecordAnomaly(Anomaly),
    /// Record that an outage began or ended.
    RecordOutage(Outage),
    /// Let the operator know.
    Notify(Notice),
}

/// One poll.
#[derive(Debug, Clone)]
pub struct PollRequest {
    /// Where its answer belongs.
    pub provider_index: ProviderIndex,
    /// Whose.
    pub job: JobId,
    /// Whom to ask.
    pub provider: ProviderName,
    /// For what.
    pub remote_id: RemoteId,
}

/// One request for a page of a list.
#[derive(Debug, Clone)]
pub struct ListRequest {
    /// Where its answer belongs.
    pub provider_index: ProviderIndex,
    /// Whom to ask.
    pub provider: ProviderName,
    /// For what.
    pub window: ListWindow,
    /// The jobs that it may show, and when each is due.
    pub jobs: Vec<(JobId, MonotonicTime)>,
}

/// What an operator should know, each said once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Polls fail, one after the other.
    Failing {
        /// Whose.
        provider: ProviderName,
        /// The last failure.
        reason: String,
    },
    /// The provider refuses us and is left alone for a while.
    Paused {
        /// Which.
        provider: ProviderName,
        /// Its words.
        reason: String,
        /// How long, this time.
        duration: Duration,
    },
    /// It answers again.
    Recovered {
        /// Which.
        provider: ProviderName,
    },
    /// A state that we do not know.
    UnknownState {
        /// Whose.
        provider: ProviderName,
        /// The word.
        provider_state: String,
    },
}

/// How a lane is doing.
#[derive(Debug, Clone)]
pub struct ProviderReport {
    /// Its provider.
    pub provider: ProviderName,
    /// Whether the provider is configured.
    pub configured: bool,
    /// Jobs that are not over.
    pub active_jobs: u64,
    /// Polls that wait for the budget.
    pub due_polls: u64,
    /// How late the latest of them is.
    pub longest_overdue: Duration,
    /// How late the ends of late were seen, on average; none if there were none.
    pub mean_detection_delay: Option<Duration>,
    /// Polls under way.
    pub in_flight: u32,
    /// Whether one of them should have ended long ago.
    pub has_stuck_poll: bool,
    /// Requests of the last minute, by all that share its account.
    pub requests_last_minute: u32,
    /// The budget in force, of all that share its account.
    pub requests_per_minute: u32,
    /// Failed polls in a row.
    pub consecutive_failures: u32,
    /// When the provider began to fail or to refuse; none if it answers.
    pub outage_since: Option<UtcTime>,
    /// Why nothing is asked.
    pub pause: Option<RequestPause>,
    /// Words that are not known, of the latest.
    pub unknown_states: Vec<String>,
}
