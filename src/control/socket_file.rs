//! The files of the control sockets: what may be replaced at a start, and what is removed at the end.
//!
//! Used by `socket` at a start; the daemon drops the guard when the server has ended.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::bind_error::BindError;

/// A socket file, known by its device and inode: the file at a path may be replaced by another daemon.
#[derive(Debug, Clone)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        Ok(Self::new(path, &fs::symlink_metadata(path)?))
    }

    fn new(path: &Path, metadata: &fs::Metadata) -> Self {
        Self { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() }
    }

    fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// Whether this is still the file at its path. While the socket is open, the kernel gives its inode
    /// number to no other file.
    fn is_in_place(&self) -> bool {
        Self::at(&self.path).is_ok_and(|found| found.is_same_file(self))
    }
}

/// Removes the socket files when dropped, so that clients do not try a socket without a daemon. A file of
/// another daemon at the same path stays.
#[derive(Debug)]
pub struct SocketFileGuard(pub(super) Vec<SocketFile>);

impl Drop for SocketFileGuard {
    fn drop(&mut self) {
        for file in self.0.iter().filter(|file| file.is_in_place()) {
            let _ = fs::remove_file(&file.path);
        }
    }
}

/// The socket file at the path, if there is one.
pub(super) fn existing_socket(path: &Path) -> Result<Option<SocketFile>, BindError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(BindError::failed(path, &error)),
        Ok(found) if found.file_type().is_socket() => Ok(Some(SocketFile::new(path, &found))),
        Ok(_) => Err(BindError::Io {
            path: path.to_owned(),
            reason: "not a socket; move the file away, or set another control.socket".into(),
        }),
    }
}

/// How long a daemon may take from the creation of its socket file until it listens.
const LISTEN_TIMEOUT: Duration = Duration::from_millis(100);

/// Removes a socket file on which nobody listens.
pub(super) fn remove_stale(path: &Path) -> Result<(), BindError> {
    let io_error = |reason: &str| BindError::Io { path: path.to_owned(), reason: reason.into() };
    let in_use = || {
        io_error("another jobtrackd listens on this socket; stop it, or set another control.socket")
    };
    let Some(found) = existing_socket(path)? else { return Ok(()) };
    if is_listening(path)? {
        return Err(in_use());
    }
    std::thread::sleep(LISTEN_TIMEOUT);
    if is_listening(path)? {
        return Err(in_use());
    }
    // Renamed first: another daemon that starts now may have replaced the file since it was examined.
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".stale-{}", std::process::id()));
    let aside = PathBuf::from(aside);
    fs::rename(path, &aside).map_err(|error| BindError::failed(path, &error))?;
    if SocketFile::at(&aside).is_ok_and(|moved| moved.is_same_file(&found)) {
        return fs::remove_file(&aside).map_err(|error| BindError::failed(path, &error));
    }
    fs::rename(&aside, path).map_err(|error| BindError::failed(path, &error))?;
    Err(in_use())
}

fn is_listening(path: &Path) -> Result<bool, BindError> {
    match UnixStream::connect(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        Err(error) => Err(BindError::failed(path, &error)),
    }
}
