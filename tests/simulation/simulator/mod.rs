//! A simulation of the whole daemon but its sockets: scheduler, tracker, committer, store with real SQL
//! on a real SQLite file, and the providers' parsers, on one seed and in virtual time.
//!
//! [`simulate`] runs one simulation. `operations` and `faults` draw what happens, `services` and `store` carry
//! the faults out, `model` and `check` are the reference: what must be true whatever happens.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    clippy::expect_used,
    reason = "shared source: the tests and the benchmark each use a part of it"
)]

mod check;
mod daemon;
mod damaged_answers;
mod database;
mod event_log;
mod faults;
mod lives;
mod model;
mod operations;
mod plan;
mod run;
mod services;
mod store;
mod suspend;
mod time;
mod transport;

pub use plan::{Options, PlantedBug, Profile};
pub use run::{Report, simulate};
pub use suspend::suspend;
