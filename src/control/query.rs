//! Query strings and bodies → filters and requests. What is not known is refused, not ignored: a
//! misspelt filter must not answer with everything.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::clock::Clock;
use crate::job::{JobId, UtcTime, parse_label};
use crate::store::{HistoryFilter, JobFilter, StateFilter};

use super::error::ApiError;

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1000;
/// For a body, from its first byte to its last.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The pairs of a query string, in order; a key may come several times.
#[derive(Debug)]
pub(super) struct QueryParams(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for QueryParams {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Query::try_from_uri(&parts.uri)
            .map(|Query(pairs)| Self(pairs))
            .map_err(|error| ApiError::bad_request(format!("the query cannot be read: {error}")))
    }
}

impl QueryParams {
    pub(super) fn job_filter(self) -> Result<JobFilter, ApiError> {
        let mut filter = JobFilter { limit: DEFAULT_LIMIT, ..JobFilter::default() };
        for (key, value) in self.0 {
            match key.as_str() {
                "state" => filter.states.push(parse_state(&value)?),
                "provider" => filter.provider = Some(parse_parameter(&key, &value)?),
                "remote_id" => filter.remote_id = Some(parse_parameter(&key, &value)?),
                "label" => filter.labels.push(parse_label_parameter(&value)?),
                "since" => filter.registered_since = Some(parse_time(&value)?),
                "after" => filter.before_id = Some(JobId(parse_parameter(&key, &value)?)),
                "limit" => filter.limit = parse_limit(&value)?,
                _ => {
                    return Err(unknown_parameter(
                        &key,
                        "state, provider, remote_id, label, since, after, limit",
                    ));
                }
            }
        }
        Ok(filter)
    }

    /// `after` is none if it was not given.
    pub(super) fn history_filter(self) -> Result<HistoryFilter, ApiError> {
        let mut filter = HistoryFilter { limit: DEFAULT_LIMIT, ..HistoryFilter::default() };
        for (key, value) in self.0 {
            match key.as_str() {
                "state" => filter.states.push(parse_state(&value)?),
                "provider" => filter.provider = Some(parse_parameter(&key, &value)?),
                "label" => filter.labels.push(parse_label_parameter(&value)?),
                "since" => filter.observed_since = Some(parse_time(&value)?),
                "after" => filter.after = Some(parse_parameter(&key, &value)?),
                "limit" => filter.limit = parse_limit(&value)?,
                _ => {
                    return Err(unknown_parameter(
                        &key,
                        "state, provider, label, since, after, limit",
                    ));
                }
            }
        }
        Ok(filter)
    }

    /// The events that a stream delivers.
    pub(super) fn event_filter(self) -> Result<HistoryFilter, ApiError> {
        const ALLOWED: [&str; 4] = ["state", "provider", "label", "after"];
        match self.0.iter().find(|(key, _)| !ALLOWED.contains(&key.as_str())) {
            Some((key, _)) => Err(unknown_parameter(key, &ALLOWED.join(", "))),
            None => self.history_filter(),
        }
    }

    /// Whose lessons are forgotten: all, or those of one name, which a provider may have told.
    pub(super) fn similar_to(self) -> Result<Option<String>, ApiError> {
        let mut similar_to = None;
        for (key, value) in self.0 {
            match key.as_str() {
                "similar_to" if value.is_empty() => {
                    return Err(ApiError::bad_request("similar_to: a name must not be empty"));
                }
                "similar_to" => similar_to = Some(value),
                _ => return Err(unknown_parameter(&key, "similar_to")),
            }
        }
        Ok(similar_to)
    }

    /// How long `GET /v1/jobs/{id}` may wait for the job's end.
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

/// Reads a duration such as `90s`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| format!("{text:?} is not a duration such as 90s, 15m, 2h or 7d"))
}

/// Reads a JSON body of at most `limit` bytes.
pub(super) async fn read_json<T: DeserializeOwned>(
    body: Body,
    limit: usize,
) -> Result<T, ApiError> {
    let bytes = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, limit))
        .await
        .map_err(|_| ApiError::request_timeout())?
        .map_err(|error| ApiError::too_large(format!("{error}; at most {limit} bytes are read")))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| ApiError::bad_request(format!("the body cannot be read: {error}")))
}

fn unknown_parameter(key: &str, allowed: &str) -> ApiError {
    ApiError::bad_request(format!("{key:?} is not a parameter here; these are: {allowed}"))
}

fn parse_parameter<T: std::str::FromStr<Err: std::fmt::Display>>(
    key: &str,
    value: &str,
) -> Result<T, ApiError> {
    value.parse().map_err(|error| ApiError::bad_request(format!("{key}: {error}")))
}

fn parse_state(text: &str) -> Result<StateFilter, ApiError> {
    match text {
        "active" => Ok(StateFilter::Active),
        "terminal" => Ok(StateFilter::Terminal),
        "unsuccessful" => Ok(StateFilter::Unsuccessful),
        name => name.parse().map(StateFilter::Exactly).map_err(|error| {
            ApiError::bad_request(format!("state: {error}; or active, terminal, unsuccessful"))
        }),
    }
}

fn parse_label_parameter(text: &str) -> Result<(String, String), ApiError> {
    parse_label(text).map_err(|error| ApiError::bad_request(error.to_string()))
}

fn parse_limit(text: &str) -> Result<u32, ApiError> {
    match text.parse() {
        Ok(limit) if (1..=MAX_LIMIT).contains(&limit) => Ok(limit),
        Ok(_) | Err(_) => Err(ApiError::bad_request(format!("limit must be 1 to {MAX_LIMIT}"))),
    }
}

/// A point in time: RFC 3339, or a duration meaning "ago".
fn parse_time(text: &str) -> Result<UtcTime, ApiError> {
    if let Some(at) = UtcTime::parse_rfc3339(text) {
        return Ok(at);
    }
    humantime::parse_duration(text).map(|ago| Clock::utc_now().minus(ago)).map_err(|_| {
        ApiError::bad_request(format!(
            "{text:?} is neither a time such as 2026-11-21T23:17:05Z nor a duration such as 2h"
        ))
    })
}
