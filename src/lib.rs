//! jobtrack tracks jobs that were submitted to remote services until they end.

pub mod api;
pub mod cli;
pub mod clock;
pub mod job;
