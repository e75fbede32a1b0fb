//! Opens the database. Called once by the daemon, and by tests and `jobtrackd --check`.
//!
//! The order matters. The lock of the directory comes first: sqlx's migrator takes no lock on SQLite.
//! An existing file is verified before any pragma changes it. The writer is opened before the readers,
//! because a read-only connection cannot create a WAL. Invariant: a file that is rejected is unchanged.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};

use crate::clock::Clock;
use crate::store::OpenError;

use super::maintenance::record_downtime;
use super::reader::Reader;
use super::schema::{
    APPLICATION_ID, SCHEMA_VERSION, applied_migrations, database_with_schema, migrate,
    migration_mismatch, table_columns,
};
use super::writer::Writer;
use super::{BUSY_TIMEOUT, MAX_WAL_BYTES};

#[derive(Debug)]
pub struct Store {
    /// The only connection that writes.
    pub writer: Writer,
    /// The connections that read.
    pub reader: Reader,
    /// Whether the file was too large to be checked for damage here; [`Reader::quick_check`] should
    /// then check it while the daemon runs.
    pub quick_check_skipped: bool,
}

impl Store {
    /// A larger file is checked while the daemon runs, so that the check does not delay the start.
    const MAX_STARTUP_CHECK_BYTES: u64 = 256 << 20;

    /// Opens the database at `path`; creates it if there is no file. The times of the store's own
    /// records come from `clock`.
    ///
    /// # Errors
    /// If the database is not usable; the file is unchanged then.
    pub async fn open(path: &Path, clock: &Clock) -> Result<Self, OpenError> {
        let context = PathContext { path };
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            Some(_) | None => Path::new("."),
        };
        let lock = lock_directory(directory)?;
        create_if_missing(path).map_err(|error| context.io(&error))?;
        context.ensure_regular_file()?;
        let size = fs::metadata(path).map_err(|error| context.io(&error))?.len();
        let quick_check_skipped = size > Self::MAX_STARTUP_CHECK_BYTES;
        verify_existing_file(&context, size, !quick_check_skipped).await?;

        let options = writer_options(path);
        // auto_vacuum matters for a new file only. The pragma always writes, so on a full disk it
        // would fail every reconnect; the options of a reconnect do without it.
        let create_options = options.clone().auto_vacuum(SqliteAutoVacuum::Incremental);
        let mut connection =
            create_options.connect().await.map_err(|error| context.sqlite(&error))?;
        migrate(&mut connection).await.map_err(|error| context.migration(error))?;
        record_downtime(&mut connection, clock.utc_now())
            .await
            .map_err(|error| context.sqlite(&error))?;
        let writer = Writer::new(options, connection, path, lock, clock.clone())
            .await
            .map_err(|error| context.sqlite(&error))?;
        let reader = Reader::open(path).await.map_err(|error| context.sqlite(&error))?;
        Ok(Self { writer, reader, quick_check_skipped })
    }
}

/// The versions of the migrations that [`Store::open`] would apply to the database at `path`; all of
/// them if there is no file. Changes nothing.
///
/// # Errors
/// If the file cannot be read or is not a database of jobtrackd.
pub async fn pending_migrations(path: &Path) -> Result<Vec<i64>, OpenError> {
    let context = PathContext { path };
    let version = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(context.io(&error)),
        Ok(metadata) if metadata.is_file() && metadata.len() == 0 => 0,
        Ok(_) => {
            context.ensure_regular_file()?;
            let options = SqliteConnectOptions::new()
                .filename(path)
                .read_only(true)
                .pragma("temp_store", "memory");
            let mut connection = options.connect().await.map_err(|error| context.sqlite(&error))?;
            read_schema_version(&context, &mut connection).await?
        }
    };
    Ok((version + 1..=SCHEMA_VERSION).collect())
}

fn writer_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        // No statement needs a directory for temporary files.
        .pragma("temp_store", "memory")
        .pragma("journal_size_limit", MAX_WAL_BYTES.to_string())
        .pragma("wal_autocheckpoint", "1000")
}

/// Allows one daemon for each directory. The kernel releases the lock when the process ends.
fn lock_directory(directory: &Path) -> Result<File, OpenError> {
    let context = PathContext { path: directory };
    if !directory.exists() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(directory)
            .and_then(|()| fs::set_permissions(directory, PermissionsExt::from_mode(0o750)))
            .map_err(|error| OpenError::CreateDirectory {
                path: directory.to_owned(),
                kind: error.kind(),
            })?;
    }
    let file = File::open(directory).map_err(|error| context.io(&error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::Io {
            path: directory.to_owned(),
            reason:
                "another jobtrackd uses this directory; stop it, or set store.path to a file in another \
                 directory"
                    .into(),
        }),
        Err(error) => Err(context.io(&error.into())),
    }
}

