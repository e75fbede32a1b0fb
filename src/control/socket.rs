//! Opens the control socket: the service manager's, or a new one.
//!
//! Called by the daemon at the start. Nobody can connect before the mode and the group of the socket
//! are set. A stale socket is replaced; the socket of a running daemon and any other file are not.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use listenfd::ListenFd;
use nix::unistd::Group;
use rustix::fs::{Gid, Mode, chmod, chown, fchmod};
use tokio::net::{UnixListener, UnixSocket};

use crate::config::{ControlConfig, check_directory_writable};

/// Why the control socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The configuration must be changed.
    #[error("{0}")]
    Config(String),
    /// The socket's directory does not exist and cannot be created.
    #[error("cannot create {}: {}; set XDG_RUNTIME_DIR or control.socket", path.display(), kind)]
    CreateDirectory {
        path: PathBuf,
        /// What `mkdir` reports.
        kind: io::ErrorKind,
    },
    /// The socket cannot be bound, or another process uses its path.
    #[error("control socket {}: {reason}", path.display())]
    Io {
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
}

const BACKLOG: u32 = 1024;

#[derive(Debug)]
pub struct ControlSocket {
    pub(super) listener: UnixListener,
    /// None if the service manager owns the socket.
    file: Option<SocketFile>,
}

impl ControlSocket {
    /// The socket that the service manager passes, else a new one.
    ///
    /// # Errors
    /// If another daemon listens at the path, the path is not a socket, or the bind fails.
    pub fn open(config: &ControlConfig) -> Result<Self, BindError> {
        let inherited = ListenFd::from_env().take_unix_listener(0);
        let failed = |error: io::Error| BindError::Io {
            path: config.socket.clone(),
            reason: format!("cannot use the socket passed by the service manager: {error}"),
        };
        if let Some(listener) = inherited.map_err(failed)? {
            listener.set_nonblocking(true).map_err(failed)?;
            let listener = UnixListener::from_std(listener).map_err(failed)?;
            return Ok(Self { listener, file: None });
        }
        let listener = bind(config)?;
        let file = SocketFile::at(&config.socket);
        let file = file.map_err(|error| bind_failure(&config.socket, &error))?;
        Ok(Self { listener, file: Some(file) })
    }

    /// A guard that removes the socket file; dropped when the server has ended.
    #[must_use]
    pub fn file_guard(&self) -> SocketFileGuard {
        SocketFileGuard(self.file.clone())
    }
}

/// A socket file, known by its device and inode: the file at a path may be replaced by another daemon.
#[derive(Debug, Clone)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
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

/// Removes the socket file when dropped, so that clients do not try a socket without a daemon. A file
/// of another daemon at the same path stays.
#[derive(Debug)]
pub struct SocketFileGuard(Option<SocketFile>);

impl Drop for SocketFileGuard {
    fn drop(&mut self) {
        if let Some(file) = self.0.as_ref().filter(|file| file.is_in_place()) {
            let _ = fs::remove_file(&file.path);
        }
    }
}

/// Checks whether the socket can be created, without creating it. A socket file that exists is no error,
/// though a daemon may listen on it: a connection could make the service manager start one.
///
/// # Errors
/// If the group does not exist, the path is taken by another kind of file, or its directory cannot be
/// written or created.
pub fn check_socket_config(config: &ControlConfig) -> Result<(), BindError> {
    let path = &config.socket;
    config.group.as_deref().map(group_id).transpose()?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    check_directory_writable(directory).map_err(|error| {
        if directory.exists() {
            bind_failure(path, &error)
        } else {
            BindError::CreateDirectory { path: directory.to_owned(), kind: error.kind() }
        }
    })?;
    existing_socket(path).map(drop)
}

/// The socket file at the path, if there is one.
fn existing_socket(path: &Path) -> Result<Option<SocketFile>, BindError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(bind_failure(path, &error)),
        Ok(found) if found.file_type().is_socket() => Ok(Some(SocketFile::new(path, &found))),
        Ok(_) => Err(BindError::Io {
            path: path.to_owned(),
            reason: "not a socket; move the file away, or set another control.socket".into(),
        }),
    }
}

fn bind(config: &ControlConfig) -> Result<UnixListener, BindError> {
    let path = &config.socket;
    let failed = |error: io::Error| bind_failure(path, &error);
    let group = config.group.as_deref().map(group_id).transpose()?;
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(|error| BindError::CreateDirectory {
            path: parent.to_owned(),
            kind: error.kind(),
        })?;
    }
    remove_stale(path)?;
    let socket = UnixSocket::new_stream().map_err(failed)?;
    // bind() creates the file with the mode of the socket: closed to others until the group is set.
    fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(|error| failed(error.into()))?;
    socket.bind(path).map_err(failed)?;
    if let Some(group) = group {
        chown(path, None, Some(group)).map_err(|error| failed(error.into()))?;
    }
    chmod(path, Mode::from_raw_mode(config.mode.0)).map_err(|error| failed(error.into()))?;
    socket.listen(BACKLOG).map_err(failed)
}

fn bind_failure(path: &Path, error: &io::Error) -> BindError {
    BindError::Io {
        path: path.to_owned(),
        reason: format!("{error}; check the owner of its directory, or set control.socket"),
    }
}

fn group_id(name: &str) -> Result<Gid, BindError> {
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(Gid::from_raw(group.gid.as_raw())),
        Ok(None) => Err(BindError::Config(format!(
            "control.group: group {name:?} does not exist; create it with `groupadd --system {name}`"
        ))),
        Err(error) => Err(BindError::Config(format!(
            "control.group: cannot look up the group {name:?}: {error}"
        ))),
    }
}

/// How long a daemon may take from the creation of its socket file until it listens.
const LISTEN_TIMEOUT: Duration = Duration::from_millis(100);

/// Removes a socket file on which nobody listens.
fn remove_stale(path: &Path) -> Result<(), BindError> {
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
    fs::rename(path, &aside).map_err(|error| bind_failure(path, &error))?;
    if SocketFile::at(&aside).is_ok_and(|moved| moved.is_same_file(&found)) {
        return fs::remove_file(&aside).map_err(|error| bind_failure(path, &error));
    }
    fs::rename(&aside, path).map_err(|error| bind_failure(path, &error))?;
    Err(in_use())
}

fn is_listening(path: &Path) -> Result<bool, BindError> {
    match UnixStream::connect(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        Err(error) => Err(bind_failure(path, &error)),
    }
}
