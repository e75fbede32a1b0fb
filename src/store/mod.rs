//! The only SQL. One writer task owns the one connection that writes; readers are a small pool.
//!
//! [`Store::open`] makes sure that the file is ours, whole, and used by nobody else. The scheduler
//! hands [`Batch`]es to the [`Writer`]; the control room reads through the [`Reader`]. Invariant:
//! what was acknowledged is committed with an fsync, in a file that still bears its name.

mod batch;
mod columns;
mod lessons;
mod open;
mod reader;
mod rename;
mod sqlite;
mod upkeep;
mod writer;

pub use batch::{Batch, CommitReport, Registered};
pub use lessons::{ForgetDurations, StoredDurationSample};
pub use open::{OpenError, SCHEMA_VERSION, Store, pending_migrations};
pub use reader::{HistoryFilter, JobFilter, JobRow, ReadError, Reader, StateFilter, TransitionRow};
pub use rename::{RenameConflict, AppliedRename, ProviderRename};
pub use sqlite::sqlite_version;
pub use upkeep::MaintenanceTask;
pub use writer::{WriteError, Writer};
