//! `GET /v1/backup`: a consistent copy of the database, sent as one file.
//!
//! The copy is complete before the response begins, and its length is in the header, so that the client
//! notices if a part is missing. Invariant: the copy occupies the disk only until a deadline, however
//! slowly the client reads.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::job::AuditOutcome;
use crate::store::{ReadError, Snapshot};

use super::app_state::AppState;
use super::audit::{CommandAudit, run_to_end};
use super::connection_limiter::ConnectionPermit;
use super::error::ApiError;

const CHUNK_BYTES: usize = 64 << 10;
/// A client has this time, and one second more for each [`MIN_BYTES_PER_SECOND`].
const MIN_SENDING_TIME: Duration = Duration::from_mins(1);
/// Slower than any disk to which a backup is written.
const MIN_BYTES_PER_SECOND: u64 = 1 << 20;

pub(super) async fn backup(
    State(app): State<AppState>,
    Extension(connection): Extension<Arc<ConnectionPermit>>,
    audit: CommandAudit,
) -> Result<Response, ApiError> {
    audit.require(connection.begin_on_demand()).await?;
    let copy = copy_and_record(app.clone(), audit);
    let (snapshot, file, length) = run_to_end(&app, copy).await??;
    let (chunks_tx, chunks_rx) = mpsc::channel(1);
    tokio::spawn(send_snapshot(snapshot, file, max_sending_time(length), chunks_tx));
    let headers = [
        (header::CONTENT_TYPE, "application/vnd.sqlite3".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
    ];
    let chunks =
        stream::unfold(chunks_rx, async |mut chunks_rx| Some((chunks_rx.recv().await?, chunks_rx)));
    Ok((headers, Body::from_stream(chunks)).into_response())
}

async fn copy_and_record(
    app: AppState,
    audit: CommandAudit,
) -> Result<(Snapshot, File, u64), ApiError> {
    let copy = copy_database(&app).await.map_err(ApiError::from);
    let (snapshot, file, length) = audit.require(copy).await?;
    audit.record(AuditOutcome::Done, &format!("a copy of {length} bytes")).await;
    Ok((snapshot, file, length))
}

/// A copy of the database, with a file to read it and its length in bytes.
async fn copy_database(app: &AppState) -> Result<(Snapshot, File, u64), ReadError> {
    let snapshot = app.reader.snapshot().await?;
    let database_error = |error: io::Error| ReadError::Database(error.to_string());
    let length = snapshot.file.metadata().map_err(database_error)?.len();
    let file = File::from_std(snapshot.file.try_clone().map_err(database_error)?);
    Ok((snapshot, file, length))
}

fn max_sending_time(length: u64) -> Duration {
    MIN_SENDING_TIME + Duration::from_secs(length / MIN_BYTES_PER_SECOND)
}

/// Sends the content until its end, an error, the end of the receiver, or the deadline; then drops the
/// snapshot. To be run as a task of its own: nobody asks for the next chunk while a client reads nothing.
async fn send_snapshot<S: Send + 'static>(
    snapshot: S,
    content: impl AsyncRead + Unpin,
    max_time: Duration,
    chunks: mpsc::Sender<io::Result<Bytes>>,
) {
    if timeout(max_time, send_chunks(content, &chunks)).await.is_err() {
        tracing::warn!("a backup was interrupted because its client read it too slowly");
    }
    // The end of a large file without a name takes long.
    let _ = spawn_blocking(move || drop(snapshot)).await;
}

async fn send_chunks(
    mut content: impl AsyncRead + Unpin,
    chunks: &mpsc::Sender<io::Result<Bytes>>,
) {
    loop {
        let mut chunk = vec![0; CHUNK_BYTES];
        let (item, is_end) = match content.read(&mut chunk).await {
            Ok(0) => return,
            Ok(count) => {
                chunk.truncate(count);
                (Ok(Bytes::from(chunk)), false)
            }
            // The receiver knows the length, and that a part is missing.
            Err(error) => (Err(error), true),
        };
        if chunks.send(item).await.is_err() || is_end {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_snapshot_is_dropped_at_the_deadline_although_its_client_reads_nothing() {
        let (chunks_tx, mut chunks_rx) = mpsc::channel(1);
        let snapshot = Arc::new(());
        let content = &vec![7; 10 * CHUNK_BYTES][..];
        send_snapshot(snapshot.clone(), content, max_sending_time(1), chunks_tx).await;
        assert_eq!(Arc::strong_count(&snapshot), 1);
        assert!(chunks_rx.recv().await.is_some_and(|chunk| chunk.is_ok()));
        assert!(chunks_rx.recv().await.is_none(), "the rest is missing");
    }
}
