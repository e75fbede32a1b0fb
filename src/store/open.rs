//! Opening the database: is it ours, whole, new enough, and nobody else's?
//!
//! The order matters: the directory's lock before anything else (the migrator's own does nothing
//! for SQLite), a look without changes before the pragmas that change the file, and the writer
//! before the readers, which cannot make a WAL.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};

use crate::clock::Clock;

use super::ffi::{sqlite_version, sqlite_version_number};
use super::maintenance::record_downtime;
use super::reader::Reader;
use super::writer::Writer;

static MIGRATIONS: Migrator = sqlx::migrate!();

/// The schema that this program writes and reads.
pub const SCHEMA_VERSION: i64 = 4;

/// "jtrk", in the file's header.
const APPLICATION_ID: i64 = 0x6A74_726B;

/// Before this one, a commit that races a checkpoint can be lost.
const MIN_SQLITE_VERSION: i32 = 3_051_003;

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is not ours, is damaged, or was made by a newer program: a restart does not help.
    #[error("{}: {reason}", path.display())]
    Unusable {
        /// The database.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The database's directory does not exist and cannot be created.
    #[error("cannot create {}: {}; set XDG_STATE_HOME or store.path", path.display(), kind)]
    CreateDirectory {
        /// The directory.
        path: PathBuf,
        /// What `mkdir` reports.
        kind: io::ErrorKind,
    },
    /// The disk or the directory refuses us.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
}

/// An open database.
#[derive(Debug)]
pub struct Store {
    /// The only one that writes.
    pub writer: Writer,
    /// For everybody else.
    pub reader: Reader,
    /// Whether the file was too large to be checked before opening; then the reader should.
    pub quick_check_skipped: bool,
}

impl Store {
    /// Larger files are checked when the daemon is already at work.
    const MAX_STARTUP_CHECK_BYTES: u64 = 256 << 20;

    /// Opens the database at `path`, or makes it.
    ///
    /// # Errors
    /// If it is not usable; nothing is changed then.
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        let context = PathContext { path };
        if sqlite_version_number() < MIN_SQLITE_VERSION {
            return Err(context.unusable(format!("SQLite {} can lose commits", sqlite_version())));
        }
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
        // For a new file. It writes even if nothing changes, so that a full disk would refuse the
        // connection that is opened anew to try again.
        let create_options = options.clone().auto_vacuum(SqliteAutoVacuum::Incremental);
        let mut connection =
            create_options.connect().await.map_err(|error| context.sqlite(&error))?;
        MIGRATIONS.run(&mut connection).await.map_err(|error| context.migration(error))?;
        record_downtime(&mut connection, Clock::utc_now())
            .await
            .map_err(|error| context.sqlite(&error))?;
        let writer = Writer::new(options, connection, path, lock)
            .await
            .map_err(|error| context.sqlite(&error))?;
        let reader = Reader::open(path).await.map_err(|error| context.sqlite(&error))?;
        Ok(Self { writer, reader, quick_check_skipped })
    }
}

/// The versions of the migrations that the database at `path` still needs; all of them if there is
/// none. Changes nothing.
///
/// # Errors
/// If the file cannot be read or is not ours.
pub async fn pending_migrations(path: &Path) -> Result<Vec<i64>, OpenError> {
    let context = PathContext { path };
    let version = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(context.io(&error)),
        Ok(metadata) if metadata.is_file() && metadata.len() == 0 => 0,
        Ok(_) => {
            context.ensure_regular_file()?;
            let options = SqliteConnectOptions::new().filename(path).read_only(true);
            let mut connection = options.connect().await.map_err(|error| context.sqlite(&error))?;
            read_schema_version(&context, &mut connection).await?
        }
    };
    Ok((version + 1..=SCHEMA_VERSION).collect())
}

pub(super) fn writer_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // A longer wait is the scheduler's to decide; while we wait here, nothing else is written.
        .busy_timeout(Duration::from_secs(1))
        .pragma("journal_size_limit", "67108864")
        .pragma("wal_autocheckpoint", "1000")
}

/// One daemon a directory. The lock goes with the process, however it ends.
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
                "another jobtrackd is at work in this directory; stop it, or set another store.path"
                    .into(),
        }),
        Err(error) => Err(context.io(&error.into())),
    }
}

/// SQLite gives its files the mode of the database, so this one decides for all.
fn create_if_missing(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o640).open(path) {
        Ok(file) => file.set_permissions(PermissionsExt::from_mode(0o640)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Looks before anything is changed.
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
                "is empty, but a WAL of another database lies beside it ({}); restore the \
                 database, or move that file away",
                Path::new(&wal).display()
            )))
        } else {
            Ok(())
        };
    }
    // Closing a connection that may write would move a WAL into a database that is not ours. One
    // that may not cannot undo a transaction that a power cut left in a journal: ours has one only
    // while it is being made.
    let mut journal = context.path.as_os_str().to_owned();
    journal.push("-journal");
    let journal_empty = fs::metadata(&journal).map_or(true, |metadata| metadata.len() == 0);
    let options = SqliteConnectOptions::new().filename(context.path).read_only(journal_empty);
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

/// The schema version of a database of ours; 0 for an empty one.
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
    if id != APPLICATION_ID && (id != 0 || tables > 0) {
        return Err(context
            .unusable("is a database of another program; set store.path to another file".into()));
    }
    if version > SCHEMA_VERSION {
        return Err(context.unusable(format!(
            "has schema version {version}, this jobtrackd knows {SCHEMA_VERSION}; install a newer \
             jobtrackd"
        )));
    }
    Ok(version)
}

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
                reason: "is not a file; set store.path to one".into(),
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
