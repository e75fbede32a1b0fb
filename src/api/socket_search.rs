//! Finds the socket of a running daemon among the paths at which one may listen.
//!
//! Used by [`Client`](super::Client). A file of a daemon that was killed stays behind, so that a socket file
//! alone is no sign of a daemon: where several files exist, the first on which somebody listens is taken.

use std::fmt;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// A path at which no daemon could be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriedSocket {
    pub path: PathBuf,
    pub problem: SocketProblem,
}

/// Why a path leads to no daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketProblem {
    Missing,
    /// The socket is there, but no process listens: a daemon was killed.
    Stale,
    /// This user may not connect, or not search the directory.
    PermissionDenied,
    NotASocket,
    Other(String),
}

impl fmt::Display for TriedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = match &self.problem {
            SocketProblem::Missing => "does not exist",
            SocketProblem::Stale => "nobody listens",
            SocketProblem::PermissionDenied => "permission denied",
            SocketProblem::NotASocket => "not a socket",
            SocketProblem::Other(problem) => problem,
        };
        write!(f, "{} ({problem})", self.path.display())
    }
}

/// The path to use. If only one exists, it is not tried: the first request shows whether a daemon listens.
///
/// # Errors
/// What is wrong with each path.
pub(super) fn find_socket(candidates: &[PathBuf]) -> Result<PathBuf, Vec<TriedSocket>> {
    // A path without search permission counts as existing: connecting to it gives the error.
    let exists = |path: &&PathBuf| !matches!(path.try_exists(), Ok(false));
    let existing: Vec<_> = candidates.iter().filter(exists).collect();
    if let [only] = existing.as_slice() {
        return Ok((*only).clone());
    }
    let living = existing.into_iter().find(|path| socket_problem(path).is_none());
    living.cloned().ok_or_else(|| tried_sockets(candidates))
}

/// Tries each path, for an error message.
pub(super) fn tried_sockets(candidates: &[PathBuf]) -> Vec<TriedSocket> {
    let tried = candidates.iter().map(|path| TriedSocket {
        path: path.clone(),
        // A daemon that has started in the meantime is not there for the request that failed.
        problem: socket_problem(path).unwrap_or(SocketProblem::Stale),
    });
    tried.collect()
}

/// `None` if a process listens, also if its queue of connections is full.
fn socket_problem(path: &Path) -> Option<SocketProblem> {
    let address = match SocketAddrUnix::new(path) {
        Ok(address) => address,
        Err(error) => return Some(SocketProblem::Other(io::Error::from(error).to_string())),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let connected = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .and_then(|socket| connect(&socket, &address));
    match connected {
        Ok(()) | Err(Errno::AGAIN) => None,
        Err(Errno::NOENT | Errno::NOTDIR) => Some(SocketProblem::Missing),
        Err(Errno::ACCESS | Errno::PERM) => Some(SocketProblem::PermissionDenied),
        Err(Errno::CONNREFUSED) => Some(match std::fs::metadata(path) {
            Ok(file) if !file.file_type().is_socket() => SocketProblem::NotASocket,
            Ok(_) | Err(_) => SocketProblem::Stale,
        }),
        Err(error) => Some(SocketProblem::Other(io::Error::from(error).to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_stale_socket_does_not_hide_a_living_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let candidates = ["missing", "stale", "file", "living", "other"].map(at).to_vec();
        drop(UnixListener::bind(at("stale")).expect("a socket"));
        std::fs::write(at("file"), "").expect("a file");
        let problems = |tried: Vec<TriedSocket>| {
            tried.into_iter().map(|tried| tried.problem).collect::<Vec<_>>()
        };
        let expected = [
            SocketProblem::Missing,
            SocketProblem::Stale,
            SocketProblem::NotASocket,
            SocketProblem::Missing,
            SocketProblem::Missing,
        ];
        let none = find_socket(&candidates).expect_err("no daemon");
        assert_eq!(problems(none), expected);
        let living = UnixListener::bind(at("living")).expect("a socket");
        let other = UnixListener::bind(at("other")).expect("a socket");
        assert_eq!(find_socket(&candidates), Ok(at("living")));
        drop(living);
        assert_eq!(find_socket(&candidates), Ok(at("other")));
        drop(other);
        assert_eq!(find_socket(&candidates[1..2]), Ok(at("stale")), "the only one that exists");
    }
}
