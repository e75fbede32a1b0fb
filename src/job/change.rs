//! The data that the tracker and the store exchange: stored jobs, changes, poll records, outages and
//! anomalies.
//!
//! The tracker decides what a change contains; the store writes it unchanged or rejects it whole.

use std::time::Duration;

use super::answer::ProviderTimes;
use super::audit::{AuditEntry, AuditTarget};
use super::id::{JobId, ProviderName, RemoteId};
use super::labels::Labels;
use super::poll_price::{JobPrice, PollPrice};
use super::similarity::{DurationSample, SimilarityKeys};
use super::state::{ProviderState, State};
use super::time::UtcTime;
use super::transition::{CurrentState, Transition};

/// A job to register.
#[derive(Debug, Clone)]
pub struct NewJob {
    pub provider: ProviderName,
    /// The provider's kind, a column of the view `jobs`.
    pub kind: &'static str,
    pub remote_id: RemoteId,
    pub labels: Labels,
    /// Replaces the limit of the provider.
    pub give_up_after: Option<Duration>,
    /// None: a job that is tracked already keeps its price.
    pub price: Option<JobPrice>,
    /// [`SimilarityKeys::Unknown`] if the user provided none.
    pub similarity_keys: SimilarityKeys,
    /// The user that added the job, if the operating system names the peer of the connection.
    pub added_by: Option<AddedBy>,
    pub registered_at: UtcTime,
    /// Whether an earlier job with this id is another run if it has ended.
    pub is_new_run: bool,
}

/// The user that added a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedBy {
    pub uid: u32,
    /// The user's name; `None` if the user database does not have that number.
    pub user: Option<String>,
}

/// What the tracker needs of a job in the store.
#[derive(Debug, Clone)]
pub struct StoredJob {
    pub id: JobId,
    pub provider: ProviderName,
    pub remote_id: RemoteId,
    pub current_state: CurrentState,
    pub registered_at: UtcTime,
    /// Replaces the limit of the provider.
    pub give_up_after: Option<Duration>,
    /// Replaces the price of the provider.
    pub price: Option<PollPrice>,
    pub next_poll_at: Option<UtcTime>,
    /// Includes failed polls.
    pub polls: u32,
    pub failed_polls: u32,
    /// See [`super::Observation::list_time`].
    pub list_time: Option<UtcTime>,
    pub similarity_keys: SimilarityKeys,
    pub times: ProviderTimes,
}

#[cfg(test)]
impl StoredJob {
    /// A job of the provider `dune` that was just registered.
    pub(crate) fn for_test(id: i64) -> Self {
        let registered_at = UtcTime::from_millis(1_000_000);
        Self {
            id: JobId(id),
            provider: "dune".parse().expect("a name"),
            remote_id: format!("01JOB{id}").parse().expect("an id"),
            current_state: CurrentState::registered(registered_at),
            registered_at,
            give_up_after: None,
            price: None,
            next_poll_at: None,
            polls: 0,
            failed_polls: 0,
            list_time: None,
            similarity_keys: SimilarityKeys::Unknown,
            times: ProviderTimes::default(),
        }
    }
}

/// A change of one job, to be committed as a whole.
#[derive(Debug, Clone)]
pub struct Change {
    pub job: JobId,
    /// The store rejects the change if the job is in another state.
    pub expected_state: State,
    /// The store also rejects the change if the job has another provider state, because a change may
    /// concern the provider state alone.
    pub expected_provider_state: Option<ProviderState>,
    /// In order, never empty.
    pub transitions: Vec<Transition>,
    /// The state after the transitions.
    pub new_state: CurrentState,
    /// The record of the poll that caused the change; none if no poll did.
    pub poll_record: Option<PollRecord>,
    /// The duration of the job; none if the job has not ended or its duration is unknown.
    pub duration_sample: Option<DurationSample>,
    /// The commands that caused the change; written with it.
    pub audit: Vec<AuditEntry>,
}

/// The result of the last poll of a job, apart from transitions. A lost record does not affect the
/// history.
#[derive(Debug, Clone)]
pub struct PollRecord {
    pub job: JobId,
    /// The store drops the record if the job is in another state.
    pub expected_state: State,
    /// When the answer to the last poll was complete.
    pub last_polled_at: UtcTime,
    /// None if the job is terminal.
    pub next_poll_at: Option<UtcTime>,
    /// When the request of the last successful poll was sent.
    pub last_success_sent_at: Option<UtcTime>,
    /// Includes failed polls.
    pub polls: u32,
    pub failed_polls: u32,
    /// None if the last poll succeeded.
    pub last_poll_error: Option<String>,
    /// None if the metadata did not change.
    pub metadata: Option<Metadata>,
}

impl From<&StoredJob> for AuditTarget {
    fn from(job: &StoredJob) -> Self {
        let (provider, remote_id) = (job.provider.clone(), job.remote_id.clone());
        Self::Job { id: job.id, provider, remote_id }
    }
}

impl Change {
    /// Merges an older record of the same job that is not written yet.
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
    /// This record, with the metadata of `older` if this record has none.
    #[must_use]
    pub fn with_older_metadata(self, older: Option<Self>) -> Self {
        let metadata = self.metadata.or_else(|| older.and_then(|older| older.metadata));
        Self { metadata, ..self }
    }
}

/// The facts in an answer that may change without a transition.
#[derive(Debug, Clone)]
pub struct Metadata {
    pub times: ProviderTimes,
    /// The reason for the state.
    pub message: Option<String>,
    /// See [`super::Observation::list_time`].
    pub list_time: Option<UtcTime>,
    pub similarity_keys: SimilarityKeys,
    /// What the job runs: see [`Observation::source`](super::Observation::source).
    pub source: Option<String>,
    /// What the run cost: see [`Observation::credits`](super::Observation::credits).
    pub credits: Option<f64>,
    /// The duration of the run, if the provider reports one.
    pub reported_duration: Option<Duration>,
    /// A JSON object as text.
    pub detail: String,
}

/// The start or the end of a time during which polls of a provider fail or are paused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutageEvent {
    pub provider: ProviderName,
    pub boundary: OutageBoundary,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutageBoundary {
    Began {
        /// The time of the first failed poll.
        at: UtcTime,
        /// The last error before the outage was recorded.
        reason: String,
    },
    Ended {
        /// The time of the first successful answer.
        at: UtcTime,
        /// Failed polls since the outage began, or since the daemon started.
        failed_polls: u32,
    },
}

/// A contradiction between two answers, or between the tracker and the database. It is recorded
/// beside the history.
#[derive(Debug, Clone)]
pub struct Anomaly {
    pub job: JobId,
    /// When the contradiction was noticed.
    pub at: UtcTime,
    pub description: String,
}
