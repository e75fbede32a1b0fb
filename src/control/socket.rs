//! Opens the control sockets: the service manager's, or new ones.
//!
//! Called by the daemon at the start. Nobody can connect before the mode and the group of a socket
//! are set. A stale socket is replaced; the socket of a running daemon and any other file are not.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use listenfd::ListenFd;
use nix::unistd::Group;
use rustix::fs::{Gid, Mode, chmod, chown, fchmod};
use tokio::net::{UnixListener, UnixSocket};

use crate::config::{ControlConfig, SocketMode, check_directory_writable};

use super::bind_error::BindError;
use super::peer::Access;
use super::socket_file::{SocketFile, SocketFileGuard, existing_socket, remove_stale};

/// A connection is accepted after those that wait before it, also if another user has opened them.
const BACKLOG: u32 = 256;

/// The sockets on which the daemon serves clients.
#[derive(Debug)]
pub struct ControlSockets {
    pub(super) listeners: Vec<(UnixListener, Access)>,
    files: Vec<SocketFile>,
}

/// The settings of one socket.
struct SocketSettings<'a> {
    access: Access,
    path: &'a Path,
    mode: SocketMode,
    group: Option<&'a str>,
    /// The setting of the group.
    group_key: &'static str,
}

impl ControlSockets {
    /// The sockets that the service manager passes, and new ones for the others.
    ///
    /// # Errors
    /// If another daemon listens at a path, a path is not a socket, or the bind fails.
    pub fn open(config: &ControlConfig) -> Result<Self, BindError> {
        let mut sockets = Self { listeners: Vec::new(), files: Vec::new() };
        let inherited = inherited_listeners(config)?;
        let is_only_one = inherited.len() == 1;
        for listener in inherited {
            let access = inherited_access(&listener, is_only_one, config)?;
            sockets.listeners.push((listener, access));
        }
        for settings in socket_settings(config) {
            if sockets.listeners.iter().all(|(_, access)| *access != settings.access) {
                sockets.listeners.push((bind(&settings)?, settings.access));
                let file = SocketFile::at(settings.path);
                let file = file.map_err(|error| BindError::failed(settings.path, &error))?;
                sockets.files.push(file);
            }
        }
        Ok(sockets)
    }

    /// A guard that removes the files of new sockets; dropped when the server has ended.
    #[must_use]
    pub fn file_guard(&self) -> SocketFileGuard {
        SocketFileGuard(self.files.clone())
    }
}

/// Checks whether the sockets can be created, without creating them. A socket file that exists is no
/// error, though a daemon may listen on it: a connection could make the service manager start one.
///
/// # Errors
/// If a group does not exist, a path is taken by another kind of file, or its directory cannot be
/// written or created.
pub fn check_socket_config(config: &ControlConfig) -> Result<(), BindError> {
    socket_settings(config).try_for_each(|settings| {
        let path = settings.path;
        group_id(&settings)?;
        let directory = path.parent().unwrap_or(Path::new("/"));
        check_directory_writable(directory).map_err(|error| {
            if directory.exists() {
                BindError::failed(path, &error)
            } else {
                BindError::CreateDirectory { path: directory.to_owned(), kind: error.kind() }
            }
        })?;
        existing_socket(path).map(drop)
    })
}

fn socket_settings(config: &ControlConfig) -> impl Iterator<Item = SocketSettings<'_>> {
    let full = SocketSettings {
        access: Access::Full,
        path: &config.socket,
        mode: config.mode,
        group: config.group.as_deref(),
        group_key: "control.group",
    };
    let read_only = config.read_only_socket.as_deref().map(|path| SocketSettings {
        access: Access::ReadOnly,
        path,
        mode: config.read_only_mode,
        group: config.read_only_group.as_deref(),
        group_key: "control.read_only_group",
    });
    [Some(full), read_only].into_iter().flatten()
}

