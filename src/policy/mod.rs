//! PURE. The polling policies: when to poll one job next, and how many requests an account may send.
//!
//! One job is polled by learned durations ([`DurationHistory`], [`LearnedPolicySettings`]) or at growing intervals
//! ([`Backoff`]). The requests of an account are limited by [`RateLimiter`]. The tracker calls these
//! types and passes the time and the jitter.

mod backoff;
mod by_duration_kind;
mod change_hypotheses;
mod change_points;
mod concurrent_runs;
mod core_moments;
mod deviation_histogram;
mod distribution;
mod duration_history;
mod earlier_runs;
mod estimate_shares;
mod histogram;
mod kernel_estimate;
mod key_evidence;
mod limit_in_force;
mod log_score;
mod next_poll;
mod prediction;
mod rate_limiter;
mod recent_runs;
mod sliding_window;
mod spare_poll;
mod typical_durations;
mod typical_variance;
mod window_moments;

pub use crate::job::PollPrice;
pub use backoff::Backoff;
pub use distribution::{CdfPoint, Distribution};
pub use duration_history::{DurationHistory, SimilarRuns};
pub use histogram::Histogram;
pub use kernel_estimate::KernelEstimate;
pub use next_poll::{LearnedPolicySettings, PlannedPoll, PollReason, staleness_index};
pub use prediction::Prediction;
pub use rate_limiter::{RateLimiter, RateLimiterState, RateLimiterStates};
pub use recent_runs::RecentRuns;
