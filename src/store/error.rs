//! Why the database cannot be opened, written or read. The daemon maps [`OpenError`] to its exit code,
//! the scheduler decides by the variant of [`WriteError`] whether to retry, the control server answers
//! a [`ReadError`] with an HTTP error.

use std::io;
use std::path::PathBuf;

/// Why the database cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not a database of jobtrackd, made by a newer version, or in a place that cannot be used: a restart
    /// does not help.
    #[error("{}: {reason}", path.display())]
    Unusable {
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A restart does not help.
    #[error(
        "{}: is damaged ({detail}); replace it by a backup with `jobtrackd restore BACKUP`, or recover it \
         with `sqlite3 {} .recover`", path.display(), path.display()
    )]
    Damaged {
        path: PathBuf,
        /// What SQLite reports.
        detail: String,
    },
    /// The directory of the database does not exist and cannot be created.
    #[error("cannot create {}: {}; set XDG_STATE_HOME or store.path", path.display(), kind)]
    CreateDirectory {
        path: PathBuf,
        /// What `mkdir` reports.
        kind: io::ErrorKind,
    },
    /// The file or its directory cannot be used now. A restart may help.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
}

/// Why a batch is not confirmed as written. After [`Self::Busy`] and [`Self::Rejected`] nothing of the
/// batch is in the database; after the others the commit may have happened.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Another program holds the write lock. Retry.
    #[error("another program is writing to the database")]
    Busy,
    /// The disk, a quota or a file size limit is full, or the file system is read-only. Retry.
    #[error(
        "the database cannot grow or be written (no space, quota, file size limit or read-only file \
         system): {0}"
    )]
    NoSpace(String),
    /// A value violates a constraint of the schema, or a stored row is invalid. A retry does not help,
    /// but other rows can be written.
    #[error("the database rejected the update: {0}")]
    Rejected(String),
    /// Any other failure, usually of the disk. Final after a few attempts.
    #[error("the database cannot be written: {0}")]
    Io(String),
    /// A file of the database is no longer the one that is open, or has other content. Final.
    #[error(
        "{} {what} while jobtrackd was using it; stop jobtrackd, restore the database if it is not \
         complete, start jobtrackd again", path.display()
    )]
    FileReplaced {
        /// The database file or a file beside it.
        path: PathBuf,
        what: &'static str,
    },
    /// The file is damaged. Final.
    #[error("the database is damaged: {0}")]
    Corrupt(String),
}

/// Why a query failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The database cannot be read.
    #[error("the database cannot be read: {0}")]
    Database(String),
    /// The file system of the database has too little space for a copy, with what must remain free.
    #[error(
        "no backup was made: jobtrackd first copies the database inside {}, whose file system needs \
         {} MiB of free space for that and has {} MiB; free some space there, or run `sqlite3 {} \
         '.backup FILE'` with a file elsewhere",
        database.parent().unwrap_or(database).display(), needed_bytes.div_ceil(1 << 20), free_bytes >> 20,
        database.display()
    )]
    NoSpaceForCopy { database: PathBuf, needed_bytes: u64, free_bytes: u64 },
    /// The database was not copied.
    #[error("no backup was made: jobtrackd cannot copy the database inside {}: {reason}", directory.display())]
    CopyFailed {
        /// The directory of the database.
        directory: PathBuf,
        reason: String,
    },
    /// A copy of the database exists already, and is being sent.
    #[error("another backup is in progress; try again when it has ended")]
    SnapshotInProgress,
    /// The cursor does not name an event of this database.
    #[error(
        "cursor {cursor} does not name an event of this database; the newest event is {newest}"
    )]
    UnknownCursor {
        /// The cursor of the query.
        cursor: crate::job::EventCursor,
        /// The cursor of the newest event.
        newest: crate::job::EventCursor,
    },
}
