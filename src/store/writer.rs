//! The one that writes: a task with one connection, one transaction for all that waits.
//!
//! The scheduler hands in a [`Batch`] and gets back what was committed, or the error: then nothing
//! of the batch is in the database. After an error the connection is opened anew, since sqlx
//! loses count of transactions that SQLite rolled back by itself.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::watch;

use super::batch::{Batch, Committed, newest_seq, transact};

/// Why a batch was not written; nothing of it is.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Another program holds the database: try again.
    #[error("another program is writing to the database")]
    Busy,
    /// No room: try again when there is some.
    #[error("no room left for the database: {0}")]
    Full(String),
    /// The disk failed.
    #[error("the database cannot be written: {0}")]
    Io(String),
    /// The file that we write to is no longer the one at its path. Final.
    #[error("{} was removed or replaced while in use; stop jobtrackd, put it back, start again", .0.display())]
    Moved(PathBuf),
    /// The file is damaged. Final.
    #[error("the database is damaged: {0}")]
    Damaged(String),
}

/// Device and inode of the database and its WAL.
type Identity = ((u64, u64), (u64, u64));

/// The writer, to be run by one task.
#[derive(Debug)]
pub struct Writer {
    options: SqliteConnectOptions,
    connection: Option<SqliteConnection>,
    path: PathBuf,
    identity: Identity,
    newest: watch::Sender<i64>,
    /// Held as long as we write.
    _lock: File,
}

impl Writer {
    pub(super) async fn new(
        options: SqliteConnectOptions,
        mut connection: SqliteConnection,
        path: &Path,
        lock: File,
    ) -> Result<Self, sqlx::Error> {
        persist_wal(&mut connection).await?;
        // Makes sure that there is a WAL with an inode to remember.
        sqlx::query("UPDATE job SET id = id WHERE id < 0").execute(&mut connection).await?;
        let newest = newest_seq(&mut connection).await?;
        Ok(Self {
            options,
            connection: Some(connection),
            path: path.to_owned(),
            identity: identity(path).map_err(sqlx::Error::Io)?,
            newest: watch::Sender::new(newest),
            _lock: lock,
        })
    }

    /// The number of the newest committed transition, as it grows.
    #[must_use]
    pub fn newest(&self) -> watch::Receiver<i64> {
        self.newest.subscribe()
    }

    /// Writes all of `batch`, or nothing.
    ///
    /// Not to be cancelled: a commit that was cut short may or may not have happened.
    ///
    /// # Errors
    /// Why nothing was written.
    pub async fn write(&mut self, batch: &Batch) -> Result<Committed, WriteError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.reopen().await.map_err(|error| classify(&error))?,
        };
        match transact(&mut connection, batch).await {
            Ok((committed, newest)) => {
                self.connection = Some(connection);
                self.check_identity()?;
                self.newest.send_if_modified(|seq| std::mem::replace(seq, newest) != newest);
                Ok(committed)
            }
            Err(error) => {
                let error = match classify(&error) {
                    WriteError::Io(why) if lacks_room(&mut connection).await => {
                        WriteError::Full(why)
                    }
                    other => other,
                };
                // It is not asked to say goodbye: its state is not to be trusted.
                drop(connection.close_hard().await);
                self.check_identity()?;
                Err(error)
            }
        }
    }

    /// Ends in order: the WAL goes into the database if no reader is in its way, so that a copy
    /// of that file alone is whole.
    pub async fn close(mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        // By itself SQLite does so only when its last connection can write; readers outlive us.
        let emptied = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await;
        if let Err(error) = emptied.and(connection.close().await) {
            tracing::warn!(%error, "the database was not closed in order; nothing is lost");
        }
    }

    async fn reopen(&self) -> Result<SqliteConnection, sqlx::Error> {
        let mut connection = self.options.connect().await?;
        persist_wal(&mut connection).await?;
        Ok(connection)
    }

    /// SQLite does not notice that its file was taken away, and would acknowledge on.
    fn check_identity(&self) -> Result<(), WriteError> {
        match identity(&self.path) {
            Ok(now) if now == self.identity => Ok(()),
            Ok(_) | Err(_) => Err(WriteError::Moved(self.path.clone())),
        }
    }
}

/// Only looks, never opens: closing a second descriptor would drop SQLite's locks.
fn identity(path: &Path) -> io::Result<Identity> {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    let of = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
    Ok((of(path)?, of(Path::new(&wal))?))
}

/// Without it a clean stop removes the WAL, and users who may only read cannot open the database.
#[allow(unsafe_code, reason = "sqlx has no call for a file control")]
async fn persist_wal(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let mut handle = connection.lock_handle().await?;
    let mut on: std::ffi::c_int = 1;
    // SAFETY: the handle is locked and open; "main" is a C string; SQLITE_FCNTL_PERSIST_WAL takes a
    // pointer to an int, which lives until the call returns.
    let code = unsafe {
        libsqlite3_sys::sqlite3_file_control(
            handle.as_raw_handle().as_ptr(),
            c"main".as_ptr(),
            libsqlite3_sys::SQLITE_FCNTL_PERSIST_WAL,
            (&raw mut on).cast(),
        )
    };
    if code == libsqlite3_sys::SQLITE_OK {
        Ok(())
    } else {
        Err(sqlx::Error::Io(io::Error::other("SQLITE_FCNTL_PERSIST_WAL failed")))
    }
}

/// Whether the system refused the last write for want of room. SQLite has a code of its own for
/// `ENOSPC` only: a quota, a limit on file sizes and a disk that became read-only are to it the
/// same as a broken one, but they pass.
#[allow(unsafe_code, reason = "sqlx has no call for the system's error")]
async fn lacks_room(connection: &mut SqliteConnection) -> bool {
    let Ok(mut handle) = connection.lock_handle().await else { return false };
    // SAFETY: the handle is locked and open; the call only reads a number from it.
    let number = unsafe { libsqlite3_sys::sqlite3_system_errno(handle.as_raw_handle().as_ptr()) };
    let room = [Errno::NOSPC, Errno::DQUOT, Errno::FBIG, Errno::ROFS];
    room.contains(&Errno::from_raw_os_error(number))
}

/// The primary result code of an error that comes from SQLite.
pub(super) fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

/// Codes as in <https://sqlite.org/rescode.html>.
fn classify(error: &sqlx::Error) -> WriteError {
    match primary_code(error) {
        Some(5 | 6) => WriteError::Busy,
        Some(8 | 13) => WriteError::Full(error.to_string()),
        Some(11 | 26) => WriteError::Damaged(error.to_string()),
        Some(_) | None => WriteError::Io(error.to_string()),
    }
}
