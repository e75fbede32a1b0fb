//! The field `forecast` of an unfinished job: its next poll, the reason for that time, and its
//! expected end. One flat object in JSON.
//!
//! Filled in by `control` from the tracker's forecast; `cli` turns it into text.

use serde::{Deserialize, Serialize};

/// A job's next poll and expected end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForecastResponse {
    /// The field `next_poll_in_s` or `overdue_s`, or neither while a poll is in flight and if none is planned.
    #[serde(flatten)]
    pub next_poll: NextPollResponse,
    /// The field `reason`, and `price_s` if the reason is `price`.
    #[serde(flatten)]
    pub reason: ForecastReasonResponse,
    /// The field `delayed_by` and what belongs to it, absent if the job is polled when it is due.
    #[serde(flatten)]
    pub delay: Option<PollDelayResponse>,
    /// Three fields, absent if no past run is similar.
    #[serde(flatten)]
    pub similar_runs: Option<SimilarRunsResponse>,
    /// The median of the remaining time; none if it cannot be predicted, for instance because the
    /// job has outlasted all similar runs.
    pub expected_remaining_s: Option<f64>,
}

/// When a job is polled next.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum NextPollResponse {
    /// The poll is not due yet.
    In { next_poll_in_s: f64 },
    /// The poll is due and waits for other requests.
    Overdue { overdue_s: f64 },
    /// The poll is in flight, or its answer is being committed; or the provider is not configured, as the delay
    /// then says. Neither field in JSON.
    NoTime {},
}

/// The rule that set the time of the next poll.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum ForecastReasonResponse {
    /// The job was never polled.
    FirstPoll,
    /// Policy `backoff`, or the last poll failed: intervals that grow.
    Backoff,
    /// Policy `learned` with the price `auto`: the rate limit leaves requests for polls before a job is due.
    Spare,
    /// Policy `learned`: the expected detection delay reaches the price of a request.
    Price { price_s: f64 },
    /// Policy `learned`: the longest interval that is allowed at the job's age.
    MaxWait,
}

/// What keeps the poll waiting beyond its due time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "delayed_by", rename_all = "snake_case")]
pub enum PollDelayResponse {
    ProviderNotConfigured,
    /// The provider is paused; the reason is none if the rate limit that it reports is used up.
    Pause {
        pause_reason: Option<String>,
    },
    /// Jobs that the provider rejects are paused, this one among them, and others are not.
    JobPause {
        pause_reason: Option<String>,
    },
    /// The rate limit, which no other job waits for.
    RateLimit,
    /// So many polls of the provider are due, this one included.
    OtherPolls {
        due_polls: u64,
        requests_per_minute: u32,
    },
}

/// The finished runs that a forecast is based on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SimilarRunsResponse {
    /// The similarity key that the runs share.
    pub similarity_key: String,
    pub similar_run_count: u32,
    /// The median duration: of the run if the job has started, else of wait and run together.
    pub similar_median_s: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forecast_serializes_as_one_flat_object() {
        let in_flight = ForecastResponse {
            next_poll: NextPollResponse::NoTime {},
            reason: ForecastReasonResponse::MaxWait,
            delay: None,
            similar_runs: None,
            expected_remaining_s: None,
        };
        let due = ForecastResponse {
            next_poll: NextPollResponse::Overdue { overdue_s: 2.0 },
            reason: ForecastReasonResponse::FirstPoll,
            delay: Some(PollDelayResponse::OtherPolls { due_polls: 9, requests_per_minute: 30 }),
            ..in_flight.clone()
        };
        let full = ForecastResponse {
            next_poll: NextPollResponse::In { next_poll_in_s: 41.0 },
            reason: ForecastReasonResponse::Price { price_s: 1.0 },
            delay: Some(PollDelayResponse::Pause { pause_reason: Some("HTTP 401".to_owned()) }),
            similar_runs: Some(SimilarRunsResponse {
                similarity_key: "query 7".to_owned(),
                similar_run_count: 8,
                similar_median_s: 192.0,
            }),
            expected_remaining_s: Some(130.0),
        };
        let cases = [
            (
                full,
                r#"{"next_poll_in_s":41.0,"reason":"price","price_s":1.0,"delayed_by":"pause","pause_reason":"HTTP 401","similarity_key":"query 7","similar_run_count":8,"similar_median_s":192.0,"expected_remaining_s":130.0}"#,
            ),
            (
                due,
                r#"{"overdue_s":2.0,"reason":"first_poll","delayed_by":"other_polls","due_polls":9,"requests_per_minute":30,"expected_remaining_s":null}"#,
            ),
            (in_flight, r#"{"reason":"max_wait","expected_remaining_s":null}"#),
        ];
        for (forecast, json) in cases {
            assert_eq!(serde_json::to_string(&forecast).expect("JSON"), json);
            let parsed: ForecastResponse = serde_json::from_str(json).expect("a forecast");
            assert_eq!(parsed, forecast);
        }
    }
}
