//! The process at the other end of a connection, as the kernel reports it, and what it may do.

use tokio::net::UnixStream;

use super::connection_registry::PeerUid;

/// What the clients of a socket may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Full,
    /// Requests that change nothing.
    ReadOnly,
}

/// The process that has connected.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub(super) uid: PeerUid,
    /// None if the process is in another PID namespace.
    pub(super) pid: Option<i32>,
    pub(super) access: Access,
}

impl Peer {
    /// The peer of a connection to a socket with this `access`.
    pub(super) fn of(stream: &UnixStream, access: Access) -> Self {
        let credentials = stream.peer_cred().ok();
        Self {
            uid: credentials.map(|credentials| credentials.uid()),
            pid: credentials.and_then(|credentials| credentials.pid()).filter(|pid| *pid > 0),
            access,
        }
    }
}
