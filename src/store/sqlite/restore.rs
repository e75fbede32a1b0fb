//! `jobtrackd restore`: replaces the database by a backup, while no daemon runs.
//!
//! The backup is verified and copied first. The copy then takes the place of the database in one step,
//! and the old files keep other names. Invariant: at each moment the path leads to a complete
//! database, and no number of a job or transition of the old database is given again. If the process is killed before the old write-ahead log is moved away, the next start
//! refuses to apply that log to the new file.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use sqlx::{ConnectOptions, Connection};

use crate::job::UtcTime;
use crate::store::{FileSystemPolicy, OpenError};

use super::copy::{copy_database, read_options};
use super::database_path::DatabasePath;
use super::file_system;
use super::identity::read_file_identity;
use super::lock::{ReplacementLock, give_to_owner_of_database};
use super::maintenance::{RESTORED, record_event};
use super::rate_limiter_states;
use super::start_checks::{DamageCheck, check_file, has_wal};
use super::temporary_file::{Purpose, remove_leftovers, temporary_path};

/// What [`restore`] did.
#[derive(Debug)]
pub struct RestoredDatabase {
    /// The database, with symbolic links resolved.
    pub path: PathBuf,
    /// Where the replaced database is, if there was one.
    pub replaced: Option<PathBuf>,
    pub jobs: i64,
    /// Whether the old database could not be read: the numbers of jobs that only it has are given again.
    pub may_reuse_numbers: bool,
    /// Whether the backup was made of another database than the one that it replaced.
    pub is_of_another_database: bool,
}

/// Replaces the database at `path` by `backup`, which is not changed.
///
/// # Errors
/// If a daemon uses the database, the backup is unusable, or a file cannot be written. The database is
/// then unchanged.
pub async fn restore(
    backup: &Path,
    path: &Path,
    policy: FileSystemPolicy,
    now: UtcTime,
) -> Result<RestoredDatabase, OpenError> {
    let path = DatabasePath::resolve(path)?.with_directory()?;
    let lock_database = file_system::check(&path, policy)?;
    let _locks = ReplacementLock::acquire(&path, lock_database)?;
    remove_leftovers(&path);
    let backup = DatabasePath::resolve(backup)?;
    ensure_other_file(&backup, &path)?;
    if check_file(&backup, DamageCheck::Skip).await? == 0 {
        return Err(backup.unusable("is an empty database; name a backup".into()));
    }
    let copy = copy_beside(&backup, &path).await?;
    let restored = put_in_place(&copy, &path, now).await;
    if restored.is_err() {
        let _ = fs::remove_file(&copy);
    }
    restored
}

fn ensure_other_file(backup: &DatabasePath, path: &DatabasePath) -> Result<(), OpenError> {
    let id = |file: &Path| fs::metadata(file).map(|found| (found.dev(), found.ino()));
    let backup_id = id(backup.file()).map_err(|error| backup.io(&error))?;
    if id(path.file()).is_ok_and(|id| id == backup_id) {
        return Err(backup.unusable("is the database itself; name a backup".into()));
    }
    Ok(())
}

/// Copies the backup, with what is in its write-ahead log if it has one.
async fn copy_beside(backup: &DatabasePath, path: &DatabasePath) -> Result<PathBuf, OpenError> {
    let copy = temporary_path(path, Purpose::Restore);
    let io_error =
        |error: &io::Error| OpenError::Io { path: copy.clone(), reason: error.to_string() };
    // A backup may be in a directory that cannot be written, where SQLite could not open it otherwise.
    let options = read_options(backup.file()).immutable(!has_wal(backup));
    copy_database(options, &copy, 0o640).await.map_err(|error| backup.sqlite(&error))?;
    // The directory may belong to another user, who must not be able to redirect these calls by a link.
    File::options()
        .read(true)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(&copy)
        .and_then(|file| {
            file.set_permissions(PermissionsExt::from_mode(0o640))?;
            give_to_owner_of_database(&file, path)
        })
        .map_err(|error| io_error(&error))?;
    Ok(copy)
}

