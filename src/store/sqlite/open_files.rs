//! Watches the files of the open database: SQLite does not notice when one of them is removed, replaced
//! or overwritten, and would keep committing.
//!
//! The writer calls [`OpenFiles::verify`] before each write and before it confirms one. Invariant: the
//! descriptors are kept as long as the writer exists, because closing one of the database or of the
//! shared memory would release SQLite's locks on it.

use std::fs::{self, File, Metadata};
use std::io::{self, Seek};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::store::WriteError;

use super::database_path::DatabasePath;
use super::file_change::FileChange;
use super::identity::Identity;
use super::identity_in_file::{FilesOfIdentity, IdentityInFile};
use super::lock::DatabaseLock;
use super::wal_header::WalState;

#[derive(Debug)]
pub(super) struct OpenFiles {
    path: DatabasePath,
    lock: DatabaseLock,
    wal: File,
    shared_memory: File,
    identity: Identity,
    identity_in_file: IdentityInFile,
    wal_state: WalState,
    /// As far as the shared memory has blocks of the disk.
    reserved_bytes: u64,
    change: Option<FileChange>,
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
            identity_in_file: IdentityInFile::default(),
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
        if self.identity_in_file.contradicts(&self.identity, self.wal_state.transactions) {
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
        let files = FilesOfIdentity {
            path: self.path.file(),
            database: self.lock.database(),
            shared_memory: &self.shared_memory,
        };
        let is_same = self.identity_in_file.is_still_of(&self.identity, files).await?;
        Ok((!is_same).then_some(FileChange::DatabaseOverwritten))
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

/// The metadata of the file at a path; `None` if it is not the one that is open.
fn metadata_at(path: &Path, open: &File) -> io::Result<Option<Metadata>> {
    let id = |metadata: &Metadata| (metadata.dev(), metadata.ino());
    match fs::metadata(path) {
        Ok(found) => Ok((id(&found) == id(&open.metadata()?)).then_some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn io_error(error: &io::Error) -> WriteError {
    WriteError::Io(error.to_string())
}
