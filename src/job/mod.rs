//! PURE. Jobs, their states and transitions, and the data types that the other modules exchange.
//!
//! A provider returns an [`Answer`]; [`evaluate_observation`] turns its [`Observation`] into
//! [`Transition`]s, the rows of the history. Invariants: no transition leads out of a terminal state;
//! within a job `observed_at` never decreases, and each `from` equals the previous `to`.

mod answer;
mod change;
mod connection_check;
mod cursor;
mod id;
mod not_found;
mod run_durations;
mod similarity;
mod state;
mod state_filter;
mod time;
mod transition;

pub use answer::{
    Answer, ListPage, ListWindow, Observation, ProviderError, ProviderErrorKind, ProviderTimes,
    RateLimitInfo, RateLimitQuota,
};
pub use change::{
    AddedBy, Anomaly, Change, Metadata, NewJob, Outage, OutageEdge, PollRecord, StoredJob,
};
pub use connection_check::{ConnectionCheck, Finding, FindingKind};
pub use cursor::EventCursor;
pub use id::{InvalidName, JobId, JobRef, Labels, ProviderName, RemoteId, parse_label};
pub use not_found::{NotFoundStreak, NotFoundTimeout};
pub use run_durations::RunDurations;
pub use similarity::{DurationKind, DurationSample, SimilarityKeys};
pub use state::{Evidence, ObservedState, State};
pub use state_filter::StateFilter;
pub use time::{ClockReading, MonotonicTime, UtcTime};
pub use transition::{
    CurrentState, LifecycleStep, LocalOutcome, RequestTimes, Transition, Verdict,
    evaluate_observation, local_end_transition, registration_transition,
};
