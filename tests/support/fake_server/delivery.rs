//! How an answer goes out on the wire: well, or in one of many bad ways.
//!
//! Called by `server` with the connection in hand. Invariant: what waits for the client to give
//! up ends when the client closes the connection, so nothing is left behind.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

use super::http::{Answer, Connection};
use super::request_log::Busy;

const CHUNK: usize = 16 * 1024;
static BLANKS: [u8; CHUNK] = [b' '; CHUNK];

/// The way in which an answer is sent; `Fault` describes them.
#[derive(Clone, Copy, Debug)]
pub enum Manner {
    Well,
    Late(Duration),
    Never,
    Reset,
    CutBody,
    SlowHeaders(Duration),
    SlowBody(Duration),
    HugeBody(usize),
    EndlessChunks,
}

impl Manner {
    /// Whether the client gets a status at all.
    pub fn tells_status(self) -> bool {
        !matches!(self, Self::Never | Self::Reset)
    }
}

/// Sends `answer`; true if the connection can serve another request.
pub async fn send(
    connection: &mut Connection,
    answer: &Answer,
    manner: Manner,
    busy: Busy,
) -> io::Result<bool> {
    let body = &answer.body;
    match manner {
        Manner::Well => last(connection, &answer.bytes(), busy).await?,
        Manner::Late(wait) => {
            tokio::select! {
                () = sleep(wait) => last(connection, &answer.bytes(), busy).await?,
                () = gone(connection) => return Ok(false),
            }
        }
        Manner::Never => {
            gone(connection).await;
            return Ok(false);
        }
        Manner::Reset => {
            drop(busy);
            connection.get_ref().set_zero_linger()?;
            return Ok(false);
        }
        Manner::CutBody => {
            connection.write_all(&answer.head_telling(body.len() + 100)).await?;
            last(connection, body, busy).await?;
            return Ok(false);
        }
        Manner::SlowHeaders(pause) => {
            trickle(connection, &answer.head_telling(body.len()), pause).await?;
            last(connection, body, busy).await?;
        }
        Manner::SlowBody(pause) => {
            connection.write_all(&answer.head_telling(body.len())).await?;
            let (most, end) = body.split_at(body.len().saturating_sub(1));
            trickle(connection, most, pause).await?;
            last(connection, end, busy).await?;
        }
        Manner::HugeBody(size) => {
            connection.write_all(&answer.head_telling(size)).await?;
            last_blanks(connection, size, busy).await?;
        }
        Manner::EndlessChunks => {
            connection.write_all(&answer.head("transfer-encoding: chunked")).await?;
            endless(connection).await?;
        }
    }
    Ok(true)
}

/// Writes the end of an answer; the request no longer waits.
async fn last(connection: &mut Connection, bytes: &[u8], busy: Busy) -> io::Result<()> {
    drop(busy);
    connection.write_all(bytes).await
}

/// Waits until the client closes the connection.
async fn gone(connection: &mut Connection) {
    let mut ignored = [0; 256];
    while let Ok(1..) = connection.read(&mut ignored).await {}
}

async fn trickle(connection: &mut Connection, bytes: &[u8], pause: Duration) -> io::Result<()> {
    for byte in bytes {
        connection.write_all(&[*byte]).await?;
        sleep(pause).await;
    }
    Ok(())
}

async fn last_blanks(connection: &mut Connection, size: usize, busy: Busy) -> io::Result<()> {
    let mut left = size;
    while left > CHUNK {
        connection.write_all(&BLANKS).await?;
        left -= CHUNK;
    }
    last(connection, &BLANKS[..left], busy).await
}

/// Chunks until the client is gone, at a pace that spares its memory for some seconds.
async fn endless(connection: &mut Connection) -> io::Result<()> {
    let mut chunk = format!("{CHUNK:x}\r\n").into_bytes();
    chunk.extend(BLANKS);
    chunk.extend(b"\r\n");
    loop {
        connection.write_all(&chunk).await?;
        sleep(Duration::from_millis(1)).await;
    }
}
