//! jobtrack

pub mod api;
pub mod clock;
pub mod config;
pub mod control;
pub mod job;
pub mod policy;
pub mod provider;
pub mod scheduler;
pub mod store;
pub mod tracker;
