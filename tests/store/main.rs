//! The store as its users see it: the files, the schema and its views, what a batch becomes, what
//! can be read of it.

mod database_faults;
mod durations;
mod files;
mod provider_rename;
mod reading;
mod schema;
mod sql_engines;
#[path = "../support/mod.rs"]
mod support;
mod views;
mod writing;
