//! Which job is asked when, and what comes of it: the tracker, driven through simulated hours and
//! days by its own `wakes_at` and by the answers and commits of a simulated world.
//!
//! [`simulation`] checks the invariants at every single step; the other files show one behaviour a test.

mod accounts;
mod commits;
mod fixtures;
mod learned_policy;
mod list_requests;
mod lost;
mod many_jobs;
mod outages;
mod poll_intervals;
mod rejections;
mod selection;
mod simulation;
mod terminal_states;
mod unknown_states;
