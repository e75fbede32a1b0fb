//! The end of the writer: the database is left as one complete file where possible, and what was
//! acknowledged is saved where its files were moved or overwritten.
//!
//! Called by the scheduler as its last step, also after an error.

use std::time::Duration;

use sqlx::Connection;
use tokio::time::timeout;

use crate::policy::RateLimiterStates;
use crate::store::WriteError;
use crate::store::sqlite::file_change::FileChange;
use crate::store::sqlite::maintenance::record_clean_shutdown;

use super::Writer;

const READERS_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

impl Writer {
    /// Ends in order, the readers first. If no other reader prevents it, the WAL is moved into the database,
    /// so that a copy of the database file alone is complete. `rate_limiters` are recorded for the next process.
    pub async fn close(mut self, rate_limiters: RateLimiterStates) {
        // A query that takes long, such as the check of a large database, is abandoned.
        let _ = timeout(READERS_CLOSE_TIMEOUT, self.reader.close()).await;
        if let Err(error) = self.files.verify().await {
            self.save_open_files(&error).await;
            return;
        }
        if let Err(error) = self.close_in_order(&rate_limiters).await {
            tracing::warn!("the database was not closed cleanly, no data is lost: {error}");
        }
    }

    async fn close_in_order(
        &mut self,
        rate_limiters: &RateLimiterStates,
    ) -> Result<(), sqlx::Error> {
        let mut connection = self.take_connection().await?;
        let now = self.clock.utc_now();
        if let Err(error) = record_clean_shutdown(&mut connection, rate_limiters, now).await {
            tracing::warn!(
                "the clean shutdown could not be recorded, the next start will report an unexpected \
                 stop: {error}"
            );
        }
        let checkpointed =
            sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await;
        checkpointed.and(connection.close().await)
    }

    /// Ends after a file was replaced. What was acknowledged is in the files that are open. A log that was
    /// removed is written back, for the next start; otherwise it is moved into the database file where
    /// that destroys nothing. It is not emptied: the file at the path of the database may need it.
    async fn save_open_files(&mut self, error: &WriteError) {
        let Some(change) = self.files.change() else { return };
        let mut why_not_back = None;
        if change == FileChange::WalMoved {
            match self.files.write_log_back() {
                Ok(()) => {
                    tracing::info!("the write-ahead log was written back, complete: {error}");
                    return self.close_connections().await;
                }
                Err(failure) => why_not_back = Some(failure.to_string()),
            }
        }
        if change.permits_checkpoint() {
            match self.checkpoint_open_log().await {
                Ok(()) if change == FileChange::DatabaseMoved => tracing::error!(
                    "what was acknowledged is complete in the file that was removed or renamed, and \
                     not in the file that is now at its path; if the removed file has no other name, \
                     keep the write-ahead log beside it: {error}"
                ),
                Ok(()) => tracing::info!("what was acknowledged is in the database file: {error}"),
                Err(failure) => {
                    let failures = why_not_back.into_iter().chain([failure]).collect::<Vec<_>>();
                    let failures = failures.join("; ");
                    tracing::error!("the write-ahead log could not be saved: {failures}; {error}");
                }
            }
        }
        self.close_connections().await;
    }

    /// Without a final statement: the state of the connections cannot be trusted.
    async fn close_connections(&mut self) {
        for connection in self.connection.take().into_iter().chain(self.failed_connection.take()) {
            drop(connection.close_hard().await);
        }
    }

    /// Moves the write-ahead log that is open into the database file that is open. A new connection
    /// would open other files.
    async fn checkpoint_open_log(&mut self) -> Result<(), String> {
        let connection = match (&mut self.connection, &mut self.failed_connection) {
            (Some(connection), _) => connection,
            (None, Some(failed)) => {
                // An error says that SQLite has rolled back by itself.
                let _ = sqlx::query("ROLLBACK").execute(&mut *failed).await;
                failed
            }
            (None, None) => return Err("no connection is open".to_owned()),
        };
        let size = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
        let size: i64 = sqlx::query_scalar(size)
            .fetch_one(&mut *connection)
            .await
            .map_err(|error| error.to_string())?;
        // A checkpoint that ends half way on a full disk would destroy a database that has no log.
        self.files.reserve_database(size.unsigned_abs()).map_err(|error| error.to_string())?;
        let checkpointed: (i64, i64, i64) = sqlx::query_as("PRAGMA wal_checkpoint(FULL)")
            .fetch_one(connection)
            .await
            .map_err(|error| error.to_string())?;
        // The first number says that another program has a transaction open; it may have saved all.
        match checkpointed {
            (_, in_log, saved) if in_log == saved => Ok(()),
            (_, in_log, saved) => Err(format!("only {saved} of {in_log} pages could be saved")),
        }
    }
}
