//! Watches the files of the open database: SQLite does not notice when one of them is removed, replaced
//! or overwritten, and would keep committing.
//!
//! The writer calls [`OpenFiles::verify`] before each write and before it confirms one. Invariant: the
//! descriptors are kept as long as the writer exists, because closing one of the database or of the
//! shared memory would release SQLite's locks on it.

use std::fs::{self, File, Metadata};
use std::io::{self, Seek};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::store::WriteError;

use super::database_path::DatabasePath;
use super::error_code::primary_code;
use super::identity::{FileIdentity, Identity, PageLocation, read_file_identity, wal_mismatch};
use super::lock::DatabaseLock;
use super::wal_header::{WalState, is_checkpoint_incomplete};

#[derive(Debug)]
pub(super) struct OpenFiles {
    path: DatabasePath,
    lock: DatabaseLock,
    wal: File,
    shared_memory: File,
    identity: Identity,
    identity_in_file: Option<Identity>,
    /// Whether the file has changed since, and could not be read.
    is_identity_outdated: bool,
    identity_location: PageLocation,
    /// What the file had there when `identity_in_file` was read.
    identity_page: Vec<u8>,
    wal_state: WalState,
    /// As far as the shared memory has blocks of the disk.
    reserved_bytes: u64,
    change: Option<FileChange>,
}

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

    fn error(self, path: &DatabasePath) -> WriteError {
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

/// What a changed file says about the database in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChangedIdentity {
    Same,
    Other,
    /// The file cannot be opened a second time.
    NotReadable,
}

impl OpenFiles {
    /// The shared memory grows by regions of this size, one for each 4,096 pages of the log.
    const REGION_BYTES: u64 = 32 << 10;
    const WAL_BYTES_PER_REGION: u64 = 16 << 20;
    const MIN_REGIONS: u64 = 8;
    /// A checkpoint or a transaction of another program can be seen half done.
    const READ_ATTEMPTS: u32 = 4;
    const READ_DELAY: Duration = Duration::from_millis(25);

    /// To be called when the database is open and all its files exist.
    pub(super) async fn watch(
        path: DatabasePath,
        lock: DatabaseLock,
        identity: Identity,
    ) -> Result<Self, WriteError> {
        let open = |path: PathBuf| {
            let file = File::options().read(true).write(true).open(&path);
            file.map_err(|error| WriteError::Io(format!("{}: {error}", path.display())))
        };
        let (wal, shared_memory) = (open(path.wal())?, open(path.shared_memory())?);
        let mut files = Self {
            path,
            lock,
            wal,
            shared_memory,
            identity,
            identity_in_file: None,
            is_identity_outdated: false,
            identity_location: PageLocation { offset: 0, size: 0 },
            identity_page: vec![0],
            wal_state: WalState::default(),
            reserved_bytes: 0,
            change: None,
        };
        files.verify().await?;
        files.reserve_shared_memory()?;
        Ok(files)
    }

    pub(super) fn path(&self) -> &DatabasePath {
        &self.path
    }

    /// The identity after the last transaction.
    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(super) fn wal_bytes(&self) -> u64 {
        self.wal_state.bytes
    }

    /// The size of the database without its log.
    pub(super) fn database_bytes(&self) -> u64 {
        self.lock.database().metadata().map_or(0, |metadata| metadata.len())
    }

    /// Writes the log that is open to its path, where no file is any more. The next start reads it.
    ///
    /// # Errors
    /// If there is a file at the path, or the log cannot be written; nothing is left then.
    pub(super) fn write_log_back(&self) -> io::Result<()> {
        let path = self.path.wal();
        let mut options = File::options();
        let mut target = options.write(true).create_new(true).mode(0o640).open(&path)?;
        // SQLite has no locks on the log, so that a descriptor of it may be closed.
        let copied = self.wal.try_clone().and_then(|mut log| {
            log.rewind()?;
            io::copy(&mut log, &mut target)?;
            target.sync_all()?;
            File::open(self.path.directory())?.sync_all()
        });
        if copied.is_err() {
            let _ = fs::remove_file(&path);
        }
        copied
    }

