//! The process at the other end of a connection, as the kernel reports it, and what it may do.

use tokio::net::UnixStream;

use super::connection_registry::PeerUid;

/// The process that has connected.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub(super) uid: PeerUid,
}

impl Peer {
    pub(super) fn of(stream: &UnixStream) -> Self {
        Self { uid: stream.peer_cred().ok().map(|credentials| credentials.uid()) }
    }
}
