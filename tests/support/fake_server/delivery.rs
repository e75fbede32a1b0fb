//! Writes a response to the connection, either normally or with one of the faults of the transport.
//!
//! Called by `server`. Invariant: a delivery that waits for the client to give up ends when the
//! client closes the connection, so no task is left behind.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

use super::http::{Connection, FakeHttpResponse};
use super::request_log::InFlightGuard;

const CHUNK_SIZE: usize = 16 * 1024;
static BLANKS: [u8; CHUNK_SIZE] = [b' '; CHUNK_SIZE];

/// How a response is sent; [`Fault`](super::Fault) describes each variant.
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
    /// Whether the client receives a status line.
    pub fn sends_status(self) -> bool {
        !matches!(self, Self::NoResponse | Self::Reset)
    }
}

/// Sends `response`. Returns whether the connection can serve another request.
pub async fn send(
    connection: &mut Connection,
    response: &FakeHttpResponse,
    delivery: Delivery,
    in_flight: InFlightGuard,
) -> io::Result<bool> {
    let body = &response.body;
    match delivery {
        Delivery::Normal => write_last_bytes(connection, &response.bytes(), in_flight).await?,
        Delivery::Delayed(wait) => {
            tokio::select! {
                () = sleep(wait) => write_last_bytes(connection, &response.bytes(), in_flight).await?,
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
            connection.write_all(&response.head_with_length(body.len() + 100)).await?;
            write_last_bytes(connection, body, in_flight).await?;
            return Ok(false);
        }
        Delivery::SlowHeaders(pause) => {
            write_slowly(connection, &response.head_with_length(body.len()), pause).await?;
            write_last_bytes(connection, body, in_flight).await?;
        }
        Delivery::SlowBody(pause) => {
            connection.write_all(&response.head_with_length(body.len())).await?;
            let (beginning, last_byte) = body.split_at(body.len().saturating_sub(1));
            write_slowly(connection, beginning, pause).await?;
            write_last_bytes(connection, last_byte, in_flight).await?;
        }
        Delivery::HugeBody(size) => {
            connection.write_all(&response.head_with_length(size)).await?;
            write_blank_body(connection, size, in_flight).await?;
        }
        Delivery::EndlessChunks => {
            connection.write_all(&response.head("transfer-encoding: chunked")).await?;
            write_endless_chunks(connection).await?;
        }
    }
    Ok(true)
}

/// Ends the request's in-flight count and writes the last bytes of the response, in this order:
/// the client may send its next request as soon as it has these bytes.
async fn write_last_bytes(
    connection: &mut Connection,
    bytes: &[u8],
    in_flight: InFlightGuard,
) -> io::Result<()> {
    drop(in_flight);
    connection.write_all(bytes).await
}

/// Discards what the client sends until it closes the connection.
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

/// Writes chunks until the client is gone, slowly enough that a client without a size limit does
/// not exhaust its memory within a few seconds.
async fn write_endless_chunks(connection: &mut Connection) -> io::Result<()> {
    let mut chunk = format!("{CHUNK_SIZE:x}\r\n").into_bytes();
    chunk.extend(BLANKS);
    chunk.extend(b"\r\n");
    loop {
        connection.write_all(&chunk).await?;
        sleep(Duration::from_millis(1)).await;
    }
}
