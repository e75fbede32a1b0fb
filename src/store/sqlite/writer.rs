//! The writer: one task, one connection, one transaction for everything that waits.
//!
//! The scheduler hands in a [`Batch`] and receives the result of the commit, or why the batch is not
//! confirmed. After an error of the transaction the connection is replaced, because sqlx loses count of
//! its transactions when SQLite rolls one back by itself.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::job::{EventCursor, MonotonicTime, UtcTime};
use crate::store::{
    Batch, BatchWriter, CommitReport, MaintenanceTask, ProviderRename, RenameOutcome, StoreHealth,
    WriteError,
};

use super::cursor::{newest_seq, to_cursor};
use super::ffi::{is_out_of_space, persist_wal};
use super::maintenance::{CLEAN_SHUTDOWN, record_event, run_after_commit};
use super::provider_rename::rename_providers;
use super::write::write_batch;
use super::{BUSY_TIMEOUT, MAX_WAL_BYTES};

/// Device and inode of a file.
type FileId = (u64, u64);

/// The files of an open database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct DatabaseFiles {
    database: FileId,
    wal: FileId,
    database_bytes: u64,
    wal_bytes: u64,
}

impl DatabaseFiles {
    /// Reads metadata only. Opening and closing the database file would release SQLite's locks on it.
    fn read(path: &Path) -> io::Result<Self> {
        let mut wal = path.as_os_str().to_owned();
        wal.push("-wal");
        let (database, wal) = (fs::metadata(path)?, fs::metadata(wal)?);
        let id = |metadata: &fs::Metadata| (metadata.dev(), metadata.ino());
        Ok(Self {
            database: id(&database),
            wal: id(&wal),
            database_bytes: database.len(),
            wal_bytes: wal.len(),
        })
    }

    fn is_same_as(&self, other: &Self) -> bool {
        (self.database, self.wal) == (other.database, other.wal)
    }

    /// `path` is the path of the database.
    fn health(&self, path: &Path) -> StoreHealth {
        let warning = (self.wal_bytes > MAX_WAL_BYTES).then(|| {
            format!(
                "the write-ahead log of the database has grown to {} MiB: another program keeps a \
                 read transaction open; find it with `fuser -v {}` and end it",
                self.wal_bytes >> 20,
                path.display(),
            )
        });
        StoreHealth { size_bytes: self.database_bytes + self.wal_bytes, warning }
    }
}

const WAL_TRUNCATE_INTERVAL: Duration = Duration::from_secs(10);

/// Writes batches. One task owns the writer.
#[derive(Debug)]
pub struct Writer {
    options: SqliteConnectOptions,
    connection: Option<SqliteConnection>,
    path: PathBuf,
    files: DatabaseFiles,
    clock: Clock,
    truncate_wal_at: MonotonicTime,
    newest_event: watch::Sender<EventCursor>,
    /// The lock of the directory, held as long as the writer exists.
    _lock: File,
}

impl Writer {
    pub(super) async fn new(
        options: SqliteConnectOptions,
        mut connection: SqliteConnection,
        path: &Path,
        lock: File,
        clock: Clock,
    ) -> Result<Self, sqlx::Error> {
        persist_wal(&mut connection).await?;
        // Creates the WAL file, if there is none, so that its inode can be compared later.
        sqlx::query("UPDATE job SET id = id WHERE id < 0").execute(&mut connection).await?;
        let newest = newest_cursor(newest_seq(&mut connection).await?)?;
        Ok(Self {
            options,
            connection: Some(connection),
            path: path.to_owned(),
            files: DatabaseFiles::read(path).map_err(sqlx::Error::Io)?,
            clock,
            truncate_wal_at: MonotonicTime::default(),
            newest_event: watch::Sender::new(newest),
            _lock: lock,
        })
    }

    /// The cursor of the newest committed event, updated after each commit.
    #[must_use]
    pub fn subscribe_newest_event(&self) -> watch::Receiver<EventCursor> {
        self.newest_event.subscribe()
    }

