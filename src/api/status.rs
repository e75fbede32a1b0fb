//! The status of the daemon and of each provider.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::job::{EventCursor, JobId, ProviderName, UtcTime};

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
    /// Why they cannot be written. None while the database can be written.
    #[serde(default)]
    pub write_error: Option<String>,
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
    /// When the rate limit allows the next request, if its even pace would allow more than two before.
    #[serde(default)]
    pub next_request_at: Option<UtcTime>,
    /// Requests that might have been sent in the last 60 s and were not.
    #[serde(default)]
    pub unused_requests: u32,
    /// The setting `price`: `auto` or a duration; none under the policy `backoff`.
    #[serde(default)]
    pub price: Option<String>,
    /// The expected detection delay that a job has lately needed to be polled; 0 while no job had to wait.
    #[serde(default)]
    pub price_in_force_s: f64,
    /// Failed polls in a row.
    pub consecutive_failures: u32,
    /// The last failed poll; none once the same job, or a list, is answered.
    #[serde(default)]
    pub last_failed_poll: Option<FailedPollStatus>,
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

impl ProviderStatus {
    /// How long it takes to send the polls that are due now.
    #[must_use]
    pub fn time_of_due_polls(&self) -> Duration {
        let per_minute = u64::from(self.requests_per_minute.max(1));
        Duration::from_secs(self.due_polls.saturating_mul(60) / per_minute)
    }
}

/// Why and until when a provider is not polled.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PauseStatus {
    #[serde(default)]
    pub cause: PauseCause,
    pub reason: String,
    pub until: UtcTime,
}

/// What a pause follows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseCause {
    /// Requests were rejected: `reason` is the last error.
    #[default]
    Rejection,
    /// The rate limit that the provider reports is used up.
    RateLimit,
}

/// A poll or a list request that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedPollStatus {
    /// None if the request was for a list.
    pub job_id: Option<JobId>,
    pub at: UtcTime,
    pub error: String,
}
