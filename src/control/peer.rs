//! The process at the other end of a connection, as the kernel reports it, and what it may do.

use tokio::net::UnixStream;

use super::connection_registry::PeerUid;

/// The process that has connected.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub(super) uid: PeerUid,
    /// None if the process is in another PID namespace.
    pub(super) pid: Option<i32>,
}

impl Peer {
    pub(super) fn of(stream: &UnixStream) -> Self {
        let credentials = stream.peer_cred().ok();
        Self {
            uid: credentials.map(|credentials| credentials.uid()),
            pid: credentials.and_then(|credentials| credentials.pid()).filter(|pid| *pid > 0),
        }
    }
}
