//! PURE. When to ask next: for one job, as was learned ([`Memory`], [`Rule`]) or by growing pauses
//! ([`Backoff`]), and for all jobs of an account ([`Budget`]).
//!
//! Called by the tracker, with the time and the throw of the dice handed in.

mod backoff;
mod distribution;
mod duration_history;
mod next_poll;
mod rate_limiter;

pub use backoff::Backoff;
pub use distribution::{CdfPoint, Distribution, Histogram, LogNormalEstimate, Mixture};
pub use duration_history::{DurationHistory, SimilarRuns};
pub use next_poll::{PlannedPoll, PollReason, PollRule, staleness_index};
pub use rate_limiter::RateLimiter;
