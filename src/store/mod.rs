//! The only SQL. One writer task owns the one connection that writes; readers are a small pool.
//!
//! [`Store::open`] makes sure that the file is ours, whole, and used by nobody else. The scheduler
//! hands [`Batch`]es to the [`Writer`]; the control room reads through the [`Reader`]. Invariant:
//! what was acknowledged is committed with an fsync, in a file that still bears its name.

mod batch;
mod durations;
mod ffi;
mod maintenance;
mod open;
mod provider_rename;
mod reader;
mod sql_types;
mod writer;

pub use batch::{Batch, CommitReport, Registered};
pub use durations::{ForgetDurations, StoredDurationSample};
pub use ffi::sqlite_version;
pub use maintenance::MaintenanceTask;
pub use open::{OpenError, SCHEMA_VERSION, Store, pending_migrations};
pub use provider_rename::{AppliedRename, ProviderRename, RenameConflict};
pub use reader::{HistoryFilter, JobFilter, JobRow, ReadError, Reader, TransitionRow};
pub use writer::{WriteError, Writer};
