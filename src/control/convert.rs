//! Converts rows of the store and forecasts of the tracker into the JSON types of the API.
//!
//! The field names are the same on both sides. The types are separate so that a change of the schema
//! cannot change the API unnoticed.

use std::time::Duration;

use crate::api;
use crate::store::{JobRow, TransitionRow};
use crate::tracker::{ForecastReason, NextPollTime, PollDelay, PollForecast};

impl From<JobRow> for api::Job {
    fn from(row: JobRow) -> Self {
        Self {
            id: row.id,
            provider: row.provider,
            kind: row.kind,
            remote_id: row.remote_id,
            source: row.source,
            state: row.state,
            provider_state: row.provider_state,
            terminal: row.terminal,
            labels: row.labels,
            added_by_uid: row.added_by_uid,
            added_by_user: row.added_by_user,
            registered_at: row.registered_at,
            submitted_at: row.submitted_at,
            started_at: row.started_at,
            ended_at: row.ended_at,
            terminal_at: row.terminal_at,
            expires_at: row.expires_at,
            deadline_at: row.deadline_at,
            price: row.price,
            message: row.message,
            last_polled_at: row.last_polled_at,
            next_poll_at: row.next_poll_at,
            polls: row.polls,
            failed_polls: row.failed_polls,
            last_poll_error: row.last_poll_error,
            queue_s: row.queue_s,
            run_s: row.run_s,
            total_s: row.total_s,
            detection_delay_s: row.detection_delay_s,
            detection_delay_max_s: row.detection_delay_max_s,
            credits: row.credits,
            detail: row.detail,
            pinned: row.pinned,
            similarity_keys: row.similarity_keys.unwrap_or_default(),
            forecast: None,
        }
    }
}

impl From<TransitionRow> for api::TransitionEvent {
    fn from(row: TransitionRow) -> Self {
        Self {
            cursor: row.cursor,
            job_id: row.job_id,
            provider: row.provider,
            remote_id: row.remote_id,
            from_state: row.from_state,
            to_state: row.to_state,
            provider_state: row.provider_state,
            evidence: row.evidence,
            occurred_at: row.occurred_at,
            observed_at: row.observed_at,
            earliest_at: row.earliest_at,
            message: row.message,
        }
    }
}

impl From<PollForecast> for api::ForecastResponse {
    fn from(forecast: PollForecast) -> Self {
        Self {
            next_poll: match forecast.next_poll {
                NextPollTime::InProgress | NextPollTime::NotPlanned => {
                    api::NextPollResponse::NoTime {}
                }
                NextPollTime::Overdue(elapsed) => {
                    api::NextPollResponse::Overdue { overdue_s: rounded_seconds(elapsed) }
                }
                NextPollTime::In(delay) => {
                    api::NextPollResponse::In { next_poll_in_s: rounded_seconds(delay) }
                }
            },
            reason: match forecast.reason {
                ForecastReason::FirstPoll => api::ForecastReasonResponse::FirstPoll,
                ForecastReason::Backoff => api::ForecastReasonResponse::Backoff,
                ForecastReason::Spare => api::ForecastReasonResponse::Spare,
                ForecastReason::Price(price) => {
                    api::ForecastReasonResponse::Price { price_s: rounded_seconds(price) }
                }
                ForecastReason::MaxWait => api::ForecastReasonResponse::MaxWait,
            },
            delay: forecast.delay.map(Into::into),
            similar_runs: forecast.similar_runs.map(|runs| api::SimilarRunsResponse {
                similarity_key: runs.similarity_key,
                similar_run_count: runs.count,
                similar_median_s: rounded_seconds(runs.median_duration),
            }),
            expected_remaining_s: forecast.expected_remaining.map(rounded_seconds),
        }
    }
}

impl From<PollDelay> for api::PollDelayResponse {
    fn from(delay: PollDelay) -> Self {
        match delay {
            PollDelay::ProviderNotConfigured => Self::ProviderNotConfigured,
            PollDelay::Pause { reason } => Self::Pause { pause_reason: reason },
            PollDelay::JobPause { reason } => Self::JobPause { pause_reason: reason },
            PollDelay::RateLimit => Self::RateLimit,
            PollDelay::OtherPolls { due_polls, requests_per_minute } => {
                Self::OtherPolls { due_polls, requests_per_minute }
            }
        }
    }
}

/// Seconds, rounded to milliseconds as all times in the API.
pub(super) fn rounded_seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
