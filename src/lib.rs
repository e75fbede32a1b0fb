//! jobtrack tracks jobs that were submitted to remote services until they end.
//!
//! # The way of the data
//! ```text
//! control request → command → job in the registry table (committed, then acknowledged)
//!   → due poll → Provider::poll → Answer → Observation → Transition (committed) → watchers read it
//! ```
//! One direction, one type an arrow. One edge closes the loop: the outcome of a poll goes back to
//! the tracker. All writes go through the scheduler's handle; reads go from the control socket to
//! the store.
//!
//! # The rooms, from the top; each may use those below it
//! | room | is |
//! |---|---|
//! | [`daemon`], [`cli`] | the two programs: wiring, and one file a command |
//! | [`control`] | the control socket's server |
//! | [`systemd`] | what the service manager is told |
//! | [`maintenance`] | housekeeping of the database, by the calendar |
//! | [`scheduler`] | the IO shell of the tracker |
//! | [`provider`] | the only HTTP to the outside |
//! | [`store`] | the only SQL |
//! | [`tracker`] | pure: which job is asked when |
//! | [`policy`] | pure: how long to wait |
//! | [`api`] | the wire types and the client |
//! | [`job`] | pure: what a job is and how it moves |
//!
//! [`config`] and [`clock`] serve every room that does IO.
//!
//! # Invariants
//! - Nothing is acknowledged or published before it is committed.
//! - [`job::Standing::apply`] alone sets a job's state; no row leaves a terminal state.
//! - A poll that failed, a paused provider or a full disk changes no job's state.
//! - A job has one poll in flight at most, and none while a change of it is unwritten.
//! - No secret is in a log, an error, a `Debug` or the database.

#![warn(clippy::expect_used, clippy::unwrap_used)]

pub mod api;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod daemon;
pub mod job;
pub mod maintenance;
pub mod policy;
pub mod provider;
pub mod scheduler;
pub mod store;
pub mod systemd;
pub mod tracker;
