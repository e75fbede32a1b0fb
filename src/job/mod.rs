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

pub use answer::{Answer, Listed, Listing, Observation, Pace, Page, ProviderError, Quota, Times};
pub use change::{Anomaly, Change, NewJob, Note, Outage, OutageEdge, Told, Tracked};
pub use checkup::{Checkup, Finding};
pub use id::{InvalidName, JobId, JobRef, Labels, ProviderName, RemoteId, parse_label};
pub use likeness::{Lesson, Likeness, Phase};
pub use lost::{Grace, Missing};
pub use state::{Evidence, Said, State};
pub use time::{Moment, Mono, Utc};
pub use transition::{
    Asked, Ours, Standing, Step, Transition, Verdict, conclude, observe, register,
};
