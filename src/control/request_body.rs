//! Reads the JSON body of a request, within limits of size, time and memory.
//!
//! Used by the handlers of requests with a body. Invariant: of a body that is not small, no byte is read before
//! the memory for the whole request is reserved, so that requests that wait occupy none. A small body is
//! read first, so that it holds no memory back from others while it does not arrive.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;

use super::connection_limiter::ConnectionPermit;
use super::error::ApiError;
use super::request_memory::RequestMemory;

/// How long the body of a request may take to arrive, from when there is memory for it.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads a JSON body of at most `limit` bytes. The memory of the request is reserved until the response
/// is sent.
pub(super) async fn read_json<T: DeserializeOwned>(
    body: Body,
    limit: usize,
    connection: &ConnectionPermit,
) -> Result<T, ApiError> {
    // A body that is sent in chunks does not tell its length.
    let length = body
        .size_hint()
        .upper()
        .map_or(limit, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    if length > limit {
        return Err(body_too_large(limit));
    }
    let memory = estimated_memory(length);
    let read_in_time = async || {
        let text = tokio::time::timeout(BODY_TIMEOUT, read_text(body, length, limit)).await;
        text.map_err(|_| ApiError::request_timeout())?
    };
    let text = if RequestMemory::is_small(memory) {
        let text = read_in_time().await?;
        connection.reserve_memory(memory).await?;
        text
    } else {
        connection.reserve_memory(memory).await?;
        read_in_time().await?
    };
    connection.begin_handling().await;
    serde_json::from_slice(&text)
        .map_err(|error| ApiError::bad_request(format!("invalid request body: {error}")))
}

async fn read_text(body: Body, length: usize, limit: usize) -> Result<Vec<u8>, ApiError> {
    let mut text = Vec::with_capacity(length);
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| {
            ApiError::bad_request(format!("the request body cannot be read: {error}"))
        })?;
        if text.len() + chunk.len() > limit {
            return Err(body_too_large(limit));
        }
        text.extend_from_slice(&chunk);
    }
    Ok(text)
}

fn body_too_large(limit: usize) -> ApiError {
    ApiError::payload_too_large(format!(
        "the request body is too large; at most {limit} bytes are allowed"
    ))
}

/// How much memory a request with a body of `length` bytes needs at most, with its response: its strings
/// as text, parsed, and in the batch; and what its labels need beside their text, each an entry of
/// a map and two allocations, parsed and in the batch. The number of labels is limited.
fn estimated_memory(length: usize) -> usize {
    const MEMORY_PER_BYTE: usize = 3;
    /// Of labels as short as they can be.
    const LABEL_MEMORY_PER_BYTE: usize = 38;
    const MAX_LABEL_MEMORY: usize = 10 << 20;
    length * MEMORY_PER_BYTE + (length * LABEL_MEMORY_PER_BYTE).min(MAX_LABEL_MEMORY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::AddRequest;
    use crate::clock::Clock;
    use crate::control::connection_limiter::ConnectionLimiter;
    use crate::control::peer::{Access, Peer};

    #[test]
    fn the_memory_of_a_request_of_the_greatest_length_can_be_reserved() {
        assert_eq!(estimated_memory(4 << 20), RequestMemory::MAX_BYTES);
    }

    #[tokio::test(start_paused = true)]
    async fn fault_68_waiting_for_memory_is_not_waiting_for_the_body() {
        let limiter = ConnectionLimiter::new(Clock::start());
        let peer = Peer { uid: Some(1000), pid: None, access: Access::Full };
        let (first, second) = (limiter.acquire(peer).await, limiter.acquire(peer).await);
        first.reserve_memory(RequestMemory::MAX_BYTES).await.expect("all memory");
        first.begin_handling().await;
        let body = || Body::from(format!("{{\"jobs\":[]}}{}", " ".repeat(1 << 20)));
        let refused = read_json::<AddRequest>(body(), 4 << 20, &second).await;
        let refused = refused.expect_err("no memory is released");
        assert!(refused.detail().contains("too many large requests"), "{refused:?}");
        let (read, ()) = tokio::join!(read_json::<AddRequest>(body(), 4 << 20, &second), async {
            tokio::time::sleep(BODY_TIMEOUT * 2).await;
            drop(first);
        });
        assert!(read.is_ok_and(|request| request.jobs.is_empty()));
    }
}
