//! The writer: one task, one connection, one transaction for everything that waits.
//!
//! The scheduler hands in a [`Batch`] and receives the result of the commit, or why the batch is not
//! confirmed. After an error of the transaction the connection is replaced, because its state cannot be
//! trusted after an error of the disk. Invariant: the replaced connection stays open
//! until there is a new one, because it may be the last that reaches a log whose file was removed.

mod closing;

use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::job::{EventCursor, MonotonicTime, UtcTime};
use crate::policy::RateLimiterStates;
use crate::store::{
    Batch, BatchWriter, CommitReport, MaintenanceTask, ProviderRename, RenameOutcome, StoreHealth,
    UserLimits, WriteError,
};

use super::cursor::{newest_seq, to_cursor};
use super::error_code::classify;
use super::ffi::{is_out_of_space, keep_wal_on_close};
use super::maintenance::run_after_commit;
use super::open_files::OpenFiles;
use super::provider_rename::rename_providers;
use super::reader::Reader;
use super::write::write_batch;
use super::{BUSY_TIMEOUT, MAX_WAL_BYTES};

const WAL_TRUNCATE_INTERVAL: Duration = Duration::from_secs(10);

/// Writes batches. One task owns the writer.
#[derive(Debug)]
pub struct Writer {
    options: SqliteConnectOptions,
    connection: Option<SqliteConnection>,
    /// The connection whose last transaction failed, until another one is open.
    failed_connection: Option<SqliteConnection>,
    files: OpenFiles,
    /// To be closed before `files`, whose end releases the locks of all connections.
    reader: Reader,
    clock: Clock,
    truncate_wal_at: MonotonicTime,
    newest_event: watch::Sender<EventCursor>,
    user_limits: UserLimits,
}

impl Writer {
    pub(super) async fn new(
        options: SqliteConnectOptions,
        mut connection: SqliteConnection,
        files: OpenFiles,
        reader: Reader,
        clock: Clock,
    ) -> Result<Self, sqlx::Error> {
        keep_wal_on_close(&mut connection).await?;
        let newest = newest_cursor(newest_seq(&mut connection).await?)?;
        Ok(Self {
            options,
            connection: Some(connection),
            failed_connection: None,
            files,
            reader,
            clock,
            truncate_wal_at: MonotonicTime::default(),
            newest_event: watch::Sender::new(newest),
            user_limits: UserLimits::default(),
        })
    }

    /// Sets the limits that new jobs must keep; without a call there are none.
    pub fn set_user_limits(&mut self, limits: UserLimits) {
        self.user_limits = limits;
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
        self.files.verify().await?;
        self.files.reserve_shared_memory()?;
        let mut connection = self.take_connection().await.map_err(|error| classify(&error))?;
        match write_batch(&mut connection, batch, self.files.identity(), self.user_limits).await {
            Ok(Some(written)) => {
                // The commit is done: what fails from here on loses nothing.
                if let Err(error) = self.maintain(&mut connection, batch).await {
                    let task = batch.maintenance.as_ref().map_or("truncate", MaintenanceTask::name);
                    tracing::warn!(
                        "maintenance of the database failed ({task}); its next run repeats it: {error}"
                    );
                }
                self.connection = Some(connection);
                self.files.verify_commit(written.identity).await?;
                let newest = newest_cursor(written.newest_seq)
                    .map_err(|error| WriteError::Io(error.to_string()))?;
                self.newest_event.send_if_modified(|cursor| {
                    let is_newer = *cursor != newest;
                    *cursor = newest;
                    is_newer
                });
                Ok(CommitReport { health: self.health(), ..written.report })
            }
            Ok(None) => {
                self.connection = Some(connection);
                Err(self.files.content_replaced())
            }
            Err(error) => {
                let error = match classify(&error) {
                    WriteError::Io(reason) if is_out_of_space(&mut connection).await => {
                        WriteError::NoSpace(reason)
                    }
                    other => other,
                };
                self.failed_connection = Some(connection);
                self.files.verify().await?;
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
        let mut connection = self.take_connection().await.map_err(|error| classify(&error))?;
        let outcome = rename_providers(&mut connection, renames, now).await;
        match outcome {
            Ok(outcome) => {
                self.connection = Some(connection);
                Ok(outcome)
            }
            Err(error) => {
                self.failed_connection = Some(connection);
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
        if self.files.wal_bytes() > MAX_WAL_BYTES && now >= self.truncate_wal_at {
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

    fn health(&self) -> StoreHealth {
        let wal_bytes = self.files.wal_bytes();
        let warning = (wal_bytes > MAX_WAL_BYTES).then(|| {
            format!(
                "the write-ahead log of the database has grown to {} MiB: another program keeps a \
                 read transaction open; find it with `fuser -v {}` and end it",
                wal_bytes >> 20,
                self.files.path().file().display(),
            )
        });
        StoreHealth { size_bytes: self.files.database_bytes() + wal_bytes, warning }
    }

    /// The connection, or a new one in place of that whose transaction failed.
    async fn take_connection(&mut self) -> Result<SqliteConnection, sqlx::Error> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        let mut connection = self.options.connect().await?;
        keep_wal_on_close(&mut connection).await?;
        if let Some(failed) = self.failed_connection.take() {
            // Without a final statement: the state of the connection cannot be trusted.
            drop(failed.close_hard().await);
        }
        Ok(connection)
    }
}

impl BatchWriter for Writer {
    fn write<'a>(
        &'a mut self,
        batch: &'a Batch,
    ) -> BoxFuture<'a, Result<CommitReport, WriteError>> {
        Box::pin(self.write(batch))
    }

    fn close(self: Box<Self>, rate_limiters: RateLimiterStates) -> BoxFuture<'static, ()> {
        Box::pin((*self).close(rate_limiters))
    }
}

fn newest_cursor(seq: i64) -> Result<EventCursor, sqlx::Error> {
    to_cursor(seq).map_err(sqlx::Error::Decode)
}
