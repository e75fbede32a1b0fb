//! Tests of the pure code: state transitions, the polling policy, the tracker, signatures and the
//! configuration, all in this process and without a server or a database. The rules that
//! `ARCHITECTURE.md` states about the source are checked here too.

#![allow(clippy::expect_used, reason = "a test crate: a broken expectation is a failed test")]

mod architecture;
mod config;
mod contradicted_times;
mod fault_list;
mod fuzz_corpus;
#[path = "../support/fuzz_inputs.rs"]
mod fuzz_inputs;
mod job_transitions;
mod log_catalogue;
mod policy;
mod polling;
mod rate_limiter;
mod signing;
mod spare_requests;
mod tracker;
