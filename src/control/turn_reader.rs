//! Reads the database for one request, in turn with the other requests of its user.
//!
//! Used for lists and event streams. A list that waits for its turn may be interrupted.

use std::ops::Deref;
use std::sync::Arc;

use tokio::sync::SemaphorePermit;

use crate::store::Reader;

use super::connection_limiter::ConnectionPermit;

/// What a query is for: lists do not wait for event streams, which can be many.
#[derive(Debug, Clone, Copy)]
pub(super) enum ReadPurpose {
    List,
    Stream,
}

/// A reader for one request.
pub(super) struct TurnReader {
    reader: Reader,
    connection: Arc<ConnectionPermit>,
    purpose: ReadPurpose,
}

/// One query of a [`TurnReader`].
pub(super) struct ReadTurn<'a> {
    reader: &'a Reader,
    _permit: Option<SemaphorePermit<'a>>,
}

impl TurnReader {
    pub(super) fn new(
        reader: Reader,
        connection: Arc<ConnectionPermit>,
        purpose: ReadPurpose,
    ) -> Self {
        Self { reader, connection, purpose }
    }

    /// Waits until the user may query the database; to be dropped when the query has ended.
    pub(super) async fn turn(&self) -> ReadTurn<'_> {
        let turns = &self.connection.user_turns;
        let semaphore = match self.purpose {
            ReadPurpose::List => &turns.lists,
            ReadPurpose::Stream => &turns.streams,
        };
        if let Ok(permit) = semaphore.try_acquire() {
            return ReadTurn { reader: &self.reader, _permit: Some(permit) };
        }
        self.connection.begin_waiting_to_read();
        // The semaphore is never closed.
        let permit = semaphore.acquire().await.ok();
        self.connection.end_waiting_to_read();
        ReadTurn { reader: &self.reader, _permit: permit }
    }
}

impl Deref for ReadTurn<'_> {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        self.reader
    }
}
