//! The bodies of requests and responses, one JSON object each.
//!
//! Serialized by `control`, parsed by [`Client`](super::Client) and by other programs. A response
//! may gain fields: the client ignores unknown ones, so that an older client understands a newer
//! daemon. A request with an unknown field is rejected.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ForecastResponse;
use crate::job::{
    EventCursor, Evidence, Finding, JobId, Labels, ProviderName, RemoteId, SimilarityKeys, State,
    UtcTime,
};

/// The request of `POST /v1/jobs`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddRequest {
    /// At most [`AddRequest::MAX_JOBS`].
    pub jobs: Vec<AddRequestEntry>,
}

impl AddRequest {
    /// The daemon rejects a request with more jobs.
    pub const MAX_JOBS: usize = 1000;
}

/// One job of an [`AddRequest`]. The names are plain text here, so that an invalid name rejects
/// this job and not the whole request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddRequestEntry {
    pub provider: String,
    /// The provider's ID of the job.
    pub remote_id: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// A duration such as `2h`; without it the provider's setting applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub give_up_after: Option<String>,
    /// A name of the user's for similar runs; without it the provider's answers decide which runs
    /// are similar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub similar_to: Option<String>,
}

/// The response to an [`AddRequest`], sent once the jobs are committed.
#[derive(Debug, Serialize, Deserialize)]
pub struct AddResponse {
    /// One entry for each job of the request, in the same order.
    pub jobs: Vec<AddResponseEntry>,
}

/// The result for one job of an [`AddRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddResponseEntry {
    /// None if the job was rejected.
    pub id: Option<JobId>,
    /// The provider of the request.
    pub provider: String,
    /// The remote ID of the request.
    pub remote_id: String,
    /// None if the job was rejected.
    pub state: Option<State>,
    pub outcome: AddOutcome,
    /// Why the job was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What adding a job did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddOutcome {
    /// The job is new.
    Added,
    /// The job was tracked already; only its labels and similarity keys may have changed.
    Existing,
    /// The job was not added.
    Rejected,
}

/// A job, as the `jobs` view shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    pub id: JobId,
    pub provider: ProviderName,
    /// The provider's kind, as in the configuration.
    pub kind: String,
    /// The provider's ID of the job.
    pub remote_id: RemoteId,
    /// What the job runs: the number of a Dune query, a DataArts script, a DLI queue.
    pub source: Option<String>,
    pub state: State,
    /// The state as the provider's last answer named it.
    pub provider_state: Option<String>,
    /// Whether `state` is final.
    pub terminal: bool,
    pub labels: Labels,
    /// The user who added the job; the name is none if the user database does not have the uid.
    pub added_by_uid: Option<u32>,
    pub added_by_user: Option<String>,
    /// By the daemon's clock, like `terminal_at`, `last_polled_at` and `next_poll_at`.
    pub registered_at: UtcTime,
    /// By the provider's clock, like `started_at`, `ended_at` and `expires_at`.
    pub submitted_at: Option<UtcTime>,
    pub started_at: Option<UtcTime>,
    pub ended_at: Option<UtcTime>,
    /// When the daemon learned that the job had ended.
    pub terminal_at: Option<UtcTime>,
    /// When the provider deletes the job's result.
    pub expires_at: Option<UtcTime>,
    /// When the daemon stops tracking the job; none if the job has no limit of its own.
    pub deadline_at: Option<UtcTime>,
    /// Why the job is in its state: the provider's text, or the daemon's.
    pub message: Option<String>,
    /// When the answer to the last poll was complete.
    pub last_polled_at: Option<UtcTime>,
    pub next_poll_at: Option<UtcTime>,
    /// Polls so far, failed ones included.
    pub polls: u32,
    pub failed_polls: u32,
    /// None if the last poll succeeded.
    pub last_poll_error: Option<String>,
    /// Seconds from submission to start; like the four durations below, none if unknown, or if the
    /// job is unfinished.
    pub queue_s: Option<f64>,
    /// Seconds from start to end.
    pub run_s: Option<f64>,
    /// Seconds from submission to end.
    pub total_s: Option<f64>,
    /// Seconds from the job's end to the answer that showed it.
    pub detection_delay_s: Option<f64>,
    /// An upper bound of `detection_delay_s`.
    pub detection_delay_max_s: Option<f64>,
    /// The cost of the run, in the provider's credits.
    pub credits: Option<f64>,
    /// Other fields of the provider's answers; they depend on the kind.
    pub detail: Map<String, Value>,
    /// Which past runs are similar: a string if the user named them, an array of strings, closest
    /// first, if the provider's answers did.
    #[serde(default)]
    pub similarity_keys: SimilarityKeys,
    /// Present only in `GET /v1/jobs/{id}` of an unfinished job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<ForecastResponse>,
}

/// The response of `GET /v1/jobs`.
#[derive(Debug, Serialize, Deserialize)]
pub struct JobList {
    /// Newest first.
    pub jobs: Vec<Job>,
    /// The `after` parameter of the next page; none on the last page.
    pub next_cursor: Option<JobId>,
}

/// A transition, as the `history` view shows it; also the data of an event.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TransitionEvent {
    /// The position of the transition in the history: reading can continue after it.
    pub cursor: EventCursor,
    pub job_id: JobId,
    pub provider: ProviderName,
    pub remote_id: RemoteId,
    /// None in a job's first transition.
    pub from_state: Option<State>,
    pub to_state: State,
    /// The state as the provider named it.
    pub provider_state: Option<String>,
    pub evidence: Evidence,
    /// When the transition happened, by the provider's clock.
    pub occurred_at: Option<UtcTime>,
    /// When the daemon learned of the transition, by its own clock.
    pub observed_at: UtcTime,
    /// The transition did not happen before this time, by the daemon's clock.
    pub earliest_at: Option<UtcTime>,
    pub message: Option<String>,
}