/// Creates the file with the mode that SQLite then copies to the WAL and the shared memory file.
fn create_if_missing(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o640).open(path) {
        Ok(file) => file.set_permissions(PermissionsExt::from_mode(0o640)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Verifies that the file is an intact database of jobtrackd. Changes nothing.
async fn verify_existing_file(
    context: &PathContext<'_>,
    size: u64,
    quick_check: bool,
) -> Result<(), OpenError> {
    let mut wal = context.path.as_os_str().to_owned();
    wal.push("-wal");
    if size == 0 {
        let orphan_wal = fs::metadata(&wal).is_ok_and(|metadata| metadata.len() > 0);
        return if orphan_wal {
            Err(context.unusable(format!(
                "is empty, but the write-ahead log of a database is beside it ({}); restore the \
                 database, or move that file away",
                Path::new(&wal).display()
            )))
        } else {
            Ok(())
        };
    }
    // Closing a writable connection would checkpoint a WAL, that is change a database that may not be
    // ours. A read-only connection, however, cannot roll back a transaction that a power failure left
    // in a journal; a database of ours has a journal only while it is being created.
    let mut journal = context.path.as_os_str().to_owned();
    journal.push("-journal");
    let journal_empty = fs::metadata(&journal).map_or(true, |metadata| metadata.len() == 0);
    let options = SqliteConnectOptions::new()
        .filename(context.path)
        .read_only(journal_empty)
        .pragma("temp_store", "memory");
    let mut connection = options.connect().await.map_err(|error| context.sqlite(&error))?;
    read_schema_version(context, &mut connection).await?;
    if quick_check {
        let found: String = sqlx::query_scalar("PRAGMA quick_check(1)")
            .fetch_one(&mut connection)
            .await
            .map_err(|error| context.sqlite(&error))?;
        if found != "ok" {
            return Err(context.corrupt(&found));
        }
    }
    connection.close().await.map_err(|error| context.sqlite(&error))
}

/// The schema version of the file; 0 for an empty database.
async fn read_schema_version(
    context: &PathContext<'_>,
    connection: &mut SqliteConnection,
) -> Result<i64, OpenError> {
    let query_integer = async |connection: &mut SqliteConnection, sql: &'static str| {
        sqlx::query_scalar::<_, i64>(sql)
            .fetch_one(connection)
            .await
            .map_err(|error| context.sqlite(&error))
    };
    let id = query_integer(connection, "PRAGMA application_id").await?;
    let version = query_integer(connection, "PRAGMA user_version").await?;
    let tables = query_integer(connection, "SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE '\\_sqlx%' ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'").await?;
    let foreign_mark = id != APPLICATION_ID && id != 0;
    if foreign_mark || (version == 0 || id == 0) && tables > 0 {
        return Err(context
            .unusable("is a database of another program; set store.path to another file".into()));
    }
    if version > SCHEMA_VERSION {
        return Err(context.unusable(format!(
            "has schema version {version}, but this jobtrackd supports versions up to \
             {SCHEMA_VERSION}; install a newer jobtrackd"
        )));
    }
    let applied = applied_migrations(connection).await.map_err(|error| context.sqlite(&error))?;
    if let Some(reason) = migration_mismatch(&applied, version) {
        return Err(context.unusable(format!(
            "has another schema than jobtrackd gave it: {reason}; restore a backup, or set store.path to \
             another file"
        )));
    }
    verify_columns(context, connection, version).await?;
    Ok(version)
}

/// Verifies that the tables have all columns of the schema of this version. An operator may have added
/// some.
async fn verify_columns(
    context: &PathContext<'_>,
    connection: &mut SqliteConnection,
    version: i64,
) -> Result<(), OpenError> {
    let sqlite_error = |error: sqlx::Error| context.sqlite(&error);
    let mut model = database_with_schema(version).await.map_err(sqlite_error)?;
    let expected = table_columns(&mut model).await.map_err(sqlite_error)?;
    let found = table_columns(connection).await.map_err(sqlite_error)?;
    match expected.difference(&found).next() {
        Some(missing) => Err(context.unusable(format!(
            "has another schema than jobtrackd gave it: {missing} is missing; restore a backup, or set \
             store.path to another file"
        ))),
        None => Ok(()),
    }
}

/// Adds the path to errors.
struct PathContext<'a> {
    path: &'a Path,
}

impl PathContext<'_> {
    fn unusable(&self, reason: String) -> OpenError {
        OpenError::Unusable { path: self.path.to_owned(), reason }
    }

    fn corrupt(&self, detail: &str) -> OpenError {
        self.unusable(format!(
            "is damaged ({detail}); move it away and restore a copy, or recover it with \
             `sqlite3 {} .recover`",
            self.path.display()
        ))
    }

    fn ensure_regular_file(&self) -> Result<(), OpenError> {
        match fs::metadata(self.path) {
            Ok(found) if found.is_file() => Ok(()),
            Ok(_) => Err(OpenError::Io {
                path: self.path.to_owned(),
                reason: "is not a regular file; set store.path to a file".into(),
            }),
            Err(error) => Err(self.io(&error)),
        }
    }

    fn io(&self, error: &io::Error) -> OpenError {
        OpenError::Io { path: self.path.to_owned(), reason: error.to_string() }
    }

    fn sqlite(&self, error: &sqlx::Error) -> OpenError {
        // https://sqlite.org/rescode.html: CORRUPT and NOTADB.
        match super::writer::primary_code(error) {
            Some(11 | 26) => self.corrupt(&error.to_string()),
            _ => OpenError::Io { path: self.path.to_owned(), reason: error.to_string() },
        }
    }

    fn migration(&self, error: sqlx::migrate::MigrateError) -> OpenError {
        match error {
            sqlx::migrate::MigrateError::Execute(error)
            | sqlx::migrate::MigrateError::ExecuteMigration(error, _) => self.sqlite(&error),
            other => self.unusable(format!("cannot be migrated: {other}")),
        }
    }
}
