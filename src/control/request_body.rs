//! Reads the JSON body of a request, within limits of size, time and memory.
//!
//! Used by the handlers of requests with a body.

use std::time::Duration;

use axum::body::Body;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;

use super::connection_limiter::ConnectionPermit;
use super::error::ApiError;

/// How long the body of a request may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
const INITIAL_CAPACITY: usize = 16 << 10;
/// A request occupies a multiple of its body: the text, the parsed request, and the response.
const MEMORY_PER_BYTE: usize = 3;

/// Reads a JSON body of at most `limit` bytes. Its memory is reserved as it arrives, until the response
/// is sent.
pub(super) async fn read_json<T: DeserializeOwned>(
    body: Body,
    limit: usize,
    connection: &ConnectionPermit,
) -> Result<T, ApiError> {
    let bytes = tokio::time::timeout(BODY_TIMEOUT, read_bytes(body, limit, connection))
        .await
        .map_err(|_| ApiError::request_timeout())??;
    connection.begin_handling().await;
    serde_json::from_slice(&bytes)
        .map_err(|error| ApiError::bad_request(format!("invalid request body: {error}")))
}

async fn read_bytes(
    body: Body,
    limit: usize,
    connection: &ConnectionPermit,
) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| {
            ApiError::bad_request(format!("the request body cannot be read: {error}"))
        })?;
        let size = bytes.len() + chunk.len();
        if size > limit {
            return Err(ApiError::payload_too_large(format!(
                "the request body is too large; at most {limit} bytes are allowed"
            )));
        }
        if size > bytes.capacity() {
            let capacity = size.next_power_of_two().max(INITIAL_CAPACITY).min(limit);
            connection.reserve(capacity * MEMORY_PER_BYTE).await?;
            bytes.reserve_exact(capacity - bytes.len());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
