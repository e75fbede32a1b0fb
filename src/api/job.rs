//! A job and a page of jobs, with the columns of the view `jobs`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::forecast::ForecastResponse;
use crate::job::{
    JobId, Labels, PollPrice, ProviderName, RemoteId, SimilarityKeys, State, UtcTime,
};

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
    /// Of a request for the job; none if the provider's price applies.
    pub price: Option<PollPrice>,
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
    /// Whether the job is kept whatever its age.
    #[serde(default)]
    pub pinned: bool,
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
