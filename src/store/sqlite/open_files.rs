//! Watches the files of the open database: SQLite does not notice when one of them is removed, replaced
//! or overwritten, and would keep committing.
//!
//! The writer calls [`OpenFiles::verify`] before each write and before it confirms one. Invariant: the
//! descriptors are kept as long as the writer exists, because closing one of the database or of the
//! shared memory would release SQLite's locks on it.

use std::fs::{self, File};
use std::io::{self, Seek};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::store::WriteError;

use super::database_path::DatabasePath;
use super::file_change::FileChange;
use super::identity::{Identity, wal_mismatch};
use super::identity_in_file::{FilesOfIdentity, IdentityInFile};
use super::lock::DatabaseLock;
use super::wal_header::WalState;
use super::watched_path::WatchedPath;

#[derive(Debug)]
pub(super) struct OpenFiles {
    path: DatabasePath,
    lock: DatabaseLock,
    wal: File,
    shared_memory: File,
    watched: WatchedPaths,
    identity: Identity,
    identity_in_file: IdentityInFile,
    wal_state: WalState,
    /// The start of the log, and what was in the file, when the two were last found to lead to `identity`. They
    /// still do as long as transactions are only appended.
    compared: Option<(u64, Option<Identity>)>,
    /// The sizes when the files were last verified.
    database_bytes: u64,
    wal_bytes: u64,
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
        let watch = |path: PathBuf, file| WatchedPath::new(path, file).map_err(|e| io_error(&e));
        let mut files = Self {
            watched: WatchedPaths {
                database: watch(path.file().to_owned(), lock.database())?,
                wal: watch(path.wal(), &wal)?,
                shared_memory: watch(path.shared_memory(), &shared_memory)?,
            },
            path,
            lock,
            wal,
            shared_memory,
            identity,
            identity_in_file: IdentityInFile::default(),
            wal_state: WalState::default(),
            compared: None,
            database_bytes: 0,
            wal_bytes: 0,
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
        self.wal_bytes
    }

    /// The size of the database without its log.
    pub(super) fn database_bytes(&self) -> u64 {
        self.database_bytes
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
        if self.lacks_transactions().map_err(|error| io_error(&error))? {
            self.change = Some(FileChange::DatabaseOverwritten);
            return Err(FileChange::DatabaseOverwritten.error(&self.path));
        }
        Ok(())
    }

    /// Whether a transaction is neither in the file nor in the log. Counts the transactions of the log only
    /// where that can have changed: in one log, each transaction adds to both sides of the comparison.
    fn lacks_transactions(&mut self) -> io::Result<bool> {
        if self.identity_in_file.is_outdated() {
            return Ok(false);
        }
        let in_file = self.identity_in_file.identity();
        let log_start = self.wal_state.starts();
        // What a checkpoint moves to the file is no longer needed in the log.
        let is_compared = self.compared.as_ref().is_some_and(|(compared_start, compared)| {
            let leads_on = match (compared, in_file) {
                (Some(compared), Some(now)) => {
                    compared.can_become(now) && now.can_become(&self.identity)
                }
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            *compared_start == log_start && leads_on
        });
        if is_compared {
            return Ok(false);
        }
        let in_log = self.wal_state.count_transactions(&self.wal)?;
        if wal_mismatch(in_file, Some(&self.identity), in_log).is_some() {
            return Ok(true);
        }
        self.compared = Some((log_start, in_file.cloned()));
        Ok(false)
    }

    fn find_moved_file(&mut self) -> io::Result<Option<FileChange>> {
        let Some(database) = self.watched.database.metadata()? else {
            return Ok(Some(FileChange::DatabaseMoved));
        };
        if database.nlink() != 1 {
            return Ok(Some(FileChange::DatabaseLinked));
        }
        let Some(wal) = self.watched.wal.metadata()? else {
            return Ok(Some(FileChange::WalMoved));
        };
        (self.database_bytes, self.wal_bytes) = (database.len(), wal.len());
        match self.watched.shared_memory.metadata()? {
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
        let regions = (self.wal_bytes / Self::WAL_BYTES_PER_REGION + 2).max(Self::MIN_REGIONS);
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

#[derive(Debug)]
struct WatchedPaths {
    database: WatchedPath,
    wal: WatchedPath,
    shared_memory: WatchedPath,
}

fn io_error(error: &io::Error) -> WriteError {
    WriteError::Io(error.to_string())
}
