//! What another program did to the files of the open database, and what that means for their content.
//!
//! Found by `open_files`; the writer asks how to end.

use crate::store::WriteError;

use super::database_path::DatabasePath;

/// What another program did to the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileChange {
    DatabaseMoved,
    DatabaseLinked,
    DatabaseOverwritten,
    /// The content was replaced through SQLite, for example by `.restore`.
    ContentReplaced,
    WalMoved,
    WalOverwritten,
    SharedMemoryMoved,
}

impl FileChange {
    /// Whether the write-ahead log that is open can be moved into the database file that is open.
    pub(super) fn permits_checkpoint(self) -> bool {
        match self {
            Self::DatabaseMoved | Self::DatabaseLinked | Self::ContentReplaced | Self::WalMoved => {
                true
            }
            // A checkpoint would mix two databases, or write what was never committed. With other shared
            // memory, other programs may have written to the log; the next start reads all of it.
            Self::DatabaseOverwritten | Self::WalOverwritten | Self::SharedMemoryMoved => false,
        }
    }

    pub(super) fn error(self, path: &DatabasePath) -> WriteError {
        let (file, what) = match self {
            Self::DatabaseMoved => (path.file().to_owned(), "was removed or replaced"),
            Self::DatabaseLinked => (path.file().to_owned(), "got a second hard link"),
            Self::DatabaseOverwritten => (path.file().to_owned(), "was overwritten"),
            Self::ContentReplaced => (path.file().to_owned(), "was restored from another database"),
            Self::WalMoved => (path.wal(), "was removed or replaced"),
            Self::WalOverwritten => (path.wal(), "was overwritten"),
            Self::SharedMemoryMoved => (path.shared_memory(), "was removed or replaced"),
        };
        WriteError::FileReplaced { path: file, what }
    }
}
