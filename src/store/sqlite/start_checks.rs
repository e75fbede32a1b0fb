//! Verifies a database file before anything changes it: that it is jobtrackd's, intact, of a version
//! that this program knows, and that the write-ahead log beside it belongs to it.
//!
//! Called when the database is opened, by `jobtrackd --check`, and before a backup is restored.

use std::fs::{self, File};
use std::io;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

use crate::store::OpenError;

use super::database_path::DatabasePath;
use super::identity::{read_file_identity, read_identity, wal_mismatch};
use super::schema::{
    APPLICATION_ID, SCHEMA_VERSION, applied_migrations, database_with_schema, migration_mismatch,
    table_columns,
};
use super::wal_header::{WalHeader, uses_wal};

/// Whether the whole file is read, to find damage; that takes long if the file is large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DamageCheck {
    Quick,
    Skip,
}

impl DamageCheck {
    /// A larger file is checked while the daemon runs, so that the check does not delay the start.
    const MAX_START_BYTES: u64 = 256 << 20;

    /// The check that a start makes of a file of this size.
    pub(super) fn of_start(file_bytes: u64) -> Self {
        if file_bytes <= Self::MAX_START_BYTES { Self::Quick } else { Self::Skip }
    }
}

/// Returns the version of the schema; 0 if the database is empty. Changes nothing.
pub(super) async fn check_file(
    path: &DatabasePath,
    damage_check: DamageCheck,
) -> Result<i64, OpenError> {
    path.ensure_regular_file()?;
    let transactions = wal_transactions(path).map_err(|error| path.io(&error))?;
    let size = fs::metadata(path.file()).map_err(|error| path.io(&error))?.len();
    if size == 0 {
        let wal_bytes = fs::metadata(path.wal()).map_or(0, |metadata| metadata.len());
        return if wal_bytes == 0 {
            Ok(0)
        } else {
            Err(path.unusable(format!(
                "is empty, but the write-ahead log of a database is beside it ({}); restore the \
                 database, or move that file away",
                path.wal().display()
            )))
        };
    }
    let uses_wal = File::open(path.file()).and_then(|file| uses_wal(&file));
    match uses_wal.map_err(|error| path.io(&error))? {
        // SQLite takes a file of one byte for an empty database, and deletes its log.
        None => {
            return Err(path.unusable(
                "was cut: it is too short for a database; replace it by a backup with \
                 `jobtrackd restore BACKUP`, and do not open it with sqlite3, which may delete the \
                 write-ahead log beside it"
                    .into(),
            ));
        }
        Some(false) if transactions > 0 => {
            return Err(wal_error(path, "the database file is a copy that was made without a log"));
        }
        Some(_) => {}
    }
    let result = check_content(path, damage_check).await;
    if let Err(OpenError::Damaged { detail, .. }) = &result
        && transactions > 0
        && is_intact_without_wal(path).await
    {
        let reason = format!("without the log the file is intact, with it: {detail}");
        return Err(wal_error(path, &reason));
    }
    result
}

async fn check_content(path: &DatabasePath, damage_check: DamageCheck) -> Result<i64, OpenError> {
    let sqlite_error = |error: sqlx::Error| path.sqlite(&error);
    // Closing a writable connection would checkpoint a WAL, that is change a database that may not be
    // ours. A read-only connection, however, cannot roll back a transaction that a power failure left
    // in a journal; a database of ours has a journal only while it is being created.
    let journal_empty = fs::metadata(path.journal()).map_or(true, |metadata| metadata.len() == 0);
    let options = SqliteConnectOptions::new()
        .filename(path.file())
        .read_only(journal_empty)
        .pragma("temp_store", "memory");
    let mut connection = options.connect().await.map_err(sqlite_error)?;
    let version = check_schema(path, &mut connection).await?;
    check_log(path, &mut connection).await?;
    if damage_check == DamageCheck::Quick {
        let found: String = sqlx::query_scalar("PRAGMA quick_check(1)")
            .fetch_one(&mut connection)
            .await
            .map_err(sqlite_error)?;
        if found != "ok" {
            return Err(path.damaged(found));
        }
    }
    connection.close().await.map_err(sqlite_error)?;
    Ok(version)
}