    /// Gives the database file the blocks of a file of this size.
    ///
    /// # Errors
    /// If there are no blocks.
    pub(super) fn reserve_database(&self, bytes: u64) -> io::Result<()> {
        match fallocate(self.lock.database(), FallocateFlags::KEEP_SIZE, 0, bytes) {
            Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => Err(error.into()),
            // The file system cannot reserve blocks.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Records that the content of the database was replaced.
    pub(super) fn content_replaced(&mut self) -> WriteError {
        self.change.get_or_insert(FileChange::ContentReplaced).error(&self.path)
    }

    /// The change that was found, if any.
    pub(super) fn change(&self) -> Option<FileChange> {
        self.change
    }

    /// Verifies that the files at their paths are those that are open, and have not been overwritten.
    ///
    /// # Errors
    /// [`WriteError::FileReplaced`] from the first change on; [`WriteError::Io`] if a file cannot be read.
    pub(super) async fn verify(&mut self) -> Result<(), WriteError> {
        if self.change.is_none() {
            self.change = match self.find_moved_file().map_err(|error| io_error(&error))? {
                Some(moved) => Some(moved),
                None => self.find_overwritten_file().await.map_err(|error| io_error(&error))?,
            };
        }
        self.change.map_or(Ok(()), |change| Err(change.error(&self.path)))
    }

    /// Verifies the files after a commit that led to this identity.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub(super) async fn verify_commit(&mut self, identity: Identity) -> Result<(), WriteError> {
        self.identity = identity;
        self.verify().await?;
        // SQLite starts the log anew only after it has moved all transactions to the file. If one is in
        // neither, the file was overwritten by an older copy.
        let in_file = self.identity_in_file.as_ref();
        let is_known = !self.is_identity_outdated;
        if is_known
            && wal_mismatch(in_file, Some(&self.identity), self.wal_state.transactions).is_some()
        {
            self.change = Some(FileChange::DatabaseOverwritten);
            return Err(FileChange::DatabaseOverwritten.error(&self.path));
        }
        Ok(())
    }

    fn find_moved_file(&self) -> io::Result<Option<FileChange>> {
        let Some(database) = metadata_at(self.path.file(), self.lock.database())? else {
            return Ok(Some(FileChange::DatabaseMoved));
        };
        if database.nlink() != 1 {
            return Ok(Some(FileChange::DatabaseLinked));
        }
        if metadata_at(&self.path.wal(), &self.wal)?.is_none() {
            return Ok(Some(FileChange::WalMoved));
        }
        match metadata_at(&self.path.shared_memory(), &self.shared_memory)? {
            Some(found) if found.len() >= self.reserved_bytes => Ok(None),
            Some(_) | None => Ok(Some(FileChange::SharedMemoryMoved)),
        }
    }

    async fn find_overwritten_file(&mut self) -> io::Result<Option<FileChange>> {
        let mut attempts = 1;
        while !self.wal_state.update(&self.wal, &self.shared_memory)? {
            if attempts == Self::READ_ATTEMPTS {
                return Ok(Some(FileChange::WalOverwritten));
            }
            attempts += 1;
            tokio::time::sleep(Self::READ_DELAY).await;
        }
        if read_page(self.lock.database(), self.identity_location)? != self.identity_page {
            match self.read_changed_identity().await? {
                ChangedIdentity::Same => self.is_identity_outdated = false,
                ChangedIdentity::Other => return Ok(Some(FileChange::DatabaseOverwritten)),
                // Examined again before the next write.
                ChangedIdentity::NotReadable => self.is_identity_outdated = true,
            }
        }
        Ok(None)
    }

    /// Reads the identity from the file, which a checkpoint or another program has changed.
    async fn read_changed_identity(&mut self) -> io::Result<ChangedIdentity> {
        let mut result = ChangedIdentity::Other;
        for attempt in 0..Self::READ_ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(Self::READ_DELAY).await;
            }
            let (found, page) = match self.read_identity_and_page().await {
                Ok(Some(read)) => read,
                Ok(None) => {
                    result = ChangedIdentity::NotReadable;
                    continue;
                }
                Err(error) => {
                    let is_unreadable =
                        !is_about_content(&error) || is_checkpoint_incomplete(&self.shared_memory)?;
                    result = if is_unreadable { ChangedIdentity::NotReadable } else { result };
                    continue;
                }
            };
            let is_same = match (&self.identity_in_file, &found.identity) {
                (Some(before), Some(now)) => before.can_become(now),
                (None, Some(now)) => now.uuid == self.identity.uuid,
                // Nothing of the log has been moved to the file yet.
                (None, None) => true,
                (Some(_), None) => false,
            };
            if is_same && self.is_in_wal_mode()? {
                self.identity_page = page;
                self.identity_location = found.location;
                self.identity_in_file = found.identity;
                return Ok(ChangedIdentity::Same);
            }
            result = ChangedIdentity::Other;
        }
        Ok(result)
    }

    /// The identity in the file and the page that has it; `None` if a checkpoint came in between.
    async fn read_identity_and_page(&self) -> Result<Option<(FileIdentity, Vec<u8>)>, sqlx::Error> {
        let found = read_file_identity(self.path.file()).await?;
        let page = read_page(self.lock.database(), found.location)?;
        let again = read_file_identity(self.path.file()).await?;
        Ok((found == again).then_some((found, page)))
    }

    /// A copy that VACUUM INTO made has another mark in its header, and its pages in another order.
    fn is_in_wal_mode(&self) -> io::Result<bool> {
        let versions = PageLocation { offset: 18, size: 2 };
        Ok(read_page(self.lock.database(), versions)? == [2, 2])
    }

    /// Gives the shared memory blocks before SQLite needs them. SQLite only extends the file; where the
    /// blocks of the file system are smaller than a page of memory, the holes have no blocks, and on a
    /// full disk a write to a hole ends the process with SIGBUS.
    ///
    /// # Errors
    /// [`WriteError::NoSpace`] if there are no blocks.
    pub(super) fn reserve_shared_memory(&mut self) -> Result<(), WriteError> {
        let regions =
            (self.wal_state.bytes / Self::WAL_BYTES_PER_REGION + 2).max(Self::MIN_REGIONS);
        let needed = regions * Self::REGION_BYTES;
        if needed <= self.reserved_bytes {
            return Ok(());
        }
        match fallocate(&self.shared_memory, FallocateFlags::empty(), 0, needed) {
            Ok(()) => {
                self.reserved_bytes = needed;
                Ok(())
            }
            Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => Err(WriteError::NoSpace(
                format!("{}: {error}", self.path.shared_memory().display()),
            )),
            // The file system cannot reserve blocks, or the call was interrupted: tried again next time.
            Err(_) => Ok(()),
        }
    }
}

