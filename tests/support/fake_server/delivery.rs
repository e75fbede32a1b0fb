//! How an answer goes out on the wire: well, or in one of many bad ways.
//!
//! Called by `server` with the connection in hand. Invariant: what waits for the client to give
//! up ends when the client closes the connection, so nothing is left behind.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

use super::http::{Connection, FakeHttpResponse};
use super::request_log::InFlightGuard;

const CHUNK_SIZE: usize = 16 * 1024;
static BLANKS: [u8; CHUNK_SIZE] = [b' '; CHUNK_SIZE];

/// The way in which an answer is sent; `Fault` describes them.
#[derive(Clone, Copy, Debug)]
pub enum Delivery {
    Normal,
    Delayed(Duration),
    NoResponse,
    Reset,
    TruncatedBody,
    SlowHeaders(Duration),
    SlowBody(Duration),
    HugeBody(usize),
    EndlessChunks,
}

impl Delivery {
    /// Whether the client gets a status at all.
    pub fn sends_status(self) -> bool {
        !matches!(self, Self::NoResponse | Self::Reset)
    }
}

/// Sends `answer`; true if the connection can serve another request.
pub async fn send(
    connection: &mut Connection,
    answer: &FakeHttpResponse,
    delivery: Delivery,
    in_flight: InFlightGuard,
) -> io::Result<bool> {
    let body = &answer.body;
    match delivery {
        Delivery::Normal => write_last_bytes(connection, &answer.bytes(), in_flight).await?,
        Delivery::Delayed(wait) => {
            tokio::select! {
                () = sleep(wait) => write_last_bytes(connection, &answer.bytes(), in_flight).await?,
                () = wait_for_close(connection) => return Ok(false),
            }
        }
        Delivery::NoResponse => {
            wait_for_close(connection).await;
            return Ok(false);
        }
        Delivery::Reset => {
            drop(in_flight);
            connection.get_ref().set_zero_linger()?;
            return Ok(false);
        }
        Delivery::TruncatedBody => {
            connection.write_all(&answer.head_with_length(body.len() + 100)).await?;
            write_last_bytes(connection, body, in_flight).await?;
            return Ok(false);
        }
        Delivery::SlowHeaders(pause) => {
            write_slowly(connection, &answer.head_with_length(body.len()), pause).await?;
            write_last_bytes(connection, body, in_flight).await?;
        }
        Delivery::SlowBody(pause) => {
            connection.write_all(&answer.head_with_length(body.len())).await?;
            let (most, end) = body.split_at(body.len().saturating_sub(1));
            write_slowly(connection, most, pause).await?;
            write_last_bytes(connection, end, in_flight).await?;
        }
        Delivery::HugeBody(size) => {
            connection.write_all(&answer.head_with_length(size)).await?;
            write_blank_body(connection, size, in_flight).await?;
        }
        Delivery::EndlessChunks => {
            connection.write_all(&answer.head("transfer-encoding: chunked")).await?;
            write_endless_chunks(connection).await?;
        }
    }
    Ok(true)
}

/// Writes the end of an answer; the request no longer waits.
async fn write_last_bytes(
    connection: &mut Connection,
    bytes: &[u8],
    in_flight: InFlightGuard,
) -> io::Result<()> {
    drop(in_flight);
    connection.write_all(bytes).await
}

/// Waits until the client closes the connection.
async fn wait_for_close(connection: &mut Connection) {
    let mut ignored = [0; 256];
    while let Ok(1..) = connection.read(&mut ignored).await {}
}

async fn write_slowly(
    connection: &mut Connection,
    bytes: &[u8],
    pause: Duration,
) -> io::Result<()> {
    for byte in bytes {
        connection.write_all(&[*byte]).await?;
        sleep(pause).await;
    }
    Ok(())
}

async fn write_blank_body(
    connection: &mut Connection,
    size: usize,
    in_flight: InFlightGuard,
) -> io::Result<()> {
    let mut left = size;
    while left > CHUNK_SIZE {
        connection.write_all(&BLANKS).await?;
        left -= CHUNK_SIZE;
    }
    write_last_bytes(connection, &BLANKS[..left], in_flight).await
}

/// Chunks until the client is gone, at a pace that spares its memory for some seconds.
async fn write_endless_chunks(connection: &mut Connection) -> io::Result<()> {
    let mut chunk = format!("{CHUNK_SIZE:x}\r\n").into_bytes();
    chunk.extend(BLANKS);
    chunk.extend(b"\r\n");
    loop {
        connection.write_all(&chunk).await?;
        sleep(Duration::from_millis(1)).await;
    }
}
