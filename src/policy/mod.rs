//! PURE. The polling policies: when to poll one job next, and how many requests an account may send.
//!
//! One job is polled by learned durations ([`DurationHistory`], [`LearnedPolicySettings`]) or at growing intervals
//! ([`Backoff`]). The requests of an account are limited by [`RateLimiter`]. The tracker calls these
//! types and passes the time and the jitter.

mod backoff;
mod distribution;
mod duration_history;
mod histogram;
mod kernel_estimate;
mod limit_in_force;
mod log_normal_share;
mod log_score;
mod next_poll;
mod rate_limiter;
mod recent_runs;
mod sliding_window;
mod spare_poll;
mod typical_variance;

pub use crate::job::PollPrice;
pub use backoff::Backoff;
pub use distribution::{CdfPoint, Distribution};
pub use duration_history::{DurationHistory, SimilarRuns};
pub use histogram::Histogram;
pub use kernel_estimate::{KernelEstimate, Prediction};
pub use next_poll::{LearnedPolicySettings, PlannedPoll, PollReason, staleness_index};
pub use rate_limiter::{RateLimiter, RateLimiterState, RateLimiterStates};
pub use recent_runs::RecentRuns;
