//! The database: the registry of jobs, their history, and what polls cost and taught.
//!
//! The scheduler hands [`Batch`]es to the [`Writer`]; the control server and the daemon read through
//! the [`Reader`]. This file, `batch`, `rename`, `rows` and `error` define what they see: batches,
//! rows and cursors. Everything that concerns the database engine is in `sqlite`. Invariant: a batch
//! that was reported as committed is on disk, in the file at the configured path.

mod batch;
mod error;
mod rename;
mod rows;
mod sqlite;

pub use batch::{
    Batch, CommitReport, ForgetDurations, MaintenanceTask, RegisterResult, StoreHealth,
};
pub use error::{OpenError, ReadError, WriteError};
pub use rename::{AppliedRename, ProviderRename, RenameConflict};
pub use rows::{HistoryFilter, JobFilter, JobRow, StoredDurationSample, TransitionRow};
pub use sqlite::{Reader, SCHEMA_VERSION, Store, Writer, engine_description, pending_migrations};
