//! What a poll brings back. Made by the providers, read by the tracker: the one type that stands
//! between a provider's words and our rules.

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
}

impl<T> Answer<T> {
    /// A failure without rate limit information, such as a time-out.
    #[must_use]
    pub fn failed(error: ProviderError) -> Self {
        Self { result: Err(error), rate_limit: RateLimitInfo::default(), server_date: None }
    }
}

/// What a good answer said of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// Its meaning.
    pub state: ObservedState,
    /// The provider's word for the state, verbatim.
    pub provider_state: String,
    /// The provider's own times.
    pub times: ProviderTimes,
    /// Why, in the provider's words: a failure's text.
    pub message: Option<String>,
    /// The time by which the provider's list of jobs is parted, where it has one.
    pub list_time: Option<UtcTime>,
    /// Which past runs it is like.
    pub similarity_keys: SimilarityKeys,
    /// How long it took, where the provider tells that rather than times.
    pub reported_duration: Option<Duration>,
    /// What the job runs, by the provider's name for it: a Dune query's number, a DataArts script, a
    /// DLI queue.
    pub source: Option<String>,
    /// What the run cost, in the provider's credits (Dune: `execution_cost_credits`).
    pub credits: Option<f64>,
    /// What else the answer told and the documents name, under the provider's field names.
    pub detail: Map<String, Value>,
}

/// A page of a provider's list: the jobs with a `listed_at` in a window that stays as it is while
/// the list moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListWindow {
    /// The window's beginning, included.
    pub from: UtcTime,
    /// Its end, included.
    pub to: UtcTime,
    /// From 1.
    pub page: u32,
}

impl ListWindow {
    /// Jobs on one page, at most.
    pub const PAGE_SIZE: u32 = 100;
    /// No list goes further.
    pub const MAX_PAGE: u32 = 100;
}

/// What a page told. A job that is not on it may be there all the same.
#[derive(Debug, Clone, PartialEq)]
pub struct ListPage {
    /// Each a full answer for its job; rows that cannot be read are left out.
    pub jobs: Vec<(RemoteId, Observation)>,
    /// Rows on all pages of the window.
    pub total_count: u64,
}

/// The provider's own times of a job; never bent to our clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProviderTimes {
    /// When the provider took it.
    pub submitted_at: Option<UtcTime>,
    /// When it began to run.
    pub started_at: Option<UtcTime>,
    /// When it was over.
    pub ended_at: Option<UtcTime>,
    /// When its result goes.
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

/// What an answer tells of a provider's limits; all of it may be absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateLimitInfo {
    /// Do not ask before this has passed (`Retry-After`); unclamped.
    pub retry_after: Option<Duration>,
    /// Requests allowed in a window (`RateLimit-Policy`).
    pub quota: Option<RateLimitQuota>,
    /// Requests left in the window, and the time until it is renewed (`RateLimit`).
    pub remaining: Option<(u32, Duration)>,
}

/// An announced limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimitQuota {
    /// This many requests…
    pub requests: u32,
    /// …in a window of this length, never zero.
    pub window: Duration,
}

/// A failed request. It never changes a job's state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProviderError {
    pub kind: ProviderErrorKind,
    pub message: String,
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
    /// A wrong host or path. Polling of the provider pauses.
    Misconfigured,
    /// An answer that cannot be parsed, or an answer about another job.
    Malformed,
}

impl ProviderError {
    #[must_use]
    pub fn new(kind: ProviderErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The same error with `prefix` and a colon before its message.
    #[must_use]
    pub fn with_context(self, prefix: &str) -> Self {
        Self { message: format!("{prefix}: {}", self.message), ..self }
    }
}
