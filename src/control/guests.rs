//! The open connections, capped. One that waits for nothing makes room for a newcomer, so that a
//! thousand clients that connect and say nothing keep nobody out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Resource, getrlimit};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// All connections that are open.
#[derive(Debug)]
pub(super) struct Guests {
    cap: usize,
    book: Mutex<Book>,
    left: Notify,
}

/// By the order of their arrival.
#[derive(Debug, Default)]
struct Book {
    next: u64,
    open: BTreeMap<u64, Guest>,
}

#[derive(Debug)]
struct Guest {
    /// A request is being answered, or a stream read.
    busy: bool,
    leave: CancellationToken,
}

/// A connection's place among the open ones; given up when dropped.
#[derive(Debug)]
pub(super) struct Admission {
    guests: Arc<Guests>,
    number: u64,
    /// Cancelled when it must make room.
    pub(super) leave: CancellationToken,
}

impl Guests {
    const CAP: usize = 512;
    /// For the database, for polls and for the log, whatever the limit on descriptors is.
    const DESCRIPTORS_IN_RESERVE: u64 = 48;

    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { cap: Self::cap(), book: Mutex::default(), left: Notify::new() })
    }

    /// Connections that may be open at once.
    pub(super) fn cap() -> usize {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let spare = descriptors.saturating_sub(Self::DESCRIPTORS_IN_RESERVE).max(4);
        usize::try_from(spare).unwrap_or(usize::MAX).min(Self::CAP)
    }

    /// A place for a newcomer; waits only while every guest is busy.
    pub(super) async fn admit(self: &Arc<Self>) -> Admission {
        loop {
            let left = self.left.notified();
            if let Some(admission) = self.try_admit() {
                return admission;
            }
            left.await;
        }
    }

    fn try_admit(self: &Arc<Self>) -> Option<Admission> {
        let mut book = self.book();
        if book.open.len() >= self.cap {
            // It counts until its descriptor is closed: the newcomer waits that long.
            let one_leaves = book.open.values().any(|guest| guest.leave.is_cancelled());
            let idle = book.open.values().find(|guest| !guest.busy);
            if let Some(guest) = idle.filter(|_| !one_leaves) {
                guest.leave.cancel();
            }
            return None;
        }
        let number = book.next;
        book.next += 1;
        let leave = CancellationToken::new();
        book.open.insert(number, Guest { busy: false, leave: leave.clone() });
        Some(Admission { guests: self.clone(), number, leave })
    }

    /// Nothing that could panic happens under this lock.
    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admission {
    /// Says whether something is being done for this guest.
    pub(super) fn set_busy(&self, busy: bool) {
        if let Some(guest) = self.guests.book().open.get_mut(&self.number) {
            guest.busy = busy;
        }
        if !busy {
            self.guests.left.notify_one();
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.guests.book().open.remove(&self.number);
        self.guests.left.notify_one();
    }
}
