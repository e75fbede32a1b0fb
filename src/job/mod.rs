//! PURE. Jobs, their states and transitions, and the data types that the other modules exchange.
//!
//! A provider returns an [`Answer`]; [`evaluate_observation`] turns its [`Observation`] into
//! [`Transition`]s, the rows of the history. Invariants: no transition leads out of a terminal state;
//! within a job `observed_at` never decreases, and each `from` equals the previous `to`.

mod answer;
mod audit;
mod change;
mod compact_id;
mod connection_check;
mod contradicted_times;
mod cursor;
mod escalating_pause;
mod history;
mod id;
mod job_durations;
mod labels;
mod not_found;
mod placeholder_id;
mod poll_price;
mod record_clock;
mod similarity;
mod state;
mod state_filter;
mod time;
mod time_expression;
mod transition;
mod trusted_clock;
mod wording;

pub use answer::{
    Answer, ConnectionFailure, ListPage, ListPageQuery, Observation, ProviderError,
    ProviderErrorKind, ProviderTimes, RateLimitInfo, RateLimitPolicy,
};
pub use audit::{AuditEntry, AuditOutcome, AuditTarget, AuditedCommand, Requester};
pub use change::{
    AddedBy, Anomaly, Change, Metadata, NewJob, OutageBoundary, OutageEvent, PollRecord, StoredJob,
};
pub use compact_id::CompactRemoteId;
pub use connection_check::{ConnectionCheck, Finding, FindingKind, ServiceHints};
pub use cursor::EventCursor;
pub use escalating_pause::escalating_pause;
pub use history::history_violation;
pub use id::{InvalidText, JobId, JobRef, ProviderName, RemoteId};
pub use job_durations::JobDurations;
pub use labels::{Labels, parse_label};
pub use not_found::{NotFoundAnswer, NotFoundStreak, NotFoundTimeout};
pub use placeholder_id::placeholder_reason;
pub use poll_price::{JobPrice, PollPrice};
pub use record_clock::{RecordClock, RecordedTimes};
pub use similarity::{DurationKind, DurationSample, DurationStart, SimilarityKeys};
pub use state::{Evidence, ObservedState, ProviderState, State};
pub use state_filter::StateFilter;
pub use time::{ClockReading, MonotonicTime, UtcTime};
pub use time_expression::TimeExpression;
pub use transition::{
    CurrentState, LifecycleStep, LocalOutcome, ObservationEffect, RequestTimes, Transition,
    evaluate_observation, local_end_transition, registration_transition,
};
pub use trusted_clock::TrustedClock;
pub use wording::{counted, format_duration, format_short_duration};
