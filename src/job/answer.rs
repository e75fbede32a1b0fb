//! The answer to a request: an observation of a job or a list page, or an error, with rate limits.
//!
//! Each provider converts the responses of its service to these types, and the tracker decides on them
//! alone. No module above a provider sees a response body.

use std::time::Duration;

use serde_json::{Map, Value};

use super::id::RemoteId;
use super::similarity::SimilarityKeys;
use super::state::ObservedState;
use super::time::UtcTime;

/// The outcome of one request: a poll of a job, or a request for a [`ListPage`].
#[derive(Debug, Clone)]
pub struct Answer<T = Observation> {
    pub result: Result<T, ProviderError>,
    pub rate_limit: RateLimitInfo,
    /// The provider's clock, from the `Date` header; whole seconds.
    pub server_date: Option<UtcTime>,
    /// Whether `result` is a rejection of a credential that has been replaced since: the same request may
    /// succeed with the new one.
    pub credential_replaced: bool,
}

impl<T> Answer<T> {
    /// An answer without rate limits and date.
    #[must_use]
    pub fn from_result(result: Result<T, ProviderError>) -> Self {
        let rate_limit = RateLimitInfo::default();
        Self { result, rate_limit, server_date: None, credential_replaced: false }
    }

    /// A failure without rate limits and date, such as a time-out.
    #[must_use]
    pub fn failed(error: ProviderError) -> Self {
        Self::from_result(Err(error))
    }
}

/// What a successful answer reports about a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    pub state: ObservedState,
    /// The provider's state, verbatim.
    pub provider_state: String,
    pub times: ProviderTimes,
    /// The reason for the state, in the provider's words; for example the text of a failure.
    pub message: Option<String>,
    /// The time by which the provider's list request selects jobs, if there is such a request.
    pub list_time: Option<UtcTime>,
    pub similarity_keys: SimilarityKeys,
    /// The duration of the job, if the provider reports a duration instead of times.
    pub reported_duration: Option<Duration>,
    /// What the job runs, by the provider's name for it: a Dune query's number, a DataArts script, a
    /// DLI queue.
    pub source: Option<String>,
    /// What the run cost, in the provider's credits (Dune: `execution_cost_credits`).
    pub credits: Option<f64>,
    /// Other documented fields of the answer, under the provider's field names.
    pub detail: Map<String, Value>,
}

/// A request for one page of a provider's list: the jobs whose `list_time` lies in a fixed window, so
/// that new jobs do not shift the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListPageQuery {
    /// Whether the service includes the bounds is not documented, so callers add a margin.
    pub from: UtcTime,
    pub to: UtcTime,
    /// Counts from 1.
    pub page: u32,
}

impl ListPageQuery {
    /// The maximum number of jobs on a page.
    pub const PAGE_SIZE: u32 = 100;
    /// The last page that is ever requested.
    pub const MAX_PAGE: u32 = 100;
}

/// One page of a provider's list. A job that is missing from the page may still exist.
#[derive(Debug, Clone, PartialEq)]
pub struct ListPage {
    /// Complete observations; rows that cannot be parsed are left out.
    pub jobs: Vec<(RemoteId, Observation)>,
    /// The number of rows on all pages of the window.
    pub total_count: u64,
}

/// The times that the provider reports for a job, by the provider's clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProviderTimes {
    pub submitted_at: Option<UtcTime>,
    pub started_at: Option<UtcTime>,
    pub ended_at: Option<UtcTime>,
    /// When the provider deletes the result.
    pub expires_at: Option<UtcTime>,
}

impl ProviderTimes {
    /// These times, and `older` ones where these are absent.
    #[must_use]
    pub fn or(self, older: Self) -> Self {
        Self {
            submitted_at: self.submitted_at.or(older.submitted_at),
            started_at: self.started_at.or(older.started_at),
            ended_at: self.ended_at.or(older.ended_at),
            expires_at: self.expires_at.or(older.expires_at),
        }
    }
}

/// The rate limits that an answer announces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateLimitInfo {
    /// `Retry-After`, not clamped.
    pub retry_after: Option<Duration>,
    /// The quota of a window (`RateLimit-Policy`).
    pub quota: Option<RateLimitPolicy>,
    /// The requests left in the window, and the time until the window is renewed (`RateLimit`).
    pub remaining: Option<(u32, Duration)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimitPolicy {
    pub requests: u32,
    /// Never zero.
    pub window: Duration,
}

/// A failed request. A single failure never changes a job's state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProviderError {
    pub kind: ProviderErrorKind,
    pub message: String,
    /// What failed before the service was reached, if that is known.
    pub connection_failure: Option<ConnectionFailure>,
}

/// The step of a connection that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionFailure {
    /// The host name has no address, or the name server does not answer.
    NameResolution,
    /// The proxy is not reached, or opens no connection to the service.
    Proxy,
    /// The certificate of the service, or of an HTTPS proxy, is not trusted.
    Certificate,
}

/// What a failed request means for the job, its provider and its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProviderErrorKind {
    /// A retry may succeed: time-outs, broken connections, 5xx.
    Transient,
    /// Too many requests. Polling of the provider pauses.
    RateLimited,
    /// The account's quota is exhausted. Polling of the provider pauses.
    QuotaExceeded,
    /// The provider rejects the credentials. Polling of the provider pauses.
    Auth,
    /// The provider does not know the job.
    NotFound,
    /// The provider says that no job can have this id.
    InvalidId,
    /// A setting is wrong: the host, a path, an IAM user, or a provider that is no longer configured.
    /// Polling of the provider pauses.
    Misconfigured,
    /// An answer that cannot be parsed, or an answer about another job.
    Malformed,
}

impl ProviderErrorKind {
    /// Whether the request was rejected for a reason that may concern other requests too: the credentials, the
    /// quota or a setting. The tracker counts the same kinds (`provider_answer.rs`): a new one belongs to both.
    #[must_use]
    pub fn is_rejection(self) -> bool {
        match self {
            Self::Auth | Self::QuotaExceeded | Self::Misconfigured => true,
            Self::Transient
            | Self::RateLimited
            | Self::NotFound
            | Self::InvalidId
            | Self::Malformed => false,
        }
    }
}

impl ProviderError {
    #[must_use]
    pub fn new(kind: ProviderErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), connection_failure: None }
    }

    /// The same error with `prefix` and a colon before its message.
    #[must_use]
    pub fn with_context(self, prefix: &str) -> Self {
        Self { message: format!("{prefix}: {}", self.message), ..self }
    }
}