/// Whether this error of reading the file says that its content is another one. Any other code, and an
/// error that is not SQLite's, says that it could not be read: no file descriptor or memory is left, the
/// disk fails, or another program has a lock.
fn is_about_content(error: &sqlx::Error) -> bool {
    // ERROR, for example a table that is missing; CORRUPT, NOTADB; a value of another type.
    matches!(primary_code(error), Some(1 | 11 | 26))
        || matches!(error, sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. })
}

/// The metadata of the file at a path; `None` if it is not the one that is open.
fn metadata_at(path: &Path, open: &File) -> io::Result<Option<Metadata>> {
    let id = |metadata: &Metadata| (metadata.dev(), metadata.ino());
    match fs::metadata(path) {
        Ok(found) => Ok((id(&found) == id(&open.metadata()?)).then_some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Fewer bytes if the file ends before.
fn read_page(file: &File, location: PageLocation) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; location.size];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], location.offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn io_error(error: &io::Error) -> WriteError {
    WriteError::Io(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_an_error_about_the_content_says_that_a_file_was_overwritten() {
        let directory = tempfile::tempdir().expect("a directory");
        let text = directory.path().join("text");
        fs::write(&text, "no database, but a text that is long enough for a header")
            .expect("a file");
        let missing = directory.path().join("missing");
        // A directory can be opened, and reading it is an I/O error.
        for (path, expected) in
            [(text.as_path(), true), (missing.as_path(), false), (directory.path(), false)]
        {
            let error = read_file_identity(path).await.expect_err("no database");
            assert_eq!(is_about_content(&error), expected, "{}: {error}", path.display());
        }
    }
}
