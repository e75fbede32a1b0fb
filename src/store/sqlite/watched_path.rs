//! A path that is to lead to the file that is open. Used by `open_files`.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// The path of an open file.
#[derive(Debug)]
pub(super) struct WatchedPath {
    path: PathBuf,
    /// The device and the inode of the file that is open.
    id: (u64, u64),
}

impl WatchedPath {
    pub(super) fn new(path: PathBuf, file: &File) -> io::Result<Self> {
        Ok(Self { path, id: file_id(&file.metadata()?) })
    }

    /// The metadata of the file at the path; `None` if it is not the one that is open.
    pub(super) fn metadata(&self) -> io::Result<Option<Metadata>> {
        match fs::metadata(&self.path) {
            Ok(found) => Ok((file_id(&found) == self.id).then_some(found)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn file_id(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