/// What the clients of a socket that the service manager passes may do. Its path need not be that of
/// `control.socket`, but only if it cannot be meant for anything else.
fn inherited_access(
    listener: &UnixListener,
    is_only_one: bool,
    config: &ControlConfig,
) -> Result<Access, BindError> {
    let address = listener.local_addr().ok();
    let path = address.as_ref().and_then(|address| address.as_pathname());
    let is_at = |setting: &Path| {
        // Two paths may lead to the same file, through a symbolic link for example.
        let is_same_file = |path: &Path| match (fs::metadata(path), fs::metadata(setting)) {
            (Ok(passed), Ok(set)) => (passed.dev(), passed.ino()) == (set.dev(), set.ino()),
            (Err(_), _) | (_, Err(_)) => false,
        };
        path.is_some_and(|path| path == setting || is_same_file(path))
    };
    if config.read_only_socket.as_deref().is_some_and(is_at) {
        return Ok(Access::ReadOnly);
    }
    if is_at(&config.socket) || (is_only_one && config.read_only_socket.is_none()) {
        return Ok(Access::Full);
    }
    let path = path.unwrap_or(Path::new("(without a path)"));
    Err(BindError::Config(format!(
        "the service manager passes the socket {}, which is neither control.socket nor \
         control.read_only_socket; correct one of the paths",
        path.display()
    )))
}

fn inherited_listeners(config: &ControlConfig) -> Result<Vec<UnixListener>, BindError> {
    let failed = |error: io::Error| BindError::Io {
        path: config.socket.clone(),
        reason: format!("cannot use the socket passed by the service manager: {error}"),
    };
    let mut passed = ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..passed.len() {
        if let Some(listener) = passed.take_unix_listener(index).map_err(failed)? {
            listener.set_nonblocking(true).map_err(failed)?;
            listeners.push(UnixListener::from_std(listener).map_err(failed)?);
        }
    }
    Ok(listeners)
}

fn bind(settings: &SocketSettings<'_>) -> Result<UnixListener, BindError> {
    let path = settings.path;
    let failed = |error: io::Error| BindError::failed(path, &error);
    let group = group_id(settings)?;
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
    chmod(path, Mode::from_raw_mode(settings.mode.0)).map_err(|error| failed(error.into()))?;
    socket.listen(BACKLOG).map_err(failed)
}

fn group_id(settings: &SocketSettings<'_>) -> Result<Option<Gid>, BindError> {
    let (key, Some(name)) = (settings.group_key, settings.group) else { return Ok(None) };
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(Some(Gid::from_raw(group.gid.as_raw()))),
        Ok(None) => Err(BindError::Config(format!(
            "{key}: group {name:?} does not exist; create it with `groupadd --system {name}`"
        ))),
        Err(error) => {
            Err(BindError::Config(format!("{key}: cannot look up the group {name:?}: {error}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_passed_socket_that_could_be_the_read_only_one_gives_no_more_access() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("run")).expect("a directory");
        std::os::unix::fs::symlink(at("run"), at("link")).expect("a link");
        let listener = |name: &str| UnixListener::bind(at(name)).expect("a socket");
        let [full, read_only, other] = ["run/full", "run/read-only", "run/other"].map(listener);
        let mut config = ControlConfig {
            socket: at("link/full"),
            mode: SocketMode(0o660),
            group: None,
            read_only_socket: None,
            read_only_mode: SocketMode(0o660),
            read_only_group: None,
            max_jobs_per_user: None,
            max_label_bytes_per_user: None,
        };
        let access = |listener, is_only_one, config: &ControlConfig| {
            inherited_access(listener, is_only_one, config).ok()
        };
        assert_eq!(access(&other, true, &config), Some(Access::Full), "the only socket");
        assert_eq!(access(&other, false, &config), None);
        config.read_only_socket = Some(at("link/read-only"));
        assert_eq!(access(&full, false, &config), Some(Access::Full));
        assert_eq!(access(&read_only, false, &config), Some(Access::ReadOnly));
        assert_eq!(access(&read_only, true, &config), Some(Access::ReadOnly));
        assert_eq!(access(&other, true, &config), None);
    }
}
