//! Tests of the tracker, which runs through simulated days with a simulated provider and store.
//!
//! [`simulation`] checks the invariants after every input; each test in the other files shows one
//! behavior.

mod accounts;
mod commits;
mod fixtures;
mod give_up;
mod job_price;
mod learned_policy;
mod list_requests;
mod lost;
mod many_jobs;
mod next_poll;
mod on_demand_requests;
mod outages;
mod overload;
mod poll_intervals;
mod rejected_jobs;
mod rejections;
mod selection;
mod simulation;
mod spare_polls;
mod terminal_states;
mod unknown_states;
