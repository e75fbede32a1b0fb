//! Lets the queries of a user wait for each other, so that a user with many connections does not delay
//! the queries of others.
//!
//! The limiter keeps one [`ReadTurns`] for each user that is connected; lists and event streams read the
//! database through a [`TurnReader`].

use std::ops::Deref;
use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::store::Reader;

/// The queries that one user may have running. Together fewer than the connections of the [`Reader`].
#[derive(Debug)]
pub(super) struct ReadTurns {
    lists: Semaphore,
    streams: Semaphore,
}

impl Default for ReadTurns {
    fn default() -> Self {
        Self { lists: Semaphore::new(2), streams: Semaphore::new(1) }
    }
}

/// What a query is for: lists do not wait for event streams, which can be many.
#[derive(Debug, Clone, Copy)]
pub(super) enum ReadPurpose {
    List,
    Stream,
}

/// A reader for one request.
pub(super) struct TurnReader {
    reader: Reader,
    turns: Arc<ReadTurns>,
    purpose: ReadPurpose,
}

/// One query of a [`TurnReader`].
pub(super) struct ReadTurn<'a> {
    reader: &'a Reader,
    _permit: Option<SemaphorePermit<'a>>,
}

impl TurnReader {
    pub(super) fn new(reader: Reader, turns: Arc<ReadTurns>, purpose: ReadPurpose) -> Self {
        Self { reader, turns, purpose }
    }

    /// Waits until the user may query the database; to be dropped when the query has ended.
    pub(super) async fn turn(&self) -> ReadTurn<'_> {
        let semaphore = match self.purpose {
            ReadPurpose::List => &self.turns.lists,
            ReadPurpose::Stream => &self.turns.streams,
        };
        // The semaphore is never closed.
        ReadTurn { reader: &self.reader, _permit: semaphore.acquire().await.ok() }
    }
}

impl Deref for ReadTurn<'_> {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        self.reader
    }
}
