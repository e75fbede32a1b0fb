//! Parses query strings into filters.
//!
//! Used by all handlers. An unknown parameter is an error: if a misspelt filter were ignored, the
//! response would list everything.

use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use jiff::tz::TimeZone;

use crate::clock::Clock;
use crate::job::{JobId, Labels, TimeExpression, UtcTime, parse_label};
use crate::store::{HistoryFilter, JobFilter};

use super::error::ApiError;

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1000;

/// The job's number or the provider's name in a path, as it was sent.
pub(super) type PathText = Result<Path<String>, PathRejection>;

/// The pairs of a query string, in order; a key may occur several times.
#[derive(Debug)]
pub(super) struct QueryParams(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for QueryParams {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Query::try_from_uri(&parts.uri).map(|Query(pairs)| Self(pairs)).map_err(|error| {
            ApiError::bad_request(format!("cannot parse the query string: {error}"))
        })
    }
}

impl QueryParams {
    pub(super) fn job_filter(self) -> Result<JobFilter, ApiError> {
        self.ensure_few_labels()?;
        let mut filter = JobFilter { limit: DEFAULT_LIMIT, ..JobFilter::default() };
        for (key, value) in self.0 {
            match key.as_str() {
                "state" => filter.states.push(parse_parameter(&key, &value)?),
                "provider" => filter.provider = Some(parse_parameter(&key, &value)?),
                "remote_id" => filter.remote_id = Some(parse_parameter(&key, &value)?),
                "label" => filter.labels.push(parse_label_parameter(&value)?),
                "since" => filter.registered_since = Some(parse_time(&key, &value)?),
                "until" => filter.registered_before = Some(parse_time(&key, &value)?),
                "ended_since" => filter.ended_since = Some(parse_time(&key, &value)?),
                "after" => filter.before_id = Some(JobId(parse_parameter(&key, &value)?)),
                "limit" => filter.limit = parse_limit(&value)?,
                _ => {
                    return Err(unknown_parameter(
                        &key,
                        "state, provider, remote_id, label, since, until, ended_since, after, limit",
                    ));
                }
            }
        }
        Ok(filter)
    }

    /// Each label is a condition of the query, whose depth SQLite limits. No job has more labels than
    /// are accepted here.
    fn ensure_few_labels(&self) -> Result<(), ApiError> {
        if self.0.iter().filter(|(key, _)| key == "label").count() <= Labels::MAX_COUNT {
            return Ok(());
        }
        let detail = format!("too many labels; at most {} can be given", Labels::MAX_COUNT);
        Err(ApiError::bad_request(detail))
    }

    /// The filter of a page of the history.
    pub(super) fn history_filter(self) -> Result<HistoryFilter, ApiError> {
        self.ensure_few_labels()?;
        let mut filter = HistoryFilter { limit: DEFAULT_LIMIT, ..HistoryFilter::default() };
        for (key, value) in self.0 {
            match key.as_str() {
                "state" => filter.states.push(parse_parameter(&key, &value)?),
                "provider" => filter.provider = Some(parse_parameter(&key, &value)?),
                "label" => filter.labels.push(parse_label_parameter(&value)?),
                "since" => filter.observed_since = Some(parse_time(&key, &value)?),
                "until" => filter.observed_before = Some(parse_time(&key, &value)?),
                "after" => filter.after = Some(parse_parameter(&key, &value)?),
                "before" => filter.before = Some(parse_parameter(&key, &value)?),
                "order" => filter.newest_first = parse_newest_first(&value)?,
                "limit" => filter.limit = parse_limit(&value)?,
                _ => {
                    return Err(unknown_parameter(
                        &key,
                        "state, provider, label, since, until, after, before, order, limit",
                    ));
                }
            }
        }
        Ok(filter)
    }

    /// The filter of an event stream.
    pub(super) fn event_filter(self) -> Result<HistoryFilter, ApiError> {
        const ALLOWED: [&str; 4] = ["state", "provider", "label", "after"];
        match self.0.iter().find(|(key, _)| !ALLOWED.contains(&key.as_str())) {
            Some((key, _)) => Err(unknown_parameter(key, &ALLOWED.join(", "))),
            None => self.history_filter(),
        }
    }

    /// The similarity key whose durations are deleted; none for all. Not checked like a user's name:
    /// keys from a provider's answers may have other characters.
    pub(super) fn similar_to(self) -> Result<Option<String>, ApiError> {
        let mut similar_to = None;
        for (key, value) in self.0 {
            match key.as_str() {
                "similar_to" if value.is_empty() => {
                    return Err(ApiError::bad_request(
                        "similar_to must not be empty; omit it to delete all durations",
                    ));
                }
                "similar_to" => similar_to = Some(value),
                _ => return Err(unknown_parameter(&key, "similar_to")),
            }
        }
        Ok(similar_to)
    }

    /// How long `GET /v1/jobs/{id}` waits for the job's end.
    pub(super) fn wait_timeout(self) -> Result<Option<Duration>, ApiError> {
        let mut wait = None;
        for (key, value) in self.0 {
            match key.as_str() {
                "wait" => wait = Some(parse_duration(&value).map_err(ApiError::bad_request)?),
                _ => return Err(unknown_parameter(&key, "wait")),
            }
        }
        Ok(wait)
    }
}

/// Parses a duration such as `90s`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| format!("invalid duration {text:?}; use for example 90s, 15m, 2h or 7d"))
}

fn unknown_parameter(key: &str, allowed: &str) -> ApiError {
    ApiError::bad_request(format!("unknown parameter {key:?}; this route has {allowed}"))
}

fn parse_parameter<T: std::str::FromStr<Err: std::fmt::Display>>(
    key: &str,
    value: &str,
) -> Result<T, ApiError> {
    value.parse().map_err(|error| ApiError::bad_request(format!("{key}: {error}")))
}

fn parse_label_parameter(text: &str) -> Result<(String, String), ApiError> {
    parse_label(text).map_err(|error| ApiError::bad_request(error.to_string()))
}

/// Parses the order of a list of transitions.
fn parse_newest_first(text: &str) -> Result<bool, ApiError> {
    match text {
        "oldest_first" => Ok(false),
        "newest_first" => Ok(true),
        _ => Err(ApiError::bad_request("order must be oldest_first or newest_first")),
    }
}

fn parse_limit(text: &str) -> Result<u32, ApiError> {
    match text.parse() {
        Ok(limit) if (1..=MAX_LIMIT).contains(&limit) => Ok(limit),
        Ok(_) | Err(_) => Err(ApiError::bad_request(format!(
            "limit must be a whole number from 1 to {MAX_LIMIT}"
        ))),
    }
}

/// Parses a time in any form of [`TimeExpression`]; without an offset it is in UTC.
fn parse_time(key: &str, text: &str) -> Result<UtcTime, ApiError> {
    let time: TimeExpression = parse_parameter(key, text)?;
    Ok(time.resolve(Clock::start().utc_now(), &TimeZone::UTC))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_labels_than_a_job_can_have_are_refused() {
        let labels =
            |count: usize| QueryParams(vec![("label".to_owned(), "a=b".to_owned()); count]);
        assert!(labels(Labels::MAX_COUNT).job_filter().is_ok());
        assert!(labels(Labels::MAX_COUNT).event_filter().is_ok());
        for count in [Labels::MAX_COUNT + 1, 1_000] {
            labels(count).job_filter().expect_err("too many");
            labels(count).history_filter().expect_err("too many");
            labels(count).event_filter().expect_err("too many");
        }
    }
}
