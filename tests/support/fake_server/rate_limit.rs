//! A rate limit over a sliding window, and the headers that report it.
//!
//! Invariant: no half-open window of the limit's length contains more accepted requests than the
//! limit allows. Whether rejected requests count as well depends on the service.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// `40.into()` is 40 requests per minute, without `Retry-After`.
#[derive(Clone, Copy, Debug)]
pub struct RateLimit {
    pub requests: u32,
    pub window: Duration,
    /// Whether a rejection has a `Retry-After` header.
    pub send_retry_after: bool,
}

impl From<u32> for RateLimit {
    fn from(requests: u32) -> Self {
        Self { requests, window: Duration::from_mins(1), send_retry_after: false }
    }
}

/// A [`RateLimit`] and the requests that count towards it.
pub struct SlidingWindow {
    limit: RateLimit,
    request_times: VecDeque<Instant>,
}

pub struct RateLimitDecision {
    pub rejected: bool,
    pub limit: RateLimit,
    /// The value of `Retry-After` in seconds, if the rejection has one.
    pub retry_after: Option<String>,
    /// `ratelimit-policy` and `ratelimit`.
    pub headers: [(&'static str, String); 2],
}

impl SlidingWindow {
    pub fn new(limit: RateLimit) -> Self {
        Self { limit, request_times: VecDeque::new() }
    }

    /// Accepts or rejects a request that arrives `now`. With `ignore_rejected`, a rejected request
    /// does not count towards the limit.
    pub fn check_request(&mut self, now: Instant, ignore_rejected: bool) -> RateLimitDecision {
        let RateLimit { requests, window, send_retry_after } = self.limit;
        while self.request_times.front().is_some_and(|at| now.duration_since(*at) >= window) {
            self.request_times.pop_front();
        }
        let used =
            u32::try_from(self.request_times.len()).expect("far fewer requests than u32::MAX");
        let rejected = used >= requests;
        if !rejected || !ignore_rejected {
            self.request_times.push_back(now);
        }
        let oldest = self.request_times.front().copied().unwrap_or(now);
        let reset = seconds_rounded_up(window.saturating_sub(now.duration_since(oldest)));
        let left = requests.saturating_sub(used + 1);
        let policy = format!("\"high\";q={requests};w={}", seconds_rounded_up(window));
        let state = format!("\"high\";r={left};t={reset}");
        RateLimitDecision {
            rejected,
            limit: self.limit,
            retry_after: (rejected && send_retry_after).then(|| reset.to_string()),
            headers: [("ratelimit-policy", policy), ("ratelimit", state)],
        }
    }
}

fn seconds_rounded_up(span: Duration) -> u128 {
    span.as_nanos().div_ceil(1_000_000_000)
}
