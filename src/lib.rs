//! jobtrack tracks jobs that were submitted to remote services until they end.
//!
//! `ARCHITECTURE.md` explains the data flow and the modules; `tests/pure/architecture.rs` checks the
//! dependencies between them. In short, a control request becomes a command, a command becomes a row
//! in the table `job`, a due job is polled, the provider's answer becomes transitions, and
//! committed transitions are what clients and SQL queries read.
//!
//! # Invariants
//! - Nothing is acknowledged or published before it is committed.
//! - A job's state changes by [`job::CurrentState::apply`] after a commit. If the database holds another
//!   state than the tracker, the tracker replaces its own. No transition leaves a terminal state.
//! - A failed poll, a paused provider or a full disk never changes a job's state.
//! - A job has at most one poll in flight, and no poll starts while a change of the job is uncommitted.
//! - No secret appears in a log line, an error, a `Debug` output or the database.

#![warn(clippy::expect_used, clippy::unwrap_used)]

pub mod api;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod daemon;
pub mod escape;
pub mod job;
pub mod logging;
pub mod maintenance;
pub mod policy;
pub mod provider;
pub mod scheduler;
pub mod store;
pub mod systemd;
pub mod tls;
pub mod tracker;
