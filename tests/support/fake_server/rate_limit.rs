//! A limit on requests, in a truly sliding window, and the headers that tell of it.
//!
//! Invariant: in no half-open window of the limit's length are more requests let through than it
//! allows. Refused requests count against it only where the service says so.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A limit; `40.into()` is forty a minute, without `Retry-After`.
#[derive(Clone, Copy, Debug)]
pub struct RateLimit {
    pub requests: u32,
    pub window: Duration,
    /// Whether a refusal has `Retry-After`.
    pub send_retry_after: bool,
}

impl From<u32> for RateLimit {
    fn from(requests: u32) -> Self {
        Self { requests, window: Duration::from_mins(1), send_retry_after: false }
    }
}

/// A limit at work.
pub struct SlidingWindow {
    limit: RateLimit,
    request_times: VecDeque<Instant>,
}

/// What the limit says to one request.
pub struct RateLimitDecision {
    pub rejected: bool,
    pub limit: RateLimit,
    /// Seconds to wait, for a refusal that tells them.
    pub retry_after: Option<String>,
    /// `RateLimit-Policy` and `RateLimit`.
    pub headers: [(&'static str, String); 2],
}

impl SlidingWindow {
    pub fn new(limit: RateLimit) -> Self {
        Self { limit, request_times: VecDeque::new() }
    }

    /// Judges a request that comes now; `forgiving`: it does not count if it is refused.
    pub fn check_request(&mut self, now: Instant, ignore_rejected: bool) -> RateLimitDecision {
        let RateLimit { requests, window, send_retry_after: retry_after } = self.limit;
        while self.request_times.front().is_some_and(|at| now.duration_since(*at) >= window) {
            self.request_times.pop_front();
        }
        let used = u32::try_from(self.request_times.len()).expect("far fewer");
        let refused = used >= requests;
        if !refused || !ignore_rejected {
            self.request_times.push_back(now);
        }
        let oldest = self.request_times.front().copied().unwrap_or(now);
        let reset = seconds_rounded_up(window.saturating_sub(now.duration_since(oldest)));
        let left = requests.saturating_sub(used + 1);
        let policy = format!("\"high\";q={requests};w={}", seconds_rounded_up(window));
        let state = format!("\"high\";r={left};t={reset}");
        RateLimitDecision {
            rejected: refused,
            limit: self.limit,
            retry_after: (refused && retry_after).then(|| reset.to_string()),
            headers: [("ratelimit-policy", policy), ("ratelimit", state)],
        }
    }
}

/// Whole seconds, rounded up.
fn seconds_rounded_up(span: Duration) -> u128 {
    span.as_nanos().div_ceil(1_000_000_000)
}
