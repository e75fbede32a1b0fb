//! PURE. What a job is and how it moves. No clock, no chance, no IO: times are arguments.
//!
//! An [`Answer`] comes in from a provider; [`observe`] turns its [`Observation`] into
//! [`Transition`]s, the rows of the history. Invariants: no row leaves a terminal state,
//! `observed_at` never runs backwards in a job's rows, each row's `from` is the row before's `to`.

mod answer;
mod change;
mod checkup;
mod id;
mod likeness;
mod lost;
mod state;
mod time;
mod transition;

pub use answer::{Answer, ListPage, ListAnswer, Observation, RateLimitInfo, ListWindow, ProviderError, RateLimitQuota, ProviderTimes};
pub use change::{Anomaly, Change, NewJob, PollRecord, Outage, OutageEdge, Metadata, StoredJob};
pub use checkup::{ConnectionCheck, Finding};
pub use id::{InvalidName, JobId, JobRef, Labels, ProviderName, RemoteId, parse_label};
pub use likeness::{DurationSample, SimilarityKeys, DurationKind};
pub use lost::{NotFoundTimeout, NotFoundStreak};
pub use state::{Evidence, ObservedState, State};
pub use time::{ClockReading, MonotonicTime, UtcTime};
pub use transition::{
    RequestTimes, LocalOutcome, CurrentState, LifecycleStep, Transition, Verdict, local_end_transition, evaluate_observation, registration_transition,
};
