//! Tests of the store: its files, the schema and the views, what a batch writes, what the reader
//! returns.

mod audit;
mod backdated_rows;
mod database_faults;
mod durations;
mod files;
mod job_price;
mod many_rows;
mod operators;
mod pinned_jobs;
mod provider_rename;
mod rate_limiter_states;
mod reading;
mod registration;
mod replaced_files;
mod schema;
mod sql_engines;
#[path = "../support/mod.rs"]
mod support;
mod user_limits;
mod views;
mod writing;
