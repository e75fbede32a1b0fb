//! Which job is asked when, and what comes of it: the tracker, driven through simulated hours and
//! days by its own `wakes_at` and by the answers and commits of a simulated world.
//!
//! [`sim`] checks the invariants at every single step; the other files show one behaviour a test.

#![allow(clippy::expect_used, reason = "a test crate: a broken expectation is a failed test")]

#[path = "tracker/accounts.rs"]
mod accounts;
#[path = "tracker/cadence.rs"]
mod cadence;
#[path = "tracker/endings.rs"]
mod endings;
#[path = "tracker/fleet.rs"]
mod fleet;
#[path = "tracker/learned.rs"]
mod learned;
#[path = "tracker/lists.rs"]
mod lists;
#[path = "tracker/lost.rs"]
mod lost;
#[path = "tracker/outage.rs"]
mod outage;
#[path = "tracker/refusals.rs"]
mod refusals;
#[path = "tracker/renaming.rs"]
mod renaming;
#[path = "tracker/sim.rs"]
mod sim;
#[path = "tracker/turns.rs"]
mod turns;
#[path = "tracker/words.rs"]
mod words;
#[path = "tracker/world.rs"]
mod world;
#[path = "tracker/writes.rs"]
mod writes;