/// The data of an event `pruned` of an event stream: some transitions that the client has not seen are
/// no longer in the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrunedTransitions {
    /// The deleted transitions are between these two positions, the second included.
    pub after: EventCursor,
    pub up_to: EventCursor,
    /// How many transitions are deleted, those that the stream's filter leaves out included.
    pub count: u64,
}

/// The response of `GET /v1/history` and `GET /v1/jobs/{id}/history`.
#[derive(Debug, Serialize, Deserialize)]
pub struct TransitionList {
    /// Oldest first.
    pub transitions: Vec<TransitionEvent>,
    /// The `after` parameter of the next page; none on the last page.
    pub next_cursor: Option<EventCursor>,
}

/// The response of `GET /v1/status`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// The version of `jobtrackd`.
    pub version: String,
    pub pid: u32,
    pub started_at: UtcTime,
    pub store: StoreStatus,
    pub newest_event: EventCursor,
    /// What is wrong, one sentence each; empty if nothing is.
    pub degraded_reasons: Vec<String>,
    /// The sum of the same field of all providers.
    pub active_jobs: u64,
    /// Changes in memory that are not committed yet.
    pub unwritten_changes: u64,
    /// Log lines that were lost since the start because the log could not be written.
    #[serde(default)]
    pub lost_log_lines: u64,
    /// Set if the last reload of the configuration failed.
    #[serde(default)]
    pub reload_failure: Option<ReloadFailure>,
    pub providers: Vec<ProviderStatus>,
}

/// A reload of the configuration that failed; the configuration before it stays in effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadFailure {
    pub failed_at: UtcTime,
    pub reason: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoreStatus {
    /// The name and version of the database engine.
    pub engine: String,
    /// The path of the database.
    pub location: String,
    pub schema_version: i64,
    /// The size of all files of the database; 0 before the first commit.
    pub size_bytes: u64,
}

/// The status of one provider.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProviderStatus {
    pub provider: ProviderName,
    /// None if the provider has jobs but is not configured any more.
    pub kind: Option<String>,
    /// Jobs that are polled: unfinished ones, and finished ones during a poll on demand.
    pub active_jobs: u64,
    /// Polls that are due and wait for the rate limit, a pause or other requests.
    pub due_polls: u64,
    /// How long the oldest of these has waited.
    pub max_overdue_s: f64,
    /// The mean delay of recent ends, from the job's end to the answer that showed it; none until
    /// a job has ended since the daemon's start.
    #[serde(default)]
    pub mean_detection_delay_s: Option<f64>,
    /// Requests that are sent and not answered yet.
    pub in_flight: u32,
    /// Requests sent in the last 60 s.
    pub requests_last_minute: u32,
    pub requests_per_minute: u32,
    /// Failed polls in a row.
    pub consecutive_failures: u32,
    /// When the provider began to fail; none if it answers.
    #[serde(default)]
    pub outage_began_at: Option<UtcTime>,
    /// None if polling is not paused.
    pub pause: Option<PauseStatus>,
    /// States in the provider's answers that jobtrack does not know; `state_map` in the
    /// configuration can map them.
    #[serde(default)]
    pub unknown_states: Vec<String>,
}

/// Why and until when a provider is not polled.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PauseStatus {
    pub reason: String,
    pub until: UtcTime,
}

/// The response of `POST /v1/providers/{name}/check`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConnectionCheckResponse {
    pub provider: ProviderName,
    /// Whether the provider accepts requests and the clocks agree.
    pub ok: bool,
    /// Two fields of the object: `finding`, a fixed name, and `detail`, the reason, which is absent
    /// if the finding is `ok`.
    #[serde(flatten)]
    pub finding: Finding,
    /// The local clock minus the provider's; none if the answer had no date.
    pub clock_ahead_s: Option<i64>,
    /// What to do, one sentence each.
    pub advice: Vec<String>,
}

/// The response of `DELETE /v1/providers/{name}/durations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgetDurationsResponse {
    pub provider: ProviderName,
    /// The name in the request; none if all durations of the provider were deleted.
    pub similar_to: Option<String>,
    /// The number of past runs whose duration was deleted, or lost the name `similar_to`.
    pub forgotten_count: u64,
}

/// The response of `POST /v1/reload`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadResponse {
    /// The settings that changed, one line each.
    pub changed: Vec<String>,
    /// The settings that changed in the file and take effect at the next start.
    pub needs_restart: Vec<String>,
}

impl fmt::Display for ReloadResponse {
    /// The changes on one line, for the log and the audit.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let needs_restart =
            self.needs_restart.iter().map(|what| format!("needs a restart: {what}"));
        let lines: Vec<_> = self.changed.iter().cloned().chain(needs_restart).collect();
        f.write_str(if lines.is_empty() { "no settings changed" } else { "" })?;
        f.write_str(&lines.join("; "))
    }
}

/// The body of every error response, `application/problem+json` of RFC 9457.
#[derive(Debug, Serialize, Deserialize)]
pub struct ProblemDetails {
    /// A fixed name: `bad_request`, `read_only`, `not_found`, `method_not_allowed`, `request_timeout`,
    /// `payload_too_large`, `provider_not_configured`, `provider_paused`, `job_finished`,
    /// `provider_rejected`, `invalid_config`, `busy`, `storage` or `shutting_down`.
    pub code: String,
    /// The reason phrase of `status`.
    pub title: String,
    pub status: u16,
    /// What is wrong and what to do.
    pub detail: String,
}
