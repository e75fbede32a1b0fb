//! Opens the database. Called once by the daemon, and by tests; [`check`](super::check)
//! makes the same checks and opens nothing.
//!
//! The order matters. The locks come first: sqlx's migrator takes none on SQLite. An existing file is
//! verified before any pragma changes it. The writer is opened before the readers, because a
//! read-only connection cannot create a WAL. Invariant: a file that is rejected is unchanged.

use std::fs;
use std::io;
use std::path::Path;

use sqlx::ConnectOptions;
use sqlx::migrate::MigrateError;
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous,
};

use crate::clock::Clock;
use crate::store::{FileSystemPolicy, OpenError, WriteError};

use super::database_path::DatabasePath;
use super::file_system;
use super::lock::DatabaseLock;
use super::maintenance::record_start;
use super::open_files::OpenFiles;
use super::reader::Reader;
use super::schema::migrate;
use super::start_checks::{DamageCheck, check_file};
use super::temporary_file::remove_leftovers;
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
    /// Opens the database at `path`; creates it if there is no file. The times of the store's own
    /// records come from `clock`.
    ///
    /// # Errors
    /// If the database is not usable; the file is unchanged then.
    pub async fn open(path: &Path, clock: &Clock) -> Result<Self, OpenError> {
        Self::open_on(path, FileSystemPolicy::default(), clock).await
    }

    /// As [`Self::open`], on the file systems that `policy` allows.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_on(
        path: &Path,
        policy: FileSystemPolicy,
        clock: &Clock,
    ) -> Result<Self, OpenError> {
        let path = DatabasePath::resolve(path)?.with_directory()?;
        let lock_database = file_system::check(&path, policy)?;
        let lock = DatabaseLock::acquire(&path, lock_database)?;
        remove_leftovers(&path);
        let size = fs::metadata(path.file()).map_err(|error| path.io(&error))?.len();
        let damage_check = DamageCheck::of_start(size);
        check_file(&path, damage_check).await?;

        let options = writer_options(path.file());
        let connection = create_or_migrate(&path, &options, clock).await?;
        let reader = Reader::open(path.file()).await.map_err(|error| path.sqlite(&error))?;
        let writer = open_writer(path, lock, options, connection, reader.clone(), clock).await?;
        Ok(Self { writer, reader, quick_check_skipped: damage_check == DamageCheck::Skip })
    }
}

/// Opens the connection that writes, and brings the schema up to date.
async fn create_or_migrate(
    path: &DatabasePath,
    options: &SqliteConnectOptions,
    clock: &Clock,
) -> Result<SqliteConnection, OpenError> {
    // auto_vacuum matters for a new file only. The pragma always writes, so on a full disk it would
    // fail every reconnect; the options of a reconnect do without it.
    let create_options = options.clone().auto_vacuum(SqliteAutoVacuum::Incremental);
    let mut connection = create_options.connect().await.map_err(|error| path.sqlite(&error))?;
    migrate(&mut connection).await.map_err(|error| match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            path.sqlite(&error)
        }
        other => path.unusable(format!("cannot be migrated: {other}")),
    })?;
    record_start(&mut connection, clock.utc_now()).await.map_err(|error| path.sqlite(&error))?;
    // Moves the schema to the file, if no reader prevents it: the identity in the file can be compared.
    sqlx::query("PRAGMA wal_checkpoint(PASSIVE)")
        .execute(&mut connection)
        .await
        .map_err(|error| path.sqlite(&error))?;
    Ok(connection)
}

async fn open_writer(
    path: DatabasePath,
    lock: DatabaseLock,
    options: SqliteConnectOptions,
    mut connection: SqliteConnection,
    reader: Reader,
    clock: &Clock,
) -> Result<Writer, OpenError> {
    let identity = super::identity::read_identity(&mut connection)
        .await
        .map_err(|error| path.sqlite(&error))?
        .ok_or_else(|| path.unusable("has no row in database_identity; restore a backup".into()))?;
    let shown_path = path.clone();
    let files = OpenFiles::watch(path, lock, identity).await.map_err(|error| match error {
        error @ WriteError::FileReplaced { .. } => shown_path.unusable(error.to_string()),
        error => shown_path.io(&io::Error::other(error.to_string())),
    })?;
    Writer::new(options, connection, files, reader, clock.clone())
        .await
        .map_err(|error| shown_path.sqlite(&error))
}

fn writer_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        // A statement that takes long has waited for a lock or for the disk.
        .disable_statement_logging()
        // Each combination of rows in a batch is a text of its own, with several large statements.
        .statement_cache_capacity(12)
        // No statement needs a directory for temporary files.
        .pragma("temp_store", "memory")
        .pragma("journal_size_limit", MAX_WAL_BYTES.to_string())
        .pragma("wal_autocheckpoint", "1000")
}
