//! The open connections, capped. One that waits for nothing makes room for a newcomer, so that a
//! thousand clients that connect and say nothing keep nobody out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Resource, getrlimit};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// All connections that are open.
#[derive(Debug)]
pub(super) struct ConnectionLimiter {
    max_open: usize,
    registry: Mutex<ConnectionRegistry>,
    released: Notify,
}

/// By the order of their arrival.
#[derive(Debug, Default)]
struct ConnectionRegistry {
    next_id: u64,
    open: BTreeMap<u64, OpenConnection>,
}

#[derive(Debug)]
struct OpenConnection {
    /// A request is being answered, or a stream read.
    busy: bool,
    evict: CancellationToken,
}

/// A connection's place among the open ones; given up when dropped.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    limiter: Arc<ConnectionLimiter>,
    id: u64,
    /// Cancelled when it must make room.
    pub(super) evict: CancellationToken,
}

impl ConnectionLimiter {
    const MAX_CONNECTIONS: usize = 512;
    /// For the database, for polls and for the log, whatever the limit on descriptors is.
    const RESERVED_DESCRIPTORS: u64 = 48;

    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            max_open: Self::connection_limit(),
            registry: Mutex::default(),
            released: Notify::new(),
        })
    }

    /// Connections that may be open at once.
    pub(super) fn connection_limit() -> usize {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let spare = descriptors.saturating_sub(Self::RESERVED_DESCRIPTORS).max(4);
        usize::try_from(spare).unwrap_or(usize::MAX).min(Self::MAX_CONNECTIONS)
    }

    /// A place for a newcomer; waits only while every guest is busy.
    pub(super) async fn acquire(self: &Arc<Self>) -> ConnectionPermit {
        loop {
            let released = self.released.notified();
            if let Some(permit) = self.try_acquire() {
                return permit;
            }
            released.await;
        }
    }

    fn try_acquire(self: &Arc<Self>) -> Option<ConnectionPermit> {
        let mut registry = self.lock_registry();
        if registry.open.len() >= self.max_open {
            // It counts until its descriptor is closed: the newcomer waits that long.
            let eviction_pending = registry.open.values().any(|guest| guest.evict.is_cancelled());
            let idle = registry.open.values().find(|guest| !guest.busy);
            if let Some(connection) = idle.filter(|_| !eviction_pending) {
                connection.evict.cancel();
            }
            return None;
        }
        let id = registry.next_id;
        registry.next_id += 1;
        let evict = CancellationToken::new();
        registry.open.insert(id, OpenConnection { busy: false, evict: evict.clone() });
        Some(ConnectionPermit { limiter: self.clone(), id, evict })
    }

    /// Nothing that could panic happens under this lock.
    fn lock_registry(&self) -> std::sync::MutexGuard<'_, ConnectionRegistry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionPermit {
    /// Says whether something is being done for this guest.
    pub(super) fn set_busy(&self, busy: bool) {
        if let Some(connection) = self.limiter.lock_registry().open.get_mut(&self.id) {
            connection.busy = busy;
        }
        if !busy {
            self.limiter.released.notify_one();
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.limiter.lock_registry().open.remove(&self.id);
        self.limiter.released.notify_one();
    }
}
