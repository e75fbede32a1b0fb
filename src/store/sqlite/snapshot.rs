//! A consistent copy of the database while the daemon runs, for `jobtrack backup`.
//!
//! The control server sends it to the client, which writes the file under its own user. Invariant: the
//! copy has no name any more when it is returned, so that nothing is left of it whatever happens.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::fs::statvfs;

use crate::store::ReadError;

use super::copy::{copy_database, read_options};
use super::database_path::DatabasePath;
use super::reader::Reader;

/// What remains free for the daemon's own writes.
const RESERVED_BYTES: u64 = 64 << 20;

impl Reader {
    /// Copies the database into a file beside it and returns that file, already removed. One copy is made
    /// at a time.
    ///
    /// # Errors
    /// If the database cannot be read or there is no space for the copy.
    pub async fn snapshot(&self) -> Result<File, ReadError> {
        let reader = self.clone();
        // A task, because a client that leaves must not leave a half-written file behind.
        let copied = tokio::spawn(async move {
            let _one_at_a_time = reader.snapshots.lock().await;
            let database = reader.pool.connect_options().get_filename().to_owned();
            copy_and_unlink(&database).await
        });
        copied.await.map_err(|error| ReadError::Database(error.to_string()))?
    }
}

async fn copy_and_unlink(database: &Path) -> Result<File, ReadError> {
    let io_error = |error: io::Error| ReadError::Database(format!("no copy was made: {error}"));
    ensure_space(database).map_err(io_error)?;
    let copy = DatabasePath::resolve(database)
        .map_err(|error| ReadError::Database(error.to_string()))?
        .with_suffix(".backup");
    // A daemon that was killed may have left one.
    match fs::remove_file(&copy) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(error)),
        Ok(()) | Err(_) => {}
    }
    copy_database(read_options(database), &copy, 0o600).await?;
    let file = File::open(&copy);
    fs::remove_file(&copy).map_err(io_error)?;
    file.map_err(io_error)
}

fn ensure_space(database: &Path) -> io::Result<()> {
    let needed = fs::metadata(database)?.len() + RESERVED_BYTES;
    let found = statvfs(database)?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    if free >= needed {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "the file system of {} needs {} MiB free for the copy and has {} MiB",
        database.display(),
        needed >> 20,
        free >> 20
    )))
}
