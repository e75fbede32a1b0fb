//! The identity of a database: a uuid and the number of its transactions, in the table
//! `database_identity`.
//!
//! Each batch writes the row, and so do a rename of providers and each start, which records how long
//! jobtrackd was not running; migrations, maintenance outside a batch and the clean shutdown do not. A
//! write-ahead log that has a batch therefore has the row. This shows whether a log and a database file
//! belong together, and whether the file was overwritten.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use sqlx::error::ErrorKind;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct Identity {
    pub(super) uuid: String,
    /// The transactions of jobtrackd in this database.
    pub(super) commits: i64,
}

/// What the database file alone says, without its write-ahead log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FileIdentity {
    /// `None` if the table is not in the file, or not yet.
    pub(super) identity: Option<Identity>,
    /// The bytes of the file that change whenever `identity` does.
    pub(super) location: PageLocation,
}

/// A part of the database file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageLocation {
    pub(super) offset: u64,
    pub(super) size: usize,
}

impl PageLocation {
    /// What the file has there; fewer bytes if it ends before.
    pub(super) fn read(self, file: &File) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.size];
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], self.offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}

impl Identity {
    /// The identity after one more transaction.
    pub(super) fn after_commit(self) -> Self {
        Self { commits: self.commits + 1, ..self }
    }

    /// Whether a database with this identity can have become one with the identity `later`.
    pub(super) fn can_become(&self, later: &Self) -> bool {
        self.uuid == later.uuid && self.commits <= later.commits
    }
}

/// The identity of a database; `None` if it has no table for it.
pub(super) async fn read_identity(
    connection: &mut SqliteConnection,
) -> Result<Option<Identity>, sqlx::Error> {
    if root_page(connection).await?.is_none() {
        return Ok(None);
    }
    sqlx::query_as("SELECT uuid, commits FROM database_identity WHERE id = 1")
        .fetch_optional(connection)
        .await
}

/// Counts one more transaction, as part of it.
pub(super) const COUNT_COMMIT: &str =
    "UPDATE database_identity SET commits = commits + 1 WHERE id = 1";

/// As [`COUNT_COMMIT`]; fails unless the statement before has changed this number of rows, because the column
/// is never NULL.
pub(super) const COUNT_COMMIT_IF_CHANGED: &str = "
    UPDATE database_identity SET commits = iif(changes() = ?, commits + 1, NULL) WHERE id = 1";

/// Whether [`COUNT_COMMIT_IF_CHANGED`] found another number of changed rows.
pub(super) fn is_unexpected_change_count(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| {
        error.kind() == ErrorKind::NotNullViolation
            && error.message().contains("database_identity.commits")
    })
}

/// Counts one more transaction, as part of it.
pub(super) async fn count_commit(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query(COUNT_COMMIT).execute(connection).await.map(drop)
}

/// Reads the database file without its write-ahead log and without locks.
pub(super) async fn read_file_identity(path: &Path) -> Result<FileIdentity, sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true).immutable(true);
    let mut connection = options.connect().await?;
    let identity = read_identity(&mut connection).await?;
    let page_size: u32 = sqlx::query_scalar("PRAGMA page_size").fetch_one(&mut connection).await?;
    // Without the table, the first page, which has the schema.
    let page = root_page(&mut connection).await?.unwrap_or(1);
    connection.close().await?;
    let location = PageLocation {
        offset: u64::from(page.saturating_sub(1)) * u64::from(page_size),
        size: page_size as usize,
    };
    Ok(FileIdentity { identity, location })
}

/// The page of the table, which has one row and therefore one page.
async fn root_page(connection: &mut SqliteConnection) -> Result<Option<u32>, sqlx::Error> {
    sqlx::query_scalar("SELECT rootpage FROM sqlite_schema WHERE name = 'database_identity'")
        .fetch_optional(connection)
        .await
}

/// Why a write-ahead log with this many transactions does not belong to a database file; `None` if it
/// may. `with_wal` is the identity that the file and the log have together.
pub(super) fn wal_mismatch(
    in_file: Option<&Identity>,
    with_wal: Option<&Identity>,
    transactions: u64,
) -> Option<&'static str> {
    let (file, with_wal) = match (in_file, with_wal) {
        // The migration that adds the identity may be in the log only.
        (None, _) => return None,
        (Some(_), None) => return Some("the log is of another database"),
        (Some(file), Some(with_wal)) => (file, with_wal),
    };
    let in_wal = i64::try_from(transactions).unwrap_or(i64::MAX);
    if file.uuid != with_wal.uuid {
        Some("the log is of another database")
    } else if with_wal.commits < file.commits {
        Some("the database file is newer than the log")
    } else if file.commits < with_wal.commits.saturating_sub(in_wal) {
        Some("the database file is older than the log, and transactions between them are missing")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_belongs_to_the_file_whose_transactions_it_continues() {
        let identity = |uuid: &str, commits| Some(Identity { uuid: uuid.to_owned(), commits });
        for (file, with_wal, transactions, fits) in [
            (None, identity("a", 1), 1, true),
            (None, None, 1, true),
            (identity("a", 1), None, 1, false),
            (identity("a", 10), identity("a", 10), 3, true),
            (identity("a", 7), identity("a", 10), 3, true),
            (identity("a", 9), identity("a", 10), 300, true),
            (identity("a", 6), identity("a", 10), 3, false),
            (identity("a", 11), identity("a", 10), 3, false),
            (identity("a", 10), identity("b", 10), 3, false),
        ] {
            let found = wal_mismatch(file.as_ref(), with_wal.as_ref(), transactions);
            assert_eq!(found.is_none(), fits, "{file:?} {with_wal:?} {transactions}: {found:?}");
        }
    }
}
