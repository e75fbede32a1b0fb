//! Limits the connections, the requests that wait, and the memory of all requests together.
//!
//! [`serve`](super::serve) acquires a permit for each connection that it accepts, before it accepts the
//! next one; handlers report by the permit what the connection does. [`ConnectionRegistry`] decides
//! which connection gives way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;

use super::activity::Activity;
use super::connection_registry::{ConnectionRegistry, PeerUid};
use super::error::ApiError;
use super::peer::Peer;
use super::request_memory::{RequestMemory, ReservedMemory};
use super::user_turns::UserTurns;

/// The open connections and their limits.
#[derive(Debug)]
pub(super) struct ConnectionLimiter {
    clock: Clock,
    registry: Mutex<ConnectionRegistry>,
    user_turns: Mutex<HashMap<PeerUid, Weak<UserTurns>>>,
    /// Of all users; [`UserTurns`] has that of each.
    memory: RequestMemory,
    /// A place may be free, or a connection may now be closed for another.
    changed: Notify,
}

/// Permission to keep one connection open; released when dropped.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    limiter: Arc<ConnectionLimiter>,
    id: u64,
    pub(super) peer: Peer,
    /// Cancelled when the connection must be closed for another one.
    pub(super) close: CancellationToken,
    /// Shared by the connections of a user.
    pub(super) user_turns: Arc<UserTurns>,
    /// Held while a request is handled.
    turn: Mutex<Option<OwnedSemaphorePermit>>,
    /// Held until the response is sent: the user's, and that of all users.
    memory: Mutex<Option<[ReservedMemory; 2]>>,
}

impl ConnectionLimiter {
    const MAX_CONNECTIONS: usize = 512;
    /// File descriptors left to the database, the polls, the log and connections that are being closed.
    const RESERVED_DESCRIPTORS: u64 = 48;
    /// A connection can be closed for another after some time, without any event.
    const RETRY_INTERVAL: Duration = Duration::from_millis(100);
    /// How long a request waits for memory; with all else that it waits for, less than the minute after
    /// which `jobtrack` gives up.
    const MEMORY_TIMEOUT: Duration = Duration::from_secs(30);

    pub(super) fn new(clock: Clock) -> Arc<Self> {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let spare = descriptors.saturating_sub(Self::RESERVED_DESCRIPTORS).max(4);
        let max_open = usize::try_from(spare).unwrap_or(usize::MAX).min(Self::MAX_CONNECTIONS);
        Arc::new(Self {
            clock,
            registry: Mutex::new(ConnectionRegistry::new(max_open)),
            user_turns: Mutex::default(),
            memory: RequestMemory::new(),
            changed: Notify::new(),
        })
    }

    /// A permit for a new connection; waits until one is closed, or one can be closed for it.
    pub(super) async fn acquire(self: &Arc<Self>, peer: Peer) -> ConnectionPermit {
        loop {
            let changed = self.changed.notified();
            let admitted = self.registry().admit(peer.uid, self.clock.monotonic_now());
            if let Some((id, close)) = admitted {
                let (limiter, user_turns) = (self.clone(), self.user_turns(peer.uid));
                let (turn, memory) = Default::default();
                return ConnectionPermit { limiter, id, peer, close, user_turns, turn, memory };
            }
            let _ = timeout(Self::RETRY_INTERVAL, changed).await;
        }
    }

    /// Closes a connection that can be interrupted, to release its file descriptor.
    pub(super) fn close_one(&self) {
        let _ = self.registry().close_one(self.clock.monotonic_now());
    }

    fn user_turns(&self, uid: PeerUid) -> Arc<UserTurns> {
        let mut all = self.user_turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turns) = all.get(&uid).and_then(Weak::upgrade) {
            return turns;
        }
        all.retain(|_, turns| turns.strong_count() > 0);
        let turns = Arc::new(UserTurns::new(self.registry().max_handled_per_user()));
        all.insert(uid, Arc::downgrade(&turns));
        turns
    }

    /// A poisoned lock is used as it is: no code under the lock panics.
    fn registry(&self) -> MutexGuard<'_, ConnectionRegistry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionPermit {
    pub(super) fn set_activity(&self, activity: Activity) {
        self.limiter.registry().set_activity(self.id, activity);
        // The turn is over, whatever comes next.
        drop(self.turn().take());
        if activity == Activity::Idle {
            drop(self.memory().take());
        }
        self.limiter.changed.notify_waiters();
    }

    /// A request has arrived as a whole; waits until it is its turn among the requests of the user.
    pub(super) async fn begin_handling(&self) {
        self.set_activity(Activity::WaitingForTurn);
        // The semaphore is never closed.
        let turn = self.user_turns.handled.clone().acquire_owned().await.ok();
        self.set_activity(Activity::Handling);
        *self.turn() = turn;
    }

    /// The request only reads, and waits for its turn to query the database.
    pub(super) fn begin_waiting_to_read(&self) {
        self.replace_activity(Activity::Handling, Activity::WaitingForTurn);
    }

    /// It is the turn of a request that has waited to read.
    pub(super) fn end_waiting_to_read(&self) {
        self.replace_activity(Activity::WaitingForTurn, Activity::Handling);
    }

    fn replace_activity(&self, from: Activity, to: Activity) {
        if self.limiter.registry().activity(self.id) == Some(from) {
            self.set_activity(to);
        }
    }

    fn turn(&self) -> MutexGuard<'_, Option<OwnedSemaphorePermit>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn memory(&self) -> MutexGuard<'_, Option<[ReservedMemory; 2]>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The response begins.
    pub(super) fn begin_response(&self) {
        let since = self.limiter.clock.monotonic_now();
        self.set_activity(Activity::SendingResponse { since });
    }

    /// The request may take as long as a provider does.
    ///
    /// # Errors
    /// If too many such requests are in progress.
    pub(super) fn begin_on_demand(&self) -> Result<(), ApiError> {
        let has_place = self.limiter.registry().begin_on_demand(self.id);
        drop(self.turn().take());
        has_place.then_some(()).ok_or_else(ApiError::too_many_waiters)
    }

    /// The request follows jobs: it is an event stream, or waits for the end of a job.
    ///
    /// # Errors
    /// If too many such requests are in progress.
    pub(super) fn begin_following(&self) -> Result<(), ApiError> {
        let has_place = self.limiter.registry().begin_following(self.id);
        drop(self.turn().take());
        has_place.then_some(()).ok_or_else(ApiError::too_many_waiters)
    }

    /// Reserves memory for the request and its response; waits until it is free. Requests that keep
    /// memory without arriving are closed meanwhile.
    ///
    /// # Errors
    /// If the memory is not free in time.
    pub(super) async fn reserve_memory(&self, bytes: usize) -> Result<(), ApiError> {
        let limiter = &self.limiter;
        let reserving = timeout(ConnectionLimiter::MEMORY_TIMEOUT, async {
            let of_user = self.user_turns.memory.reserve(bytes).await;
            [of_user, limiter.memory.reserve(bytes).await]
        });
        let mut reserving = std::pin::pin!(reserving);
        let reserved = loop {
            tokio::select! {
                reserved = reserving.as_mut() => break reserved,
                () = sleep(ConnectionLimiter::RETRY_INTERVAL) => {
                    limiter.registry().close_stalled(limiter.clock.monotonic_now());
                }
            }
        };
        *self.memory() = Some(reserved.map_err(|_| ApiError::out_of_memory())?);
        limiter.registry().set_memory_reserved(self.id, limiter.clock.monotonic_now());
        Ok(())
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.limiter.registry().remove(self.id);
        self.limiter.changed.notify_waiters();
    }
}
