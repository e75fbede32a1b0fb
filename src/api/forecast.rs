//! When a job is asked next, why then, and when it should be over: the field `outlook` of a job that
//! is shown by itself. One flat object on the wire.

use serde::{Deserialize, Serialize};

/// What is known of a job's next poll and of its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForecastResponse {
    /// When it is asked next: `next_poll_in_s` or `due_for_s`, or neither while it is asked.
    #[serde(flatten)]
    pub next_poll: NextPollResponse,
    /// By which rule: `reason`, a word, and `price_s` with that of the price.
    #[serde(flatten)]
    pub reason: ForecastReasonResponse,
    /// The past runs that it is compared with; without these fields none are like it.
    #[serde(flatten)]
    pub similar_runs: Option<SimilarRunsResponse>,
    /// In so many seconds it should be over, as likely before as after; none if the past cannot tell.
    pub expected_remaining_s: Option<f64>,
}

/// When a job is asked next.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum NextPollResponse {
    /// In so many seconds.
    In {
        /// The seconds.
        next_poll_in_s: f64,
    },
    /// It waits for its turn.
    Due {
        /// For so many seconds.
        overdue_s: f64,
    },
    /// It is being asked, or what was answered is being written. On the wire: neither field.
    InFlight {},
}

/// What decides when a job is asked.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum ForecastReasonResponse {
    /// It was never asked.
    FirstPoll,
    /// Pauses that grow.
    Backoff,
    /// By then it may have been over for as long as a request may cost.
    Price {
        /// So many seconds.
        price_s: f64,
    },
    /// No job is left alone for more than half of its age, or 10 s if that is longer.
    MaxWait,
}

/// Runs that are over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SimilarRunsResponse {
    /// The name that they have in common.
    pub similarity_key: String,
    /// How many.
    pub similar_run_count: u32,
    /// How long they took, counted as the job's own age is: from its start if that is known.
    pub similar_median_s: f64,
}
