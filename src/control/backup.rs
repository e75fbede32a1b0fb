//! `GET /v1/backup`: a consistent copy of the database, sent as one file.
//!
//! The copy is complete before the response begins, and its length is in the header, so that the client
//! notices if a part is missing.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use crate::store::ReadError;

use super::app_state::AppState;
use super::error::ApiError;

const CHUNK_BYTES: usize = 64 << 10;

pub(super) async fn backup(State(app): State<AppState>) -> Result<Response, ApiError> {
    let file = app.reader.snapshot().await?;
    let length = file.metadata().map_err(|error| ReadError::Database(error.to_string()))?.len();
    let chunks = stream::try_unfold(File::from_std(file), async |mut file| {
        let mut chunk = vec![0; CHUNK_BYTES];
        let count = file.read(&mut chunk).await?;
        chunk.truncate(count);
        std::io::Result::Ok((count > 0).then(|| (Bytes::from(chunk), file)))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/vnd.sqlite3".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
    ];
    Ok((headers, Body::from_stream(chunks)).into_response())
}
