//! The SQLite engine: SQL text, pragmas, the write-ahead log, file identity, versions, time format.
//!
//! One task owns the only connection that writes ([`Writer`]); a small pool of read-only connections
//! serves the [`Reader`]. [`Store::open`] verifies the file before anything changes it. Nothing
//! outside this directory depends on SQLite.

mod changes;
mod durations;
mod ffi;
mod json_rows;
mod maintenance;
mod open;
mod provider_rename;
mod reader;
mod register;
mod time;
mod types;
mod write;
mod writer;

pub use ffi::engine_description;
pub use open::{SCHEMA_VERSION, Store, pending_migrations};
pub use reader::Reader;
pub use writer::Writer;
