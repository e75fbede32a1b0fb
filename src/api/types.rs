//! The shapes of requests and answers, one JSON object each. Every field that may be absent is an
//! `Option`; unknown fields of an answer are ignored, so that an older client understands a newer
//! daemon.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ForecastResponse;
use crate::job::{
    EventCursor, Evidence, Finding, JobId, Labels, ProviderName, RemoteId, SimilarityKeys, State,
    UtcTime,
};

/// `POST /v1/jobs`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddRequest {
    /// At most [`AddRequest::MAX_JOBS`].
    pub jobs: Vec<AddRequestEntry>,
}

impl AddRequest {
    /// More jobs in one request are refused; the client sends this many at a time.
    pub const MAX_JOBS: usize = 1000;
}

/// One job of an [`AddRequest`]. Names are plain text here: a bad one is rejected by itself and
/// does not spoil the others.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddRequestEntry {
    /// A configured provider.
    pub provider: String,
    /// The provider's name for the job.
    pub remote_id: String,
    /// Marks of the user's own.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub labels: std::collections::BTreeMap<String, String>,
    /// A duration such as `2h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub give_up_after: Option<String>,
    /// The name of the past runs that it is like; without it the provider tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub similar_to: Option<String>,
}

/// The answer to an [`AddRequest`], once committed; one entry a job, in the same order.
#[derive(Debug, Serialize, Deserialize)]
pub struct AddResponse {
    /// What became of each.
    pub jobs: Vec<AddResponseEntry>,
}

/// What became of one job of an [`AddRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddResponseEntry {
    /// Our number; none if rejected.
    pub id: Option<JobId>,
    /// As it was sent.
    pub provider: String,
    /// As it was sent.
    pub remote_id: String,
    /// Where it stands; none if rejected.
    pub state: Option<State>,
    /// What became of it.
    pub outcome: AddOutcome,
    /// Why it was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What became of a job that was to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddOutcome {
    /// It is new.
    Added,
    /// It was there; only its labels and what it is like may have changed.
    Existing,
    /// It cannot be tracked.
    Rejected,
}

/// A job, as the `jobs` view shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// Our number.
    pub id: JobId,
    /// Whose job it is.
    pub provider: ProviderName,
    /// The provider's kind.
    pub kind: String,
    /// Its name there.
    pub remote_id: RemoteId,
    /// What the job runs: a Dune query's number, a DataArts script, a DLI queue.
    pub source: Option<String>,
    /// Where it stands.
    pub state: State,
    /// The provider's last word for that.
    pub provider_state: Option<String>,
    /// Whether it is over.
    pub terminal: bool,
    /// The user's marks.
    pub labels: Labels,
    /// The number of the user that added the job.
    pub added_by_uid: Option<u32>,
    /// The name of that user when the job was added; none if unknown.
    pub added_by_user: Option<String>,
    /// When it was added.
    pub registered_at: UtcTime,
    /// The provider's time.
    pub submitted_at: Option<UtcTime>,
    /// The provider's time.
    pub started_at: Option<UtcTime>,
    /// The provider's time.
    pub ended_at: Option<UtcTime>,
    /// When we learned that it is over.
    pub terminal_at: Option<UtcTime>,
    /// The provider's time.
    pub expires_at: Option<UtcTime>,
    /// When jobtrackd stops tracking the job; none if the limit of its provider applies.
    pub deadline_at: Option<UtcTime>,
    /// Why, in the provider's words or ours.
    pub message: Option<String>,
    /// When the last poll's answer was in.
    pub last_polled_at: Option<UtcTime>,
    /// When the next poll is due.
    pub next_poll_at: Option<UtcTime>,
    /// Polls so far, failed ones included.
    pub polls: u32,
    /// Failed polls so far.
    pub failed_polls: u32,
    /// Why the last poll failed; none if it did not.
    pub last_poll_error: Option<String>,
    /// Seconds from submission to start; none if unknown or not finished, as in all fields with `_s`.
    pub queue_s: Option<f64>,
    /// Seconds from start to end.
    pub run_s: Option<f64>,
    /// Seconds from submission to end.
    pub total_s: Option<f64>,
    /// Seconds from the end of the job to the answer that reported it.
    pub detection_delay_s: Option<f64>,
    /// Upper bound of `detection_delay_s`.
    pub detection_delay_max_s: Option<f64>,
    /// What the run cost, in the provider's credits.
    pub credits: Option<f64>,
    /// What else the provider told.
    pub detail: Map<String, Value>,
    /// Which past runs it is like: a text if its user said so, an array of them if the provider told.
    #[serde(default)]
    pub similarity_keys: SimilarityKeys,
    /// When it is asked next and should be over; only `GET /v1/jobs/{id}` of one that is not over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<ForecastResponse>,
}

/// `GET /v1/jobs`.
#[derive(Debug, Serialize, Deserialize)]
pub struct JobList {
    /// Newest first.
    pub jobs: Vec<Job>,
    /// Give it as `after=` for the next page; none at the end.
    pub next_cursor: Option<JobId>,
}

