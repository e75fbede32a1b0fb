//! The locks that allow one daemon for each database.
//!
//! Two files are locked: one beside the database, which keeps its path when the database is replaced,
//! and the database itself, which may have several paths (hard links, mounts in several containers).
//! Invariant: the descriptor of the database is opened before SQLite's and is closed after them.
//! Closing any descriptor of a file releases all POSIX locks of the process on it, SQLite's included.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FlockOperation, StatxAttributes, StatxFlags, flock, statx};
use rustix::io::Errno;

use crate::store::OpenError;

use super::database_path::DatabasePath;

/// The kernel releases the locks when the process ends.
#[derive(Debug)]
pub(super) struct DatabaseLock {
    database: File,
    _beside: File,
}

impl DatabaseLock {
    /// Takes both locks; creates the files that are missing. `lock_database` is false where such a lock
    /// would conflict with SQLite's own, as it does on network file systems.
    pub(super) fn acquire(path: &DatabasePath, lock_database: bool) -> Result<Self, OpenError> {
        let beside = lock_beside(path)?;
        create_if_missing(path.file()).map_err(|error| path.io(&error))?;
        let database = open_database(path)?;
        if lock_database {
            lock(&database, path, path.file())?;
        }
        ensure_single_path(path, &database)?;
        Ok(Self { database, _beside: beside })
    }

    pub(super) fn database(&self) -> &File {
        &self.database
    }
}

/// The same locks while the database is replaced, which may be missing or unusable.
#[derive(Debug)]
pub(super) struct ReplacementLock {
    _database: Option<File>,
    _beside: File,
}

impl ReplacementLock {
    /// As [`DatabaseLock::acquire`], but creates no database.
    pub(super) fn acquire(path: &DatabasePath, lock_database: bool) -> Result<Self, OpenError> {
        let beside = lock_beside(path)?;
        let database = match fs::metadata(path.file()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Ok(_) | Err(_) => Some(open_database(path)?),
        };
        if let Some(database) = database.as_ref().filter(|_| lock_database) {
            lock(database, path, path.file())?;
        }
        Ok(Self { _database: database, _beside: beside })
    }
}

/// Makes the checks of [`DatabaseLock::acquire`] for an existing database and changes nothing. Returns
/// whether a daemon holds the locks. Must not be called in a process that has the database open.
pub(super) fn check(path: &DatabasePath) -> Result<bool, OpenError> {
    ensure_single_path(path, &open_database(path)?)?;
    let lock_path = path.lock();
    match OpenOptions::new().write(true).open(&lock_path) {
        // Released at once. A daemon that starts at this very moment would have to be started again.
        Ok(beside) => {
            Ok(flock(&beside, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(lock_file_error(&lock_path, &error)),
    }
}

fn open_database(path: &DatabasePath) -> Result<File, OpenError> {
    path.ensure_regular_file()?;
    let file = OpenOptions::new().read(true).write(true).open(path.file());
    file.map_err(|error| path.io(&error))
}

fn lock_beside(path: &DatabasePath) -> Result<File, OpenError> {
    let lock_path = path.lock();
    let file =
        open_lock_file(path, &lock_path).map_err(|error| lock_file_error(&lock_path, &error))?;
    lock(&file, path, &lock_path)?;
    Ok(file)
}

fn lock_file_error(lock_path: &Path, error: &io::Error) -> OpenError {
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; jobtrackd must be able to write to this directory: change its owner, or set store.path \
             (JOBTRACK__STORE__PATH) to another one"
        }
        _ => "",
    };
    OpenError::Io { path: lock_path.to_owned(), reason: format!("{error}{advice}") }
}

fn open_lock_file(path: &DatabasePath, lock_path: &Path) -> io::Result<File> {
    // Some file systems lock only files that are open for writing.
    let mut options = OpenOptions::new();
    options.write(true).mode(0o640);
    match options.clone().create_new(true).open(lock_path) {
        Ok(file) => {
            give_to_owner_of_database(&file, path)?;
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.open(lock_path),
        Err(error) => Err(error),
    }
}

/// Gives a file that root has created to the user of the database, as whom the daemon runs: the owner of
/// the database file, or else of its directory.
pub(super) fn give_to_owner_of_database(file: &File, path: &DatabasePath) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let model = fs::metadata(path.file()).or_else(|_| fs::metadata(path.directory()))?;
    fchown(file, Some(model.uid()), Some(model.gid()))
}

fn lock(file: &File, path: &DatabasePath, locked: &Path) -> Result<(), OpenError> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => Err(OpenError::Io {
            path: path.file().to_owned(),
            reason:
                "another jobtrackd uses this database; stop it, or set store.path to another file"
                    .into(),
        }),
        Err(error) => Err(OpenError::Io {
            path: locked.to_owned(),
            reason: format!("cannot be locked ({error}); set store.path to a file on a local disk"),
        }),
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

/// Verifies that no other path leads to the file. Each path has its own write-ahead log: a program that
/// uses another one destroys the database.
fn ensure_single_path(path: &DatabasePath, database: &File) -> Result<(), OpenError> {
    let metadata = database.metadata().map_err(|error| path.io(&error))?;
    if metadata.nlink() != 1 {
        return Err(path.unusable(format!(
            "has {} hard links; remove the others (`find DIRECTORY -samefile {}` lists them), or use a \
             copy",
            metadata.nlink(),
            path.file().display()
        )));
    }
    let at_path = fs::metadata(path.file()).map_err(|error| path.io(&error))?;
    if (at_path.dev(), at_path.ino()) != (metadata.dev(), metadata.ino()) {
        return Err(OpenError::Io {
            path: path.file().to_owned(),
            reason: "was replaced during the start; start jobtrackd again".into(),
        });
    }
    if is_mount_point(path.file()) {
        return Err(path.unusable(
            "is mounted as a single file, so that its write-ahead log would be kept elsewhere; mount its \
             directory instead"
                .into(),
        ));
    }
    Ok(())
}

/// False also where the kernel does not say.
fn is_mount_point(path: &Path) -> bool {
    statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS)
        .is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}
