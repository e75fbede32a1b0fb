//! Query strings and bodies → filters and requests. What is not known is refused, not ignored: a
//! misspelt filter must not answer with everything.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::clock::Clock;
use crate::job::{JobId, Utc, parse_label};
use crate::store::{HistoryFilter, JobFilter, StateFilter};

use super::problem::Problem;

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1000;
/// For a body, from its first byte to its last.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The pairs of a query string, in order; a key may come several times.
#[derive(Debug)]
pub(super) struct Pairs(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Pairs {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Query::try_from_uri(&parts.uri)
            .map(|Query(pairs)| Self(pairs))
            .map_err(|error| Problem::bad_request(format!("the query cannot be read: {error}")))
    }
}

impl Pairs {
    pub(super) fn job_filter(self) -> Result<JobFilter, Problem> {
        let mut filter = JobFilter { limit: DEFAULT_LIMIT, ..JobFilter::default() };
        for (key, value) in self.0 {
            match key.as_str() {
                "state" => filter.states.push(state(&value)?),
                "provider" => filter.provider = Some(parse(&key, &value)?),
                "remote_id" => filter.remote_id = Some(parse(&key, &value)?),
                "label" => filter.labels.push(label(&value)?),
                "since" => filter.since = Some(point(&value)?),
                "after" => filter.before = Some(JobId(parse(&key, &value)?)),
                "limit" => filter.limit = limit(&value)?,
                _ => {
                    return Err(unknown(
                        &key,
                        "state, provider, remote_id, label, since, after, limit",
                    ));
                }
            }
        }
        Ok(filter)
    }

    /// `after` is none if it was not given.
    pub(super) fn history_filter(self) -> Result<(HistoryFilter, Option<i64>), Problem> {
        let mut filter = HistoryFilter { limit: DEFAULT_LIMIT, ..HistoryFilter::default() };
        let mut after = None;
        for (key, value) in self.0 {
            match key.as_str() {
                "state" => filter.states.push(state(&value)?),
                "provider" => filter.provider = Some(parse(&key, &value)?),
                "label" => filter.labels.push(label(&value)?),
                "since" => filter.since = Some(point(&value)?),
                "after" => after = Some(parse(&key, &value)?),
                "limit" => filter.limit = limit(&value)?,
                _ => return Err(unknown(&key, "state, provider, label, since, after, limit")),
            }
        }
        filter.after = after.unwrap_or(0);
        Ok((filter, after))
    }

    /// What a stream follows; `after` is none if it was not given.
    pub(super) fn event_filter(self) -> Result<(HistoryFilter, Option<i64>), Problem> {
        const KNOWN: [&str; 4] = ["state", "provider", "label", "after"];
        match self.0.iter().find(|(key, _)| !KNOWN.contains(&key.as_str())) {
            Some((key, _)) => Err(unknown(key, &KNOWN.join(", "))),
            None => self.history_filter(),
        }
    }

    /// Whose lessons are forgotten: all, or those of one name, which a provider may have told.
    pub(super) fn like(self) -> Result<Option<String>, Problem> {
        let mut like = None;
        for (key, value) in self.0 {
            match key.as_str() {
                "like" if value.is_empty() => {
                    return Err(Problem::bad_request("like: a name must not be empty"));
                }
                "like" => like = Some(value),
                _ => return Err(unknown(&key, "like")),
            }
        }
        Ok(like)
    }

    /// How long `GET /v1/jobs/{id}` may wait for the job's end.
    pub(super) fn wait(self) -> Result<Option<Duration>, Problem> {
        let mut wait = None;
        for (key, value) in self.0 {
            match key.as_str() {
                "wait" => wait = Some(duration(&value).map_err(Problem::bad_request)?),
                _ => return Err(unknown(&key, "wait")),
            }
        }
        Ok(wait)
    }
}

/// Reads a duration such as `90s`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| format!("{text:?} is not a duration such as 90s, 15m, 2h or 7d"))
}

/// Reads a JSON body of at most `limit` bytes.
pub(super) async fn json<T: DeserializeOwned>(body: Body, limit: usize) -> Result<T, Problem> {
    let bytes = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, limit))
        .await
        .map_err(|_| Problem::too_slow())?
        .map_err(|error| Problem::too_large(format!("{error}; at most {limit} bytes are read")))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Problem::bad_request(format!("the body cannot be read: {error}")))
}

fn unknown(key: &str, known: &str) -> Problem {
    Problem::bad_request(format!("{key:?} is not a parameter here; these are: {known}"))
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(
    key: &str,
    value: &str,
) -> Result<T, Problem> {
    value.parse().map_err(|error| Problem::bad_request(format!("{key}: {error}")))
}

fn state(text: &str) -> Result<StateFilter, Problem> {
    match text {
        "active" => Ok(StateFilter::Active),
        "terminal" => Ok(StateFilter::Terminal),
        "unsuccessful" => Ok(StateFilter::Unsuccessful),
        name => name.parse().map(StateFilter::Is).map_err(|error| {
            Problem::bad_request(format!("state: {error}; or active, terminal, unsuccessful"))
        }),
    }
}

fn label(text: &str) -> Result<(String, String), Problem> {
    parse_label(text).map_err(|error| Problem::bad_request(error.to_string()))
}

fn limit(text: &str) -> Result<u32, Problem> {
    match text.parse() {
        Ok(limit) if (1..=MAX_LIMIT).contains(&limit) => Ok(limit),
        Ok(_) | Err(_) => Err(Problem::bad_request(format!("limit must be 1 to {MAX_LIMIT}"))),
    }
}

/// A point in time: RFC 3339, or a duration meaning "ago".
fn point(text: &str) -> Result<Utc, Problem> {
    if let Some(at) = Utc::parse(text) {
        return Ok(at);
    }
    humantime::parse_duration(text).map(|ago| Clock::wall().minus(ago)).map_err(|_| {
        Problem::bad_request(format!(
            "{text:?} is neither a time such as 2026-11-21T23:17:05Z nor a duration such as 2h"
        ))
    })
}
