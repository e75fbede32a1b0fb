//! A consistent copy of the database while the daemon runs, for `jobtrack backup`.
//!
//! The control server sends it to the client, which writes the file under its own user. Invariant: the
//! copy has no name any more when it is returned, so that nothing is left of it whatever happens; and
//! there is one copy at a time, so that copies do not fill the disk.

use std::fmt::Display;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::fs::statvfs;
use tokio::sync::OwnedMutexGuard;

use crate::store::ReadError;

use super::copy::{copy_database, read_options};
use super::database_path::DatabasePath;
use super::reader::Reader;
use super::temporary_file::{Purpose, temporary_path};

/// What remains free for the daemon's own writes.
const RESERVED_BYTES: u64 = 64 << 20;

/// A copy of the database without a name. Its space is free, and another copy can be made, when it is
/// dropped.
#[derive(Debug)]
pub struct Snapshot {
    pub file: File,
    _only_one: OwnedMutexGuard<()>,
}

impl Reader {
    /// Copies the database into a file beside it and returns that file, already removed.
    ///
    /// # Errors
    /// [`ReadError::SnapshotInProgress`] while there is another copy; [`ReadError::NoSpaceForCopy`];
    /// [`ReadError::CopyFailed`] if the database cannot be read or the copy cannot be written.
    pub async fn snapshot(&self) -> Result<Snapshot, ReadError> {
        let only_one =
            self.snapshots.clone().try_lock_owned().map_err(|_| ReadError::SnapshotInProgress)?;
        let database = self.pool.connect_options().get_filename().to_owned();
        // A task, because a client that leaves must not leave a half-written file behind.
        let copied = tokio::spawn(async move {
            Ok(Snapshot { file: copy_and_unlink(&database).await?, _only_one: only_one })
        });
        copied.await.map_err(|error| ReadError::Database(error.to_string()))?
    }
}

async fn copy_and_unlink(database: &Path) -> Result<File, ReadError> {
    let directory = || database.parent().unwrap_or(database).to_owned();
    let failed = |error: &dyn Display| ReadError::CopyFailed {
        directory: directory(),
        reason: error.to_string(),
    };
    let (needed_bytes, free_bytes) = space_for_copy(database).map_err(|error| failed(&error))?;
    if free_bytes < needed_bytes {
        let database = database.to_owned();
        return Err(ReadError::NoSpaceForCopy { database, needed_bytes, free_bytes });
    }
    let path = DatabasePath::resolve(database).map_err(|error| failed(&error))?;
    let copy = temporary_path(&path, Purpose::Snapshot);
    let copied = copy_database(read_options(database), &copy, 0o600).await;
    copied.map_err(|error| failed(&error))?;
    let file = File::open(&copy);
    fs::remove_file(&copy).map_err(|error| failed(&error))?;
    file.map_err(|error| failed(&error))
}

/// The bytes that must be free to make a copy, and those that are.
fn space_for_copy(database: &Path) -> io::Result<(u64, u64)> {
    let needed = fs::metadata(database)?.len() + RESERVED_BYTES;
    let found = statvfs(database)?;
    Ok((needed, found.f_bavail.saturating_mul(found.f_frsize)))
}
