//! The messages between the tracker and the scheduler: inputs, actions, and the settings that the
//! tracker needs.
//!
//! The scheduler feeds an [`Input`] to [`super::Tracker::handle`] and carries out the [`Action`]s
//! that the call returns. Each request is answered by exactly one input.

use std::time::Duration;

use crate::job::{
    Anomaly, Answer, Change, ConnectionCheck, DurationSample, JobId, ListPage, ListPageQuery,
    MonotonicTime, NotFoundTimeout, OutageEvent, PollRecord, ProviderError, ProviderName,
    RecordedTimes, RemoteId, RequestTimes, StoredJob, UtcTime,
};
use crate::policy::{Backoff, LearnedPolicySettings, RateLimiterStates};

use super::breaker::RequestPause;

/// The position of a provider in the tracker. Providers are never removed, so an index stays valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProviderIndex(u32);

impl ProviderIndex {
    #[expect(clippy::cast_possible_truncation, reason = "there are fewer than 2^32 providers")]
    pub(super) fn new(position: usize) -> Self {
        Self(position as u32)
    }

    pub(super) fn position(self) -> usize {
        self.0 as usize
    }
}

/// The position of an account in the tracker. Accounts are never removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AccountIndex(pub(super) usize);

#[derive(Debug, Clone, PartialEq)]
pub struct ProviderSettings {
    pub name: ProviderName,
    /// The name of an account shared with other providers; none if the provider has its own.
    pub account: Option<String>,
    /// Of the providers that share an account, the lowest limit applies to the account.
    pub requests_per_minute: u32,
    pub max_in_flight: u32,
    pub policy: PollPolicy,
    /// Used by [`PollPolicy::Backoff`], and under either policy after a failed poll.
    pub backoff: Backoff,
    /// Measured from a job's registration; a job may have a limit of its own.
    pub give_up_after: Duration,
    pub lost_after: NotFoundTimeout,
    /// The longest time that a poll may take.
    pub request_timeout: Duration,
    /// Whether the provider has a list request, which answers for many jobs at once.
    pub supports_list: bool,
    /// Changes with the credentials and with the address: requests then reach the service in another way.
    pub connection_fingerprint: u64,
}

impl ProviderSettings {
    /// The longest time between two polls of a job whose polls succeed.
    pub(super) fn max_poll_interval(&self) -> Duration {
        match self.policy {
            PollPolicy::Learned(_) => LearnedPolicySettings::MAX_INTERVAL,
            PollPolicy::Backoff => self.backoff.max,
        }
    }
}

/// How the next poll of a job is scheduled after a successful one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PollPolicy {
    /// By the durations of similar runs.
    Learned(LearnedPolicySettings),
    /// By intervals that grow while the job does not change.
    Backoff,
}

#[derive(Debug)]
pub enum Input {
    /// Nothing has happened but that time has passed: the time of a wake-up has come.
    Tick,
    /// The complete list of configured providers, which replaces the previous one.
    Configure(Vec<ProviderSettings>),
    /// Stored duration samples, oldest first. Must come before [`Input::Track`] at a start.
    LoadDurationSamples(Vec<(ProviderName, DurationSample)>),
    /// The last runs that have ended, newest first, whose durations are known from [`Input::LoadDurationSamples`]. Must come
    /// after [`Input::Track`] at a start.
    LoadRunStarts(Vec<(ProviderName, DurationSample)>),
    /// Forget the durations of one similarity key of the provider, or of all keys.
    ForgetDurations(ProviderName, Option<String>),
    /// Unfinished jobs from the database. A job that is tracked already keeps its state and takes
    /// over only similarity keys that its user provided.
    Track(Vec<StoredJob>),
    /// Poll this job now, even if the job is terminal.
    PollNow(Box<StoredJob>),
    /// Stop tracking this job; the text is the reason.
    Untrack(JobId, String),
    /// What earlier processes knew of the time. Must come before [`Input::Track`] at a start.
    LoadRecordedTimes(RecordedTimes),
    /// What the process before left for the rate limiters ([`super::Tracker::rate_limiter_states`]). Must come
    /// before [`Input::Configure`] at a start.
    LoadRateLimiterStates(RateLimiterStates),
    /// A person ordered to cancel this job of the provider.
    Cancel(ProviderName, JobId),
    CancelAnswered(ProviderName, JobId, Answer<()>),
    /// A person ordered a connection check.
    CheckConnection(ProviderName),
    ConnectionChecked(ProviderName, Box<ConnectionCheck>),
    PollAnswered(JobId, ProviderIndex, RequestTimes, Box<Answer>),
    ListAnswered(ListRequest, RequestTimes, Box<Answer<ListPage>>),
    ChangeCommitted(JobId),
    /// The store found another state than the change expected and wrote nothing. The job as stored,
    /// or none if the job is not in the database.
    ChangeRejected(JobId, Option<Box<StoredJob>>),
    /// The store found another state than the poll record expected and dropped the record.
    PollRecordRejected(JobId, Option<Box<StoredJob>>),
    /// The store cannot write this row of the job, whatever the job's stored state is, and dropped it.
    WriteFailed(JobId, FailedRow),
}

