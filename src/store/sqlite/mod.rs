//! The SQLite engine: SQL text, pragmas, the write-ahead log, file identity, versions, time format.
//!
//! One task owns the only connection that writes ([`Writer`]); a small pool of read-only connections
//! serves the [`Reader`]. [`Store::open`] verifies the file before anything changes it. Nothing
//! outside this directory depends on SQLite.

mod audit;
mod batch_start;
mod changes;
mod check;
mod columns;
mod copy;
mod cursor;
mod database_path;
mod durations;
mod error_code;
mod ffi;
mod file_change;
mod file_system;
mod identity;
mod identity_in_file;
mod job_list;
mod job_updates;
mod json_rows;
mod lock;
mod lower_bound;
mod maintenance;
mod open;
mod open_files;
mod provider_rename;
mod prune;
mod rate_limiter_states;
mod reader;
mod register;
mod restore;
mod rows;
mod schema;
mod script;
mod snapshot;
mod start_checks;
mod store_commands;
mod stored_job;
mod temporary_file;
mod time;
mod tracked_job;
mod user_limits;
mod verify;
mod wal_header;
mod watched_path;
mod write;
mod writer;

use std::time::Duration;

use super::error::ReadError;

pub use check::{DatabaseCheck, check_database};
pub use ffi::engine_description;
pub use open::Store;
pub use reader::Reader;
pub use restore::{RestoredDatabase, restore};
pub use rows::{JobRow, PrunableRow, TransitionRow};
pub use schema::SCHEMA_VERSION;
pub use snapshot::Snapshot;
pub use verify::{VerifiedDatabase, verify_database};
pub use writer::Writer;

/// How long a statement waits for a lock of another program. Short, because nothing else is written
/// during the wait; the scheduler retries.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// A larger WAL is reported to the operator and truncated; SQLite itself truncates to this size.
const MAX_WAL_BYTES: u64 = 64 << 20;

impl From<sqlx::Error> for ReadError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.to_string())
    }
}
