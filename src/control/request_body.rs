//! Reads the JSON body of a request, within limits of size, time and memory.
//!
//! Used by the handlers of requests with a body. While a body arrives it is kept in pieces of one size: a buffer
//! that grows by copying would occupy several times its size, and the allocator would keep most of it.

use std::time::Duration;

use axum::body::Body;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;

use super::connection_limiter::ConnectionPermit;
use super::error::ApiError;

/// How long the body of a request may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
const PIECE_BYTES: usize = 16 << 10;

/// Reads a JSON body of at most `limit` bytes. The memory of the request is reserved as the body
/// arrives, until the response is sent.
pub(super) async fn read_json<T: DeserializeOwned>(
    body: Body,
    limit: usize,
    connection: &ConnectionPermit,
) -> Result<T, ApiError> {
    let text = tokio::time::timeout(BODY_TIMEOUT, read_text(body, limit, connection))
        .await
        .map_err(|_| ApiError::request_timeout())??;
    connection.begin_handling().await;
    text.parse()
}

async fn read_text(
    body: Body,
    limit: usize,
    connection: &ConnectionPermit,
) -> Result<BodyText, ApiError> {
    let mut text = BodyText::default();
    let mut reserved = 0;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| {
            ApiError::bad_request(format!("the request body cannot be read: {error}"))
        })?;
        text.push(&chunk);
        if text.bytes > limit {
            return Err(ApiError::payload_too_large(format!(
                "the request body is too large; at most {limit} bytes are allowed"
            )));
        }
        let needed = text.request_memory();
        if needed > BodyText::MAX_REQUEST_MEMORY {
            return Err(ApiError::payload_too_large(
                "the request body has too many names and values; send fewer jobs in one request",
            ));
        }
        if needed > reserved {
            reserved = needed.next_multiple_of(BodyText::RESERVATION_STEP);
            connection.reserve(reserved).await?;
        }
    }
    Ok(text)
}

/// The text of a body, of which a part may have arrived.
#[derive(Debug, Default)]
struct BodyText {
    pieces: Vec<Vec<u8>>,
    bytes: usize,
    quotes: usize,
}

impl BodyText {
    /// A thousand jobs, each with all labels that it may have, need less.
    const MAX_REQUEST_MEMORY: usize = 18 << 20;
    const RESERVATION_STEP: usize = 64 << 10;
    /// The parsed request, which replaces the text, the command to the scheduler, and the response.
    const MEMORY_PER_BYTE: usize = 3;
    /// A short string occupies more memory than text: its entry in a collection and its allocation, in
    /// the parsed request and in the command to the scheduler.
    const MEMORY_PER_QUOTE: usize = 64;

    /// Copies a chunk, which would keep the whole buffer of its connection.
    fn push(&mut self, mut chunk: &[u8]) {
        self.bytes += chunk.len();
        self.quotes += chunk.iter().map(|byte| usize::from(*byte == b'"')).sum::<usize>();
        while !chunk.is_empty() {
            if self.pieces.last().is_none_or(|last| last.len() == PIECE_BYTES) {
                // Most requests are short.
                let is_first = self.pieces.is_empty();
                let capacity = if is_first { chunk.len().min(PIECE_BYTES) } else { PIECE_BYTES };
                self.pieces.push(Vec::with_capacity(capacity));
            }
            let Some(last) = self.pieces.last_mut() else { return };
            let (fitting, rest) = chunk.split_at(chunk.len().min(PIECE_BYTES - last.len()));
            last.extend_from_slice(fitting);
            chunk = rest;
        }
    }

    /// How much memory the request occupies at most, with its response.
    fn request_memory(&self) -> usize {
        self.bytes * Self::MEMORY_PER_BYTE + self.quotes * Self::MEMORY_PER_QUOTE
    }

    fn parse<T: DeserializeOwned>(self) -> Result<T, ApiError> {
        let text = self.pieces.concat();
        drop(self.pieces);
        serde_json::from_slice(&text)
            .map_err(|error| ApiError::bad_request(format!("invalid request body: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_arrives_in_any_chunks_is_parsed_as_a_whole() {
        let json = serde_json::to_vec(&vec!["text with \"quotes\""; 5000]).expect("JSON");
        for chunk_bytes in [1, 100, PIECE_BYTES - 1, PIECE_BYTES, json.len()] {
            let mut text = BodyText::default();
            json.chunks(chunk_bytes).for_each(|chunk| text.push(chunk));
            let capacity: usize = text.pieces.iter().map(Vec::capacity).sum();
            assert!(capacity <= BodyText::MEMORY_PER_BYTE * json.len(), "{capacity}");
            assert_eq!(text.quotes, 5000 * 4);
            let parsed: Vec<String> = text.parse().expect("the same JSON");
            assert_eq!(parsed, vec!["text with \"quotes\""; 5000]);
        }
    }

    #[test]
    fn the_largest_request_that_is_accepted_is_within_the_limit_of_memory() {
        // A thousand jobs with all fields and sixteen labels each, in a body as long as it may be.
        let (quotes, bytes) = (1000 * (18 + 16 * 4), 4 << 20);
        let text = BodyText { pieces: Vec::new(), bytes, quotes };
        assert!(text.request_memory() < BodyText::MAX_REQUEST_MEMORY);
    }
}