async fn put_in_place(
    copy: &Path,
    path: &DatabasePath,
    now: UtcTime,
) -> Result<RestoredDatabase, OpenError> {
    let sqlite_error = |error: sqlx::Error| path.sqlite(&error);
    let old = read_file_identity(path.file()).await.ok().and_then(|found| found.identity);
    let new = read_file_identity(copy).await.map_err(sqlite_error)?.identity;
    let mut connection =
        read_options(copy).immutable(true).connect().await.map_err(sqlite_error)?;
    let jobs = sqlx::query_scalar("SELECT count(*) FROM job")
        .fetch_one(&mut connection)
        .await
        .map_err(sqlite_error)?;
    connection.close().await.map_err(sqlite_error)?;
    let used_numbers = read_used_numbers(path).await;
    let may_reuse_numbers = used_numbers.is_err();
    mark_as_restored(copy, &used_numbers.unwrap_or_default(), now).await.map_err(sqlite_error)?;
    let replaced = replace_files(copy, path, now).map_err(|error| path.io(&error))?;
    let is_of_another_database = match (old, new) {
        (Some(old), Some(new)) => old.uuid != new.uuid,
        (_, None) | (None, Some(_)) => false,
    };
    let path = path.file().to_owned();
    Ok(RestoredDatabase { path, replaced, jobs, may_reuse_numbers, is_of_another_database })
}

/// The greatest number that each table of the old database has given, also to rows that are deleted; nothing
/// if there is no old database.
async fn read_used_numbers(path: &DatabasePath) -> Result<Vec<(String, i64)>, sqlx::Error> {
    if !path.file().exists() {
        return Ok(Vec::new());
    }
    let mut connection = read_options(path.file()).connect().await?;
    let numbers =
        sqlx::query_as("SELECT name, seq FROM sqlite_sequence").fetch_all(&mut connection).await?;
    connection.close().await?;
    Ok(numbers)
}

/// Reserves the numbers of the old database and records the restore in the copy.
async fn mark_as_restored(
    copy: &Path,
    used_numbers: &[(String, i64)],
    now: UtcTime,
) -> Result<(), sqlx::Error> {
    let options = read_options(copy).read_only(false).pragma("journal_mode", "memory");
    let mut connection = options.connect().await?;
    let mut transaction = connection.begin().await?;
    for (table, number) in used_numbers {
        // A table that never had a row has no entry.
        sqlx::query(
            "INSERT INTO sqlite_sequence (name, seq)
             SELECT name, 0 FROM sqlite_schema
             WHERE type = 'table' AND name = ?1 AND name NOT IN (SELECT name FROM sqlite_sequence)",
        )
        .bind(table)
        .execute(&mut *transaction)
        .await?;
        sqlx::query("UPDATE sqlite_sequence SET seq = max(seq, ?2) WHERE name = ?1")
            .bind(table)
            .bind(number)
            .execute(&mut *transaction)
            .await?;
    }
    record_event(&mut transaction, RESTORED, now).await?;
    rate_limiter_states::discard(&mut transaction).await?;
    transaction.commit().await?;
    connection.close().await?;
    File::open(copy).and_then(|file| file.sync_all()).map_err(sqlx::Error::Io)
}

/// Moves the copy to the path of the database; returns the new path of the old database.
fn replace_files(copy: &Path, path: &DatabasePath, now: UtcTime) -> io::Result<Option<PathBuf>> {
    let time: String =
        now.to_string().chars().filter(char::is_ascii_alphanumeric).take(18).collect();
    let replaced = path.with_suffix(&format!(".replaced-{time}"));
    let had_database = path.file().exists();
    if had_database {
        keep_under_name(path.file(), &replaced)?;
    }
    let name_beside_replaced = |suffix| path.with_suffix(&format!(".replaced-{time}{suffix}"));
    // Before the copy has its name: a start would apply the journal to the copy. There is one only if
    // the process was killed that was creating the database, which has nothing of value then.
    let renamed = unless_missing(fs::rename(path.journal(), name_beside_replaced("-journal")))
        .and_then(|()| fs::rename(copy, path.file()));
    if let Err(error) = renamed {
        if had_database {
            // A database with two names would be refused by the next start.
            let _ = fs::remove_file(&replaced);
        }
        return Err(error);
    }
    unless_missing(fs::rename(path.wal(), name_beside_replaced("-wal")))?;
    // It is made anew from the log.
    unless_missing(fs::remove_file(path.shared_memory()))?;
    File::open(path.directory())?.sync_all()?;
    Ok(had_database.then_some(replaced))
}

fn unless_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A second name, so that the first one never leads to nothing; a copy where there are no links.
fn keep_under_name(file: &Path, name: &Path) -> io::Result<()> {
    if fs::hard_link(file, name).is_ok() {
        return Ok(());
    }
    if name.exists() {
        return Err(io::Error::other(format!("{} exists", name.display())));
    }
    fs::copy(file, name)?;
    File::open(name)?.sync_all()
}
