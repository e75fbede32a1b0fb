//! A limit on requests, in a truly sliding window, and the headers that tell of it.
//!
//! Invariant: in no half-open window of the limit's length are more requests let through than it
//! allows. Refused requests count against it only where the service says so.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A limit; `40.into()` is forty a minute, without `Retry-After`.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    pub requests: u32,
    pub window: Duration,
    /// Whether a refusal has `Retry-After`.
    pub retry_after: bool,
}

impl From<u32> for Limit {
    fn from(requests: u32) -> Self {
        Self { requests, window: Duration::from_mins(1), retry_after: false }
    }
}

/// A limit at work.
pub struct Window {
    limit: Limit,
    counted: VecDeque<Instant>,
}

/// What the limit says to one request.
pub struct Verdict {
    pub refused: bool,
    pub limit: Limit,
    /// Seconds to wait, for a refusal that tells them.
    pub retry_after: Option<String>,
    /// `RateLimit-Policy` and `RateLimit`.
    pub headers: [(&'static str, String); 2],
}

impl Window {
    pub fn new(limit: Limit) -> Self {
        Self { limit, counted: VecDeque::new() }
    }

    /// Judges a request that comes now; `forgiving`: it does not count if it is refused.
    pub fn take(&mut self, now: Instant, forgiving: bool) -> Verdict {
        let Limit { requests, window, retry_after } = self.limit;
        while self.counted.front().is_some_and(|at| now.duration_since(*at) >= window) {
            self.counted.pop_front();
        }
        let used = u32::try_from(self.counted.len()).expect("far fewer");
        let refused = used >= requests;
        if !refused || !forgiving {
            self.counted.push_back(now);
        }
        let oldest = self.counted.front().copied().unwrap_or(now);
        let reset = seconds(window.saturating_sub(now.duration_since(oldest)));
        let left = requests.saturating_sub(used + 1);
        let policy = format!("\"high\";q={requests};w={}", seconds(window));
        let state = format!("\"high\";r={left};t={reset}");
        Verdict {
            refused,
            limit: self.limit,
            retry_after: (refused && retry_after).then(|| reset.to_string()),
            headers: [("ratelimit-policy", policy), ("ratelimit", state)],
        }
    }
}

/// Whole seconds, rounded up.
fn seconds(span: Duration) -> u128 {
    span.as_nanos().div_ceil(1_000_000_000)
}
