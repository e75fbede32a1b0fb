//! How many requests and queries one user may have running, so that a user with many connections does not
//! delay others.
//!
//! The connection limiter keeps one [`UserTurns`] for each user that is connected.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::request_memory::RequestMemory;

/// What one user may have running.
#[derive(Debug)]
pub(super) struct UserTurns {
    /// Requests that are handled.
    pub(super) handled: Arc<Semaphore>,
    /// Memory for requests, including those that wait for that of all users.
    pub(super) memory: RequestMemory,
    // The queries are together fewer than the connections of the reader.
    pub(super) lists: Semaphore,
    pub(super) streams: Semaphore,
}

impl UserTurns {
    pub(super) fn new(max_handled: usize) -> Self {
        Self {
            handled: Arc::new(Semaphore::new(max_handled)),
            memory: RequestMemory::new(),
            lists: Semaphore::new(2),
            streams: Semaphore::new(1),
        }
    }
}
