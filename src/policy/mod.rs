//! PURE. When to ask next: for one job, as was learned ([`Memory`], [`Rule`]) or by growing pauses
//! ([`Backoff`]), and for all jobs of an account ([`Budget`]).
//!
//! Called by the tracker, with the time and the throw of the dice handed in.

mod backoff;
mod budget;
mod curve;
mod memory;
mod price;

pub use backoff::Backoff;
pub use budget::RateLimiter;
pub use curve::{Distribution, Histogram, Mixture, CdfPoint, LogNormalEstimate};
pub use memory::{DurationHistory, SimilarRuns};
pub use price::{PlannedPoll, PollRule, PollReason, staleness_index};
