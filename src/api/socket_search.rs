//! Finds the socket of a running daemon among the paths at which one may listen.
//!
//! Used by [`Client`](super::Client). A file of a daemon that was killed stays behind, so that a socket file
//! alone is no sign of a daemon: where several files exist, the first on which somebody listens is taken.

use std::fmt;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::getuid;

/// Where no daemon could be reached, and where others listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedSearch {
    pub tried: Vec<TriedSocket>,
    /// Sockets of running daemons at other paths. They are only named: a client must not talk to a daemon
    /// that its user did not mean.
    pub elsewhere: Vec<PathBuf>,
}

impl FailedSearch {
    const MAX_ELSEWHERE: usize = 3;

    /// Tries each path.
    pub(super) fn of(candidates: &[PathBuf]) -> Self {
        let sockets = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
        let mut elsewhere = listening_daemons(&sockets);
        elsewhere.retain(|path| !candidates.contains(path));
        // The user's own first.
        let uid = getuid().as_raw();
        elsewhere.sort_by_key(|path| !path.metadata().is_ok_and(|file| file.uid() == uid));
        elsewhere.truncate(Self::MAX_ELSEWHERE);
        Self { tried: tried_sockets(candidates), elsewhere }
    }

    #[must_use]
    pub fn is_permission_denied(&self) -> bool {
        self.tried.iter().any(TriedSocket::is_denied)
    }
}

impl fmt::Display for FailedSearch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (denied, others): (Vec<_>, Vec<_>) =
            self.tried.iter().partition(|tried| tried.is_denied());
        let paths = |tried: &[&TriedSocket]| {
            tried.iter().map(|one| one.path.display().to_string()).collect::<Vec<_>>().join(", ")
        };
        let problems = |tried: &[&TriedSocket]| {
            tried.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        if denied.is_empty() {
            write!(
                f,
                "no daemon at {}; start jobtrackd (`systemctl start jobtrackd`, or `jobtrackd` in another \
                 terminal), or name its socket with --socket or JOBTRACK_SOCKET",
                problems(&others)
            )?;
        } else {
            write!(
                f,
                "permission denied for {}; join the group of the socket (`usermod -aG GROUP USER`, then log \
                 in again), or name another socket with --socket or JOBTRACK_SOCKET",
                paths(&denied)
            )?;
            if !others.is_empty() {
                write!(f, "; no daemon at {}", problems(&others))?;
            }
        }
        if !self.elsewhere.is_empty() {
            let elsewhere = self.elsewhere.iter().map(|path| path.display().to_string());
            write!(f, "; daemons listen at {}", elsewhere.collect::<Vec<_>>().join(", "))?;
        }
        Ok(())
    }
}

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

impl TriedSocket {
    fn is_denied(&self) -> bool {
        self.problem == SocketProblem::PermissionDenied
    }
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
pub(super) fn find_socket(candidates: &[PathBuf]) -> Result<PathBuf, FailedSearch> {
    // A path without search permission counts as existing: connecting to it gives the error.
    let exists = |path: &&PathBuf| !matches!(path.try_exists(), Ok(false));
    let existing: Vec<_> = candidates.iter().filter(exists).collect();
    if let [only] = existing.as_slice() {
        return Ok((*only).clone());
    }
    let living = existing.into_iter().find(|path| socket_problem(path).is_none());
    living.cloned().ok_or_else(|| FailedSearch::of(candidates))
}

/// The listening sockets in the text of `/proc/net/unix` whose paths are of the form that daemons choose by
/// themselves, `…/jobtrack/control.sock` or, for an instance, `…/jobtrack-NAME/control.sock`.
fn listening_daemons(proc_net_unix: &str) -> Vec<PathBuf> {
    /// `__SO_ACCEPTCON` of the kernel.
    const LISTENS: &str = "00010000";
    let sockets = proc_net_unix.lines().filter_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        let is_listening = columns.nth(3) == Some(LISTENS);
        let path = Path::new(columns.nth(3).filter(|_| is_listening)?);
        let directory = path.parent()?.file_name()?.to_str()?;
        let is_daemon = path.ends_with("control.sock")
            && (directory == "jobtrack" || directory.starts_with("jobtrack-"));
        is_daemon.then(|| path.to_owned())
    });
    sockets.collect()
}

fn tried_sockets(candidates: &[PathBuf]) -> Vec<TriedSocket> {
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
    fn the_sockets_of_daemons_at_other_paths_are_recognized() {
        let text = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000043faceb3: 00000003 00000000 00000000 0001 03 24453596\n\
            000000004ed140e1: 00000002 00000000 00010000 0001 01 1 /a/jobtrack/control.sock\n\
            000000004ed140e1: 00000002 00000000 00010000 0001 01 2 /run/jobtrack-team/control.sock\n\
            000000004ed140e1: 00000002 00000000 00010000 0001 01 3 /run/other/control.sock\n\
            000000004ed140e1: 00000002 00000000 00010000 0001 01 4 /run/jobtrack/other.sock\n\
            000000004d35da1a: 00000003 00000000 00000000 0001 03 5 /b/jobtrack/control.sock\n";
        let expected = ["/a/jobtrack/control.sock", "/run/jobtrack-team/control.sock"];
        assert_eq!(listening_daemons(text), expected.map(PathBuf::from));
    }

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
        assert_eq!(problems(none.tried), expected);
        let living = UnixListener::bind(at("living")).expect("a socket");
        let other = UnixListener::bind(at("other")).expect("a socket");
        assert_eq!(find_socket(&candidates), Ok(at("living")));
        drop(living);
        assert_eq!(find_socket(&candidates), Ok(at("other")));
        drop(other);
        assert_eq!(find_socket(&candidates[1..2]), Ok(at("stale")), "the only one that exists");
    }
}
