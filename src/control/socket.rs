//! The socket file: made so that nobody can connect before its mode and group are right; a stale one
//! is replaced, a living daemon's and anything else is left alone.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use nix::unistd::Group;
use rustix::fs::{Gid, Mode, chmod, chown, fchmod};
use tokio::net::{UnixListener, UnixSocket};

use crate::config::ControlConfig;

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Someone must change the settings.
    #[error("{0}")]
    Config(String),
    /// The socket's directory does not exist and cannot be created.
    #[error("cannot create {}: {}; set XDG_RUNTIME_DIR or control.socket", path.display(), source.kind())]
    CreateDirectory {
        /// The directory.
        path: PathBuf,
        /// The error of `mkdir`.
        source: io::Error,
    },
    /// The socket cannot be bound, or another process uses its path.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
}

const BACKLOG: u32 = 1024;

/// A socket to listen on.
#[derive(Debug)]
pub struct ControlSocket {
    pub(super) listener: UnixListener,
    /// Ours to remove at the end; none if the service manager made it, and keeps it.
    owned_path: Option<PathBuf>,
}

impl ControlSocket {
    /// The socket that the service manager hands over, else one of our own.
    ///
    /// # Errors
    /// If another daemon listens there, something else lies there, or it cannot be made.
    pub fn open(config: &ControlConfig) -> Result<Self, BindError> {
        let inherited = ListenFd::from_env().take_unix_listener(0);
        let failed = |error: io::Error| BindError::Io {
            path: config.socket.clone(),
            reason: format!("the service manager's socket cannot be used: {error}"),
        };
        if let Some(listener) = inherited.map_err(failed)? {
            listener.set_nonblocking(true).map_err(failed)?;
            let listener = UnixListener::from_std(listener).map_err(failed)?;
            return Ok(Self { listener, owned_path: None });
        }
        Ok(Self { listener: bind(config)?, owned_path: Some(config.socket.clone()) })
    }

    /// What to remove when nobody listens any more.
    #[must_use]
    pub fn file_guard(&self) -> SocketFileGuard {
        SocketFileGuard(self.owned_path.clone())
    }
}

/// The file of a socket of our own: its name would only mislead once nobody listens.
#[derive(Debug)]
pub struct SocketFileGuard(Option<PathBuf>);

impl Drop for SocketFileGuard {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Whether a socket could be made as the settings say, as far as that can be told without trying.
///
/// # Errors
/// If the group does not exist.
pub fn check_socket_config(config: &ControlConfig) -> Result<(), BindError> {
    config.group.as_deref().map_or(Ok(()), |name| group_id(name).map(drop))
}

fn bind(config: &ControlConfig) -> Result<UnixListener, BindError> {
    let path = &config.socket;
    let failed = |error: io::Error| BindError::Io { path: path.clone(), reason: error.to_string() };
    let group = config.group.as_deref().map(group_id).transpose()?;
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent)
            .map_err(|source| BindError::CreateDirectory { path: parent.to_owned(), source })?;
    }
    remove_stale(path)?;
    let socket = UnixSocket::new_stream().map_err(failed)?;
    // The file gets the mode that the socket has before it is bound: nobody slips in between.
    fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(|error| failed(error.into()))?;
    socket.bind(path).map_err(failed)?;
    if let Some(group) = group {
        chown(path, None, Some(group)).map_err(|error| failed(error.into()))?;
    }
    chmod(path, Mode::from_raw_mode(config.mode.0)).map_err(|error| failed(error.into()))?;
    socket.listen(BACKLOG).map_err(failed)
}

fn group_id(name: &str) -> Result<Gid, BindError> {
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(Gid::from_raw(group.gid.as_raw())),
        Ok(None) => Err(BindError::Config(format!(
            "control.group: there is no group {name:?}; make it with `groupadd --system {name}`"
        ))),
        Err(error) => Err(BindError::Config(format!("control.group: {error}"))),
    }
}

fn remove_stale(path: &Path) -> Result<(), BindError> {
    let io_error = |reason: String| BindError::Io { path: path.to_owned(), reason };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error(error.to_string())),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io_error(
                "is not a socket; move it away, or set another control.socket".into(),
            ));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(io_error(
            "another jobtrackd listens there; stop it, or set another control.socket".into(),
        )),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|error| io_error(error.to_string()))
        }
        Err(error) => Err(io_error(error.to_string())),
    }
}
