//! The database: the registry of jobs, their history, and learned durations.
//!
//! The scheduler hands [`Batch`]es to the [`Writer`]; the control server and the daemon read through
//! the [`Reader`]. This file, `batch`, `rename`, `query` and `error` define what they see:
//! batches, filters and cursors. Everything that concerns the database engine is in `sqlite`. Invariant: a batch
//! that was reported as committed is on disk, in the file at the configured path.

mod access;
mod batch;
mod error;
mod query;
mod rename;
mod sqlite;
mod user_limits;

pub use access::{BatchWriter, TrackerStateReader};
pub use batch::{
    Batch, BatchTimes, CommitReport, EndedJob, ForgetDurations, MaintenanceTask, RegisterResult,
    SetPinned, StoreCommand, StoreHealth,
};
pub use error::{OpenError, ReadError, WriteError};
pub use query::{HistoryFilter, JobFilter, StoredDurationSample};
pub use rename::{AppliedRename, ProviderRename, RenameConflict, RenameOutcome};
pub use sqlite::{
    DatabaseCheck, JobRow, PrunableRow, Reader, RestoredDatabase, SCHEMA_VERSION, Snapshot, Store,
    TransitionRow, VerifiedDatabase, Writer, check_database, engine_description, restore,
    verify_database,
};
pub use user_limits::UserLimits;

use crate::config::StoreConfig;

/// On which file systems a database may be opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FileSystemPolicy {
    #[default]
    RequireLocal,
    /// Also on file systems that several machines may use; only one machine may use the database.
    AllowNetwork,
}

impl From<&StoreConfig> for FileSystemPolicy {
    fn from(config: &StoreConfig) -> Self {
        if config.allow_network_file_system { Self::AllowNetwork } else { Self::RequireLocal }
    }
}