    /// Writes `batch` in one transaction.
    ///
    /// The future must run to its end: a commit that is interrupted may or may not have happened.
    ///
    /// # Errors
    /// Why the batch is not confirmed as written; see [`WriteError`].
    pub async fn write(&mut self, batch: &Batch) -> Result<CommitReport, WriteError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.reconnect().await.map_err(|error| classify(&error))?,
        };
        match write_batch(&mut connection, batch).await {
            Ok((mut report, newest)) => {
                // The commit is done: what fails from here on loses nothing.
                if let Err(error) = self.maintain(&mut connection, batch).await {
                    let task = batch.maintenance.as_ref().map_or("truncate", MaintenanceTask::name);
                    tracing::warn!(
                        "maintenance of the database failed ({task}); its next run repeats it: {error}"
                    );
                }
                self.connection = Some(connection);
                report.health = self.verify_files()?.health(&self.path);
                let newest =
                    newest_cursor(newest).map_err(|error| WriteError::Io(error.to_string()))?;
                self.newest_event.send_if_modified(|cursor| {
                    let is_newer = *cursor != newest;
                    *cursor = newest;
                    is_newer
                });
                Ok(report)
            }
            Err(error) => {
                let error = match classify(&error) {
                    WriteError::Io(reason) if is_out_of_space(&mut connection).await => {
                        WriteError::NoSpace(reason)
                    }
                    other => other,
                };
                // Without a final statement: the state of the connection cannot be trusted.
                drop(connection.close_hard().await);
                self.verify_files()?;
                Err(error)
            }
        }
    }

    /// Renames providers in all rows, in one transaction; nothing is renamed if there is a conflict. To
    /// be called before the jobs are loaded: a loaded job would keep the previous name.
    ///
    /// # Errors
    /// Why nothing was written.
    pub async fn rename_providers(
        &mut self,
        renames: &[ProviderRename],
        now: UtcTime,
    ) -> Result<RenameOutcome, WriteError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.reconnect().await.map_err(|error| classify(&error))?,
        };
        let outcome = rename_providers(&mut connection, renames, now).await;
        match outcome {
            Ok(outcome) => {
                self.connection = Some(connection);
                Ok(outcome)
            }
            Err(error) => {
                drop(connection.close_hard().await);
                Err(classify(&error))
            }
        }
    }

    /// A reader that keeps a transaction open prevents SQLite from starting the WAL anew, so the file
    /// grows. When that reader has gone, only a TRUNCATE checkpoint makes the file small again.
    async fn maintain(
        &mut self,
        connection: &mut SqliteConnection,
        batch: &Batch,
    ) -> Result<(), sqlx::Error> {
        if let Some(task) = &batch.maintenance {
            run_after_commit(task, connection).await?;
        }
        let now = self.clock.monotonic_now();
        let wal_bytes = DatabaseFiles::read(&self.path).map_or(0, |files| files.wal_bytes);
        if wal_bytes > MAX_WAL_BYTES && now >= self.truncate_wal_at {
            self.truncate_wal_at = now.plus(WAL_TRUNCATE_INTERVAL);
            // With a reader present, a TRUNCATE checkpoint blocks for the whole busy timeout.
            sqlx::query("PRAGMA busy_timeout = 100").execute(&mut *connection).await?;
            let result =
                sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut *connection).await;
            let busy_timeout = format!("PRAGMA busy_timeout = {}", BUSY_TIMEOUT.as_millis());
            sqlx::query(sqlx::AssertSqlSafe(busy_timeout)).execute(&mut *connection).await?;
            result?;
        }
        Ok(())
    }

    /// Ends in order. If no reader prevents it, the WAL is moved into the database, so that a copy of
    /// the database file alone is complete.
    pub async fn close(mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        if let Err(error) =
            record_event(&mut connection, CLEAN_SHUTDOWN, self.clock.utc_now()).await
        {
            tracing::warn!(
                "the clean shutdown could not be recorded, the next start will report an unexpected \
                 stop: {error}"
            );
        }
        // SQLite checkpoints by itself only when the last connection can write; the read-only
        // connections of the readers are closed later.
        let checkpointed =
            sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await;
        if let Err(error) = checkpointed.and(connection.close().await) {
            tracing::warn!("the database was not closed cleanly, no data is lost: {error}");
        }
    }

    async fn reconnect(&self) -> Result<SqliteConnection, sqlx::Error> {
        let mut connection = self.options.connect().await?;
        persist_wal(&mut connection).await?;
        Ok(connection)
    }

    /// SQLite does not notice when its file is moved or deleted, and would keep committing to it.
    fn verify_files(&self) -> Result<DatabaseFiles, WriteError> {
        match DatabaseFiles::read(&self.path) {
            Ok(files) if files.is_same_as(&self.files) => Ok(files),
            Ok(_) | Err(_) => Err(WriteError::FileReplaced(self.path.clone())),
        }
    }
}

impl BatchWriter for Writer {
    fn write<'a>(
        &'a mut self,
        batch: &'a Batch,
    ) -> BoxFuture<'a, Result<CommitReport, WriteError>> {
        Box::pin(self.write(batch))
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin((*self).close())
    }
}

fn newest_cursor(seq: i64) -> Result<EventCursor, sqlx::Error> {
    to_cursor(seq).map_err(sqlx::Error::Decode)
}

/// The primary result code of an error that comes from SQLite.
pub(super) fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

/// Result codes as listed at <https://sqlite.org/rescode.html>.
fn classify(error: &sqlx::Error) -> WriteError {
    if matches!(error, sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. }) {
        // A row of the database that cannot be read, for example after an edit by hand.
        return WriteError::Rejected(error.to_string());
    }
    match primary_code(error) {
        // BUSY, LOCKED.
        Some(5 | 6) => WriteError::Busy,
        // READONLY, FULL.
        Some(8 | 13) => WriteError::NoSpace(error.to_string()),
        // CORRUPT, NOTADB.
        Some(11 | 26) => WriteError::Corrupt(error.to_string()),
        // TOOBIG, CONSTRAINT, MISMATCH.
        Some(18..=20) => WriteError::Rejected(error.to_string()),
        Some(_) | None => WriteError::Io(error.to_string()),
    }
}
