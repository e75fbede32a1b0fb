//! The one that writes: a task with one connection, one transaction for all that waits.
//!
//! The scheduler hands in a [`Batch`] and gets back what was committed, or the error: then nothing
//! of the batch is in the database. After an error the connection is opened anew, since sqlx
//! loses count of transactions that SQLite rolled back by itself.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::job::MonotonicTime;

use super::batch::{Batch, CommitReport, newest_seq, write_batch};
use super::ffi::{is_out_of_space, persist_wal};
use super::maintenance::{CLEAN_SHUTDOWN, record_event_time};

/// Why a batch was not written; nothing of it is.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Another program holds the database: try again.
    #[error("another program is writing to the database")]
    Busy,
    /// No room: try again when there is some.
    #[error("no room left for the database: {0}")]
    NoSpace(String),
    /// A value does not fit its column. Waiting does not help, and the disk is well.
    #[error("the database does not take it: {0}")]
    Rejected(String),
    /// The disk failed.
    #[error("the database cannot be written: {0}")]
    Io(String),
    /// The file that we write to is no longer the one at its path. Final.
    #[error("{} was removed or replaced while in use; stop jobtrackd, put it back, start again", .0.display())]
    FileReplaced(PathBuf),
    /// The file is damaged. Final.
    #[error("the database is damaged: {0}")]
    Corrupt(String),
}

/// Device and inode of the database and its WAL.
type FileIdentity = ((u64, u64), (u64, u64));

/// The writer, to be run by one task.
#[derive(Debug)]
pub struct Writer {
    options: SqliteConnectOptions,
    connection: Option<SqliteConnection>,
    path: PathBuf,
    file_identity: FileIdentity,
    clock: Clock,
    truncate_wal_at: MonotonicTime,
    newest_seq: watch::Sender<i64>,
    /// Held as long as we write.
    _lock: File,
}

impl Writer {
    /// A larger WAL is worth a word to the operator, and a try to cut it.
    pub const MAX_WAL_BYTES: u64 = 64 << 20;
    const WAL_TRUNCATE_INTERVAL: Duration = Duration::from_secs(10);

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
            file_identity: read_file_identity(path).map_err(sqlx::Error::Io)?.0,
            clock: Clock::start(),
            truncate_wal_at: MonotonicTime::default(),
            newest_seq: watch::Sender::new(newest),
            _lock: lock,
        })
    }

    /// The number of the newest committed transition, as it grows.
    #[must_use]
    pub fn subscribe_newest_seq(&self) -> watch::Receiver<i64> {
        self.newest_seq.subscribe()
    }

    /// Writes all of `batch`, or nothing.
    ///
    /// Not to be cancelled: a commit that was cut short may or may not have happened.
    ///
    /// # Errors
    /// Why nothing was written.
    pub async fn write(&mut self, batch: &Batch) -> Result<CommitReport, WriteError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.reconnect().await.map_err(|error| classify(&error))?,
        };
        match write_batch(&mut connection, batch).await {
            Ok((mut report, newest)) => {
                // What follows the commit can fail without losing anything.
                if let Err(error) = self.run_after_commit(&mut connection, batch).await {
                    tracing::warn!("housekeeping of the database failed: {error}");
                }
                self.connection = Some(connection);
                report.wal_bytes = self.check_file_identity()?;
                self.newest_seq.send_if_modified(|seq| std::mem::replace(seq, newest) != newest);
                Ok(report)
            }
            Err(error) => {
                let error = match classify(&error) {
                    WriteError::Io(reason) if is_out_of_space(&mut connection).await => {
                        WriteError::NoSpace(reason)
                    }
                    other => other,
                };
                // It is not asked to say goodbye: its state is not to be trusted.
                drop(connection.close_hard().await);
                self.check_file_identity()?;
                Err(error)
            }
        }
    }

    /// A reader that stays in one transaction keeps the WAL from being begun anew: it grows until
    /// that reader goes, and must then be cut, which a passive checkpoint never does.
    async fn run_after_commit(
        &mut self,
        connection: &mut SqliteConnection,
        batch: &Batch,
    ) -> Result<(), sqlx::Error> {
        if let Some(task) = &batch.maintenance {
            task.run_after_commit(connection).await?;
        }
        let now = self.clock.monotonic_now();
        let wal_bytes = read_file_identity(&self.path).map_or(0, |(_, wal_bytes)| wal_bytes);
        if wal_bytes > Self::MAX_WAL_BYTES && now >= self.truncate_wal_at {
            self.truncate_wal_at = now.plus(Self::WAL_TRUNCATE_INTERVAL);
            sqlx::query("PRAGMA busy_timeout = 100").execute(&mut *connection).await?;
            let result =
                sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut *connection).await;
            sqlx::query("PRAGMA busy_timeout = 1000").execute(&mut *connection).await?;
            result?;
        }
        Ok(())
    }

    /// Ends in order: the WAL goes into the database if no reader is in its way, so that a copy
    /// of that file alone is whole.
    pub async fn close(mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        if let Err(error) =
            record_event_time(&mut connection, CLEAN_SHUTDOWN, Clock::utc_now()).await
        {
            tracing::warn!("the end was not recorded: {error}");
        }
        // By itself SQLite does so only when its last connection can write; readers outlive us.
        let checkpointed =
            sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await;
        if let Err(error) = checkpointed.and(connection.close().await) {
            tracing::warn!("the database was not closed in order, nothing is lost: {error}");
        }
    }

    async fn reconnect(&self) -> Result<SqliteConnection, sqlx::Error> {
        let mut connection = self.options.connect().await?;
        persist_wal(&mut connection).await?;
        Ok(connection)
    }

    /// SQLite does not notice that its file was taken away, and would acknowledge on. The size of
    /// the WAL comes with the look.
    fn check_file_identity(&self) -> Result<u64, WriteError> {
        match read_file_identity(&self.path) {
            Ok((now, wal_bytes)) if now == self.file_identity => Ok(wal_bytes),
            Ok(_) | Err(_) => Err(WriteError::FileReplaced(self.path.clone())),
        }
    }
}

/// Only looks, never opens: closing a second descriptor would drop SQLite's locks.
fn read_file_identity(path: &Path) -> io::Result<(FileIdentity, u64)> {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    let (database, wal) = (fs::metadata(path)?, fs::metadata(wal)?);
    let dev_and_inode = |found: &fs::Metadata| (found.dev(), found.ino());
    Ok(((dev_and_inode(&database), dev_and_inode(&wal)), wal.len()))
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
        Some(8 | 13) => WriteError::NoSpace(error.to_string()),
        Some(11 | 26) => WriteError::Corrupt(error.to_string()),
        // TOOBIG, CONSTRAINT, MISMATCH.
        Some(18..=20) => WriteError::Rejected(error.to_string()),
        Some(_) | None => WriteError::Io(error.to_string()),
    }
}