impl Input {
    /// The `Date` of an answer.
    pub(super) fn server_date(&self) -> Option<UtcTime> {
        if let Self::PollAnswered(_, _, _, answer) = self {
            answer.server_date
        } else if let Self::ListAnswered(_, _, answer) = self {
            answer.server_date
        } else if let Self::CancelAnswered(_, _, answer) = self {
            answer.server_date
        } else {
            None
        }
    }

    /// The same input if the wall clock was behind by `correction`.
    pub(super) fn with_corrected_times(mut self, correction: Duration) -> Self {
        if let Self::PollAnswered(_, _, times, _) | Self::ListAnswered(_, times, _) = &mut self {
            *times = times.corrected(correction);
        }
        self
    }
}

/// A row that the store cannot write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailedRow {
    Change,
    PollRecord,
}

/// Why a request that a person ordered is not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestRefusal {
    /// All requests to the provider are paused.
    Paused(RequestPause),
    /// Requests about the jobs that were rejected are paused, this one among them.
    JobPaused(RequestPause),
    /// Too many requests of this sort wait for the provider.
    QueueFull,
    ProviderRemoved,
}

#[derive(Debug)]
pub enum Action {
    /// Poll a job, then feed [`Input::PollAnswered`].
    Poll(PollRequest),
    /// Request a page of a provider's list, then feed [`Input::ListAnswered`].
    List(ListRequest),
    /// Send the cancel request for a job, then feed [`Input::CancelAnswered`].
    Cancel(ProviderName, JobId),
    /// Reply to those who ordered to cancel the job.
    RefuseCancel(ProviderName, JobId, RequestRefusal),
    /// Reply to those who ordered to cancel the job with the service's answer.
    ReplyToCancel(JobId, Result<(), ProviderError>),
    /// Check the connection, then feed [`Input::ConnectionChecked`].
    CheckConnection(ProviderName),
    /// Reply with this result to all who ordered a check, and keep it.
    ReplyToConnectionCheck(ProviderName, Box<ConnectionCheck>),
    /// Reply to those who ordered a check with the result of the last one. No other check is sent before
    /// the given time.
    ShareConnectionCheck(ProviderName, MonotonicTime),
    /// Reply to those who ordered a check.
    RefuseConnectionCheck(ProviderName, RequestRefusal),
    /// Commit a change, then feed [`Input::ChangeCommitted`], [`Input::ChangeRejected`] or
    /// [`Input::WriteFailed`].
    Commit(Change),
    RecordPoll {
        poll_record: PollRecord,
        /// A person waits for the result of this poll: write the record without delay.
        urgent: bool,
    },
    /// Record other times of the next polls of jobs. No answers led to them.
    RecordNextPolls(Vec<(JobId, UtcTime)>),
    RecordAnomaly(Anomaly),
    RecordOutage(OutageEvent),
    Notify(Notice),
}

#[derive(Debug, Clone)]
pub struct PollRequest {
    pub provider_index: ProviderIndex,
    pub job: JobId,
    pub provider: ProviderName,
    pub remote_id: RemoteId,
}

/// A request for one page of a provider's list.
#[derive(Debug, Clone)]
pub struct ListRequest {
    pub provider_index: ProviderIndex,
    pub provider: ProviderName,
    pub query: ListPageQuery,
    /// Never empty.
    pub jobs: Vec<ExpectedJob>,
}

/// A job that a list page is expected to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpectedJob {
    pub job: JobId,
    /// The due time of the job, which still applies if the page does not show the job.
    pub due: MonotonicTime,
}

/// An event that an operator should know about, sent once when a condition begins or ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Several polls in a row have failed; the reason is the last failure.
    Failing { provider: ProviderName, reason: String },
    /// The provider rejected a request, and its polling is paused.
    Paused { provider: ProviderName, reason: String, duration: Duration },
    /// Polls of the provider succeed again.
    Recovered { provider: ProviderName },
    /// The provider reported a state that is missing from its state map.
    UnknownState { provider: ProviderName, provider_state: String },
}
