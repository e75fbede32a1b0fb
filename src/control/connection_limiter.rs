//! Limits the number of open connections.
//!
//! [`serve`](super::serve) acquires a permit for each connection that it accepts, before it accepts
//! the next one. At the limit, an idle connection is closed for a new one, so that clients that
//! connect and send nothing cannot block others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Resource, getrlimit};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The open connections and their limit.
#[derive(Debug)]
pub(super) struct ConnectionLimiter {
    max_open: usize,
    registry: Mutex<ConnectionRegistry>,
    /// A connection was closed, or an open one became idle and can be evicted.
    slot_may_be_free: Notify,
}

/// The open connections, by order of arrival.
#[derive(Debug, Default)]
struct ConnectionRegistry {
    next_id: u64,
    open: BTreeMap<u64, OpenConnection>,
}

#[derive(Debug)]
struct OpenConnection {
    /// A request is in progress, or a stream is open.
    busy: bool,
    evict: CancellationToken,
}

/// Permission to keep one connection open; released when dropped.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    limiter: Arc<ConnectionLimiter>,
    id: u64,
    /// Cancelled when the connection must be closed for a new one.
    pub(super) evict: CancellationToken,
}

impl ConnectionLimiter {
    const MAX_CONNECTIONS: usize = 512;
    /// File descriptors left to the database, the polls and the log.
    const RESERVED_DESCRIPTORS: u64 = 48;

    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            max_open: Self::connection_limit(),
            registry: Mutex::default(),
            slot_may_be_free: Notify::new(),
        })
    }

    /// The number of connections that may be open at once.
    pub(super) fn connection_limit() -> usize {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let spare = descriptors.saturating_sub(Self::RESERVED_DESCRIPTORS).max(4);
        usize::try_from(spare).unwrap_or(usize::MAX).min(Self::MAX_CONNECTIONS)
    }

    /// A permit for a new connection; waits until one is closed, or an idle one can be evicted.
    pub(super) async fn acquire(self: &Arc<Self>) -> ConnectionPermit {
        loop {
            let slot_may_be_free = self.slot_may_be_free.notified();
            if let Some(permit) = self.try_acquire() {
                return permit;
            }
            slot_may_be_free.await;
        }
    }

    fn try_acquire(self: &Arc<Self>) -> Option<ConnectionPermit> {
        let mut registry = self.lock_registry();
        if registry.open.len() >= self.max_open {
            // An evicted connection counts until its descriptor is closed; evict one at a time.
            let eviction_pending =
                registry.open.values().any(|connection| connection.evict.is_cancelled());
            let idle = registry.open.values().find(|connection| !connection.busy);
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

    /// A poisoned lock is used as it is: no code under the lock panics.
    fn lock_registry(&self) -> std::sync::MutexGuard<'_, ConnectionRegistry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionPermit {
    /// Records whether a request is in progress on the connection.
    pub(super) fn set_busy(&self, busy: bool) {
        if let Some(connection) = self.limiter.lock_registry().open.get_mut(&self.id) {
            connection.busy = busy;
        }
        if !busy {
            self.limiter.slot_may_be_free.notify_one();
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.limiter.lock_registry().open.remove(&self.id);
        self.limiter.slot_may_be_free.notify_one();
    }
}