/// Verifies that the write-ahead log belongs to the file. Repeated, because a daemon may be writing if this
/// is not a start.
async fn check_log(
    path: &DatabasePath,
    connection: &mut SqliteConnection,
) -> Result<(), OpenError> {
    let mut mismatch = None;
    for _ in 0..3 {
        // A log that was emptied meanwhile has no transaction.
        let in_file = read_file_identity(path.file()).await.ok().and_then(|found| found.identity);
        let with_wal = read_identity(connection).await.map_err(|error| path.sqlite(&error))?;
        let transactions = wal_transactions(path).map_err(|error| path.io(&error))?;
        if transactions == 0 {
            return Ok(());
        }
        mismatch = wal_mismatch(in_file.as_ref(), with_wal.as_ref(), transactions);
        if mismatch.is_none() {
            return Ok(());
        }
    }
    mismatch.map_or(Ok(()), |reason| Err(wal_error(path, reason)))
}

/// The transactions in the write-ahead log; 0 if there is none.
fn wal_transactions(path: &DatabasePath) -> io::Result<u64> {
    let wal = match File::open(path.wal()) {
        Ok(wal) => wal,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    WalHeader::read(&wal)?.map_or(Ok(0), |header| header.count_transactions(&wal))
}

/// Whether a write-ahead log with content is beside the database.
pub(super) fn has_wal(path: &DatabasePath) -> bool {
    fs::metadata(path.wal()).is_ok_and(|metadata| metadata.len() > 0)
}

async fn is_intact_without_wal(path: &DatabasePath) -> bool {
    let options = SqliteConnectOptions::new().filename(path.file()).read_only(true).immutable(true);
    let Ok(mut connection) = options.connect().await else { return false };
    let check = sqlx::query_scalar::<_, String>("PRAGMA quick_check(1)");
    let found = check.fetch_one(&mut connection).await;
    found.is_ok_and(|found| found == "ok") && check_schema(path, &mut connection).await.is_ok()
}

fn wal_error(path: &DatabasePath, reason: &str) -> OpenError {
    path.unusable(format!(
        "does not belong to the write-ahead log beside it ({reason}). If the file is the one to use, for \
         example a backup, move {} and {} away, and start again; else put the file back that belongs to \
         the log. `jobtrackd restore BACKUP` replaces all of them. Nothing was changed",
        path.wal().display(),
        path.shared_memory().display(),
    ))
}

/// Verifies that the database has jobtrackd's schema; returns its version, 0 if the database is empty.
pub(super) async fn check_schema(
    path: &DatabasePath,
    connection: &mut SqliteConnection,
) -> Result<i64, OpenError> {
    let query_integer = async |connection: &mut SqliteConnection, sql: &'static str| {
        sqlx::query_scalar::<_, i64>(sql)
            .fetch_one(connection)
            .await
            .map_err(|error| path.sqlite(&error))
    };
    let id = query_integer(connection, "PRAGMA application_id").await?;
    let version = query_integer(connection, "PRAGMA user_version").await?;
    let tables = query_integer(connection, "SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE '\\_sqlx%' ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'").await?;
    let foreign_mark = id != APPLICATION_ID && id != 0;
    if foreign_mark || (version == 0 || id == 0) && tables > 0 {
        return Err(path
            .unusable("is a database of another program; set store.path to another file".into()));
    }
    if version > SCHEMA_VERSION {
        return Err(path.unusable(format!(
            "has schema version {version}, but this jobtrackd supports versions up to \
             {SCHEMA_VERSION}; install a newer jobtrackd"
        )));
    }
    if version == 0 {
        // A first start can end before the first migration is committed.
        return Ok(0);
    }
    let applied = applied_migrations(connection).await.map_err(|error| path.sqlite(&error))?;
    if let Some(reason) = migration_mismatch(&applied, version) {
        return Err(other_schema(path, &reason));
    }
    check_columns(path, connection, version).await?;
    Ok(version)
}

/// Verifies that the tables have all columns of the schema of this version. An operator may have added
/// some.
async fn check_columns(
    path: &DatabasePath,
    connection: &mut SqliteConnection,
    version: i64,
) -> Result<(), OpenError> {
    let sqlite_error = |error: sqlx::Error| path.sqlite(&error);
    let mut model = database_with_schema(version).await.map_err(sqlite_error)?;
    let expected = table_columns(&mut model).await.map_err(sqlite_error)?;
    let found = table_columns(connection).await.map_err(sqlite_error)?;
    match expected.difference(&found).next() {
        Some(missing) => Err(other_schema(path, &format!("{missing} is missing"))),
        None => Ok(()),
    }
}

fn other_schema(path: &DatabasePath, reason: &str) -> OpenError {
    path.unusable(format!(
        "has another schema than jobtrackd gave it: {reason}; restore a backup, or set store.path to \
         another file"
    ))
}
