//! PURE. What a job is and how it moves. No clock, no chance, no IO: times are arguments.
//!
//! An [`Answer`] comes in from a provider; [`observe`] turns its [`Observation`] into
//! [`Transition`]s, the rows of the history. Invariants: no row leaves a terminal state,
//! `observed_at` never runs backwards in a job's rows, each row's `from` is the row before's `to`.

mod answer;
mod change;
mod connection_check;
mod id;
mod not_found;
mod similarity;
mod state;
mod state_filter;
mod time;
mod transition;

pub use answer::{
    Answer, ListPage, ListWindow, Observation, ProviderError, ProviderErrorKind, ProviderTimes,
    RateLimitInfo, RateLimitQuota,
};
pub use change::{Anomaly, Change, Metadata, NewJob, Outage, OutageEdge, PollRecord, StoredJob};
pub use connection_check::{ConnectionCheck, Finding, FindingKind};
pub use id::{InvalidName, JobId, JobRef, Labels, ProviderName, RemoteId, parse_label};
pub use not_found::{NotFoundStreak, NotFoundTimeout};
pub use similarity::{DurationKind, DurationSample, SimilarityKeys};
pub use state::{Evidence, ObservedState, State};
pub use state_filter::StateFilter;
pub use time::{ClockReading, MonotonicTime, UtcTime};
pub use transition::{
    CurrentState, LifecycleStep, LocalOutcome, RequestTimes, Transition, Verdict,
    evaluate_observation, local_end_transition, registration_transition,
};