/// A transition, as the `history` view shows it; on the wire, an event.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TransitionEvent {
    /// Names the event; reading the history can continue after it.
    pub cursor: EventCursor,
    /// Our number of the job.
    pub job_id: JobId,
    /// Whose job it is.
    pub provider: ProviderName,
    /// Its name there.
    pub remote_id: RemoteId,
    /// The state before; none in a job's first row.
    pub from_state: Option<State>,
    /// The state after.
    pub to_state: State,
    /// The provider's word.
    pub provider_state: Option<String>,
    /// How we know.
    pub evidence: Evidence,
    /// When it was, by the provider's clock.
    pub occurred_at: Option<UtcTime>,
    /// When we learned of it, by ours.
    pub observed_at: UtcTime,
    /// Not before this, by our clock.
    pub earliest_at: Option<UtcTime>,
    /// Why.
    pub message: Option<String>,
}

/// `GET /v1/history` and `GET /v1/jobs/{id}/history`.
#[derive(Debug, Serialize, Deserialize)]
pub struct TransitionList {
    /// By number, ascending.
    pub transitions: Vec<TransitionEvent>,
    /// Give it as `after=` for the next page; none if this page ends at the newest one.
    pub next_cursor: Option<EventCursor>,
}

/// `GET /v1/status`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// The daemon's version.
    pub version: String,
    /// The daemon's process.
    pub pid: u32,
    /// When it started.
    pub started_at: UtcTime,
    /// The database.
    pub store: StoreStatus,
    /// The newest event.
    pub newest_event: EventCursor,
    /// What is wrong; empty if all is well.
    pub degraded_reasons: Vec<String>,
    /// Jobs that are not over.
    pub active_jobs: u64,
    /// Changes that wait to be written.
    pub unwritten_changes: u64,
    /// One for each provider.
    pub providers: Vec<ProviderStatus>,
}

/// The database of a [`DaemonStatus`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoreStatus {
    /// The name and version of the database engine.
    pub engine: String,
    /// Where the database is.
    pub location: String,
    /// The version of the schema.
    pub schema_version: i64,
    /// The size of all files of the database, in bytes; 0 before the first commit.
    pub size_bytes: u64,
}

/// How one provider is doing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProviderStatus {
    /// Its name.
    pub provider: ProviderName,
    /// Its kind; none if it is not configured any more and its jobs wait.
    pub kind: Option<String>,
    /// Jobs that are not over.
    pub active_jobs: u64,
    /// Polls whose time has come and that wait for the budget.
    pub due_polls: u64,
    /// How late the latest of them is, in seconds.
    pub max_overdue_s: f64,
    /// How late the ends of late were seen, in seconds on average; none if there were none since the
    /// start.
    #[serde(default)]
    pub detection_delay_s: Option<f64>,
    /// Polls under way.
    pub in_flight: u32,
    /// Polls sent in the last 60 s.
    pub requests_last_minute: u32,
    /// The budget.
    pub requests_per_minute: u32,
    /// Failed polls in a row.
    pub consecutive_failures: u32,
    /// When the provider began to fail or to refuse; none if it answers.
    #[serde(default)]
    pub outage_began_at: Option<UtcTime>,
    /// Why nothing is asked at present; none if it is.
    pub pause: Option<PauseStatus>,
    /// Words of its answers that are not known; `states` in the config can tell what they mean.
    #[serde(default)]
    pub unknown_states: Vec<String>,
}

/// A time in which a provider is not asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PauseStatus {
    /// Why.
    pub reason: String,
    /// When it is asked again.
    pub until: UtcTime,
}

/// `POST /v1/providers/{name}/check`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConnectionCheckResponse {
    /// Who was asked.
    pub provider: ProviderName,
    /// Whether there is nothing to mend.
    pub ok: bool,
    /// What came of the request, in two fields: `found`, a word, and `told`, why.
    #[serde(flatten)]
    pub finding: Finding,
    /// By how many seconds our clock is ahead of the service's; none if that told no time.
    pub clock_ahead_s: Option<i64>,
    /// What to look at and what to do, a line each.
    pub advice: Vec<String>,
}

/// `DELETE /v1/providers/{name}/lessons[?like=NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgetDurationsResponse {
    /// Of whose jobs.
    pub provider: ProviderName,
    /// Only what was learned under this name; all if there is none.
    pub similar_to: Option<String>,
    /// So many past runs are forgotten.
    pub forgotten_count: u64,
}

/// `POST /v1/reload`.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReloadResponse {
    /// What changed, a line each.
    pub changed: Vec<String>,
    /// What changed in the file but needs a restart.
    pub needs_restart: Vec<String>,
}

/// An error, as RFC 9457 has it (`application/problem+json`).
#[derive(Debug, Serialize, Deserialize)]
pub struct ProblemDetails {
    /// Stable, for programs: `bad_request`, `not_found`, `method_not_allowed`, `too_slow`,
    /// `too_large`, `no_provider`, `paused`, `over`,
    /// `refused_upstream`, `config`, `busy`, `storage`, `shutting_down`.
    pub code: String,
    /// The kind of trouble, in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong, where, and what to do.
    pub detail: String,
}
