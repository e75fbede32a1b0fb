//! The path of the database, the paths of the files beside it, and errors that name it.
//!
//! Links are followed once, here. Everything else uses the resolved path, so that a link that is
//! changed later leads nobody to another file.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use crate::store::OpenError;

use super::error_code::primary_code;

/// The path of the database, without symbolic links.
#[derive(Debug, Clone)]
pub(super) struct DatabasePath {
    file: PathBuf,
    directory: PathBuf,
}

impl DatabasePath {
    /// As many as Linux follows.
    const MAX_LINKS: usize = 40;

    /// Resolves the configured path. Neither the file nor its directory need exist.
    pub(super) fn resolve(configured: &Path) -> Result<Self, OpenError> {
        let mut file = std::path::absolute(configured).map_err(|error| OpenError::Io {
            path: configured.to_owned(),
            reason: error.to_string(),
        })?;
        for _ in 0..Self::MAX_LINKS {
            let Ok(target) = fs::read_link(&file) else { break };
            file = file.parent().unwrap_or(Path::new("/")).join(target);
        }
        let directory = file.parent().unwrap_or(Path::new("/")).to_owned();
        match (directory.canonicalize(), file.file_name()) {
            (Ok(directory), Some(name)) => Ok(Self { file: directory.join(name), directory }),
            (Err(_), _) | (_, None) => Ok(Self { file, directory }),
        }
    }

    /// Creates the directory if it is missing, and resolves the path again.
    pub(super) fn with_directory(self) -> Result<Self, OpenError> {
        if self.directory.exists() {
            return Ok(self);
        }
        self.create_directory().map_err(|error| OpenError::CreateDirectory {
            path: self.directory.clone(),
            kind: error.kind(),
        })?;
        Self::resolve(&self.file)
    }

    /// Directories that root creates belong to the owner of the directory in which they are: the daemon
    /// may run as another user.
    fn create_directory(&self) -> io::Result<()> {
        let missing: Vec<_> =
            self.directory.ancestors().take_while(|directory| !directory.exists()).collect();
        DirBuilder::new().recursive(true).mode(0o750).create(&self.directory)?;
        fs::set_permissions(&self.directory, PermissionsExt::from_mode(0o750))?;
        if rustix::process::geteuid().is_root()
            && let Some(parent) = missing.last().and_then(|directory| directory.parent())
        {
            let owner = fs::metadata(parent)?;
            for directory in missing {
                lchown(directory, Some(owner.uid()), Some(owner.gid()))?;
            }
        }
        Ok(())
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The write-ahead log.
    pub(super) fn wal(&self) -> PathBuf {
        self.with_suffix("-wal")
    }

    /// The shared memory, an index of the write-ahead log.
    pub(super) fn shared_memory(&self) -> PathBuf {
        self.with_suffix("-shm")
    }

    /// The rollback journal, which exists only while the database is being created.
    pub(super) fn journal(&self) -> PathBuf {
        self.with_suffix("-journal")
    }

    /// The file whose lock says that a daemon, or a restore, uses the database.
    pub(super) fn lock(&self) -> PathBuf {
        self.with_suffix(".lock")
    }

    pub(super) fn with_suffix(&self, suffix: &str) -> PathBuf {
        let mut path = OsString::from(&self.file);
        path.push(suffix);
        path.into()
    }

    pub(super) fn ensure_regular_file(&self) -> Result<(), OpenError> {
        match fs::metadata(&self.file) {
            Ok(found) if found.is_file() => Ok(()),
            Ok(_) => Err(OpenError::Io {
                path: self.file.clone(),
                reason: "is not a regular file; set store.path to a file".into(),
            }),
            Err(error) => Err(self.io(&error)),
        }
    }

    /// A restart does not help.
    pub(super) fn unusable(&self, reason: String) -> OpenError {
        OpenError::Unusable { path: self.file.clone(), reason }
    }

    pub(super) fn damaged(&self, detail: String) -> OpenError {
        OpenError::Damaged { path: self.file.clone(), detail }
    }

    pub(super) fn io(&self, error: &io::Error) -> OpenError {
        OpenError::Io { path: self.file.clone(), reason: error.to_string() }
    }

    pub(super) fn sqlite(&self, error: &sqlx::Error) -> OpenError {
        // https://sqlite.org/rescode.html: CORRUPT and NOTADB.
        match primary_code(error) {
            Some(11 | 26) => self.damaged(error.to_string()),
            _ => OpenError::Io { path: self.file.clone(), reason: error.to_string() },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_to_files_and_directories_are_followed_also_where_the_file_is_missing() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().canonicalize().expect("a path");
        fs::create_dir(root.join("real")).expect("a directory");
        symlink("real", root.join("directory")).expect("a link");
        symlink("../real/a.db", root.join("real/first.db")).expect("a link");
        symlink(root.join("directory/first.db"), root.join("second.db")).expect("a link");
        symlink("loop.db", root.join("loop.db")).expect("a link");
        for (given, resolved) in [
            ("real/a.db", "real/a.db"),
            ("directory/a.db", "real/a.db"),
            ("real/first.db", "real/a.db"),
            ("second.db", "real/a.db"),
            ("loop.db", "loop.db"),
            ("missing/a.db", "missing/a.db"),
        ] {
            let path = DatabasePath::resolve(&root.join(given)).expect(given);
            assert_eq!(path.file(), root.join(resolved), "{given}");
            assert_eq!(path.wal(), root.join(format!("{resolved}-wal")), "{given}");
        }
    }
}
