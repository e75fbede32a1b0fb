//! The memory that the requests to the control socket may occupy together.
//!
//! A request reserves all that it needs at once, so that no two requests wait for each other. It
//! queues twice in order of arrival: among the requests of its user, then among those of all users, of which
//! one user has no more in the queue than fits at once. Large requests cannot delay small ones.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Memory that can be reserved: of one user, or of all.
#[derive(Debug)]
pub(super) struct RequestMemory {
    // The permits are KiB.
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// Memory that is reserved until this is dropped; `None` if it was refused, which cannot happen.
pub(super) type ReservedMemory = Option<OwnedSemaphorePermit>;

impl RequestMemory {
    /// The most that one request can reserve, and all large requests together.
    pub(super) const MAX_BYTES: usize = 22 << 20;
    const MAX_SMALL_REQUESTS_BYTES: usize = 2 << 20;
    const MAX_SMALL_REQUEST_BYTES: usize = 256 << 10;

    pub(super) fn new() -> Self {
        let pool = |bytes: usize| Arc::new(Semaphore::new(bytes >> 10));
        Self { small: pool(Self::MAX_SMALL_REQUESTS_BYTES), large: pool(Self::MAX_BYTES) }
    }

    /// Whether a request that needs `bytes` is small.
    pub(super) fn is_small(bytes: usize) -> bool {
        bytes <= Self::MAX_SMALL_REQUEST_BYTES
    }

    /// Waits until `bytes`, at most [`Self::MAX_BYTES`], are free. Cancel-safe; a later call queues anew.
    pub(super) async fn reserve(&self, bytes: usize) -> ReservedMemory {
        let pool = if Self::is_small(bytes) { &self.small } else { &self.large };
        let kib = bytes.min(Self::MAX_BYTES).div_ceil(1 << 10);
        // The semaphore is never closed.
        pool.clone().acquire_many_owned(u32::try_from(kib).unwrap_or(u32::MAX)).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn large_requests_wait_for_each_other_in_order_and_small_ones_do_not_wait() {
        let memory = RequestMemory::new();
        let whole = RequestMemory::MAX_BYTES;
        let first = memory.reserve(whole).now_or_never().expect("memory");
        let mut second = Box::pin(memory.reserve(whole));
        let mut third = Box::pin(memory.reserve(whole / 2));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none());
        let small = memory.reserve(1).now_or_never();
        assert!(small.is_some(), "large requests leave memory for small ones");
        drop(first);
        assert!(third.as_mut().now_or_never().is_none(), "the second comes first");
        drop(second.now_or_never().expect("memory"));
        assert!(third.now_or_never().is_some());
    }
}
