//! The response to a request for a backup: the bytes of a database file.

use std::time::Duration;

use reqwest::Response;

use super::error::{ClientError, connection_lost};

/// The bytes of a backup, in chunks.
#[derive(Debug)]
pub struct BackupStream {
    response: Response,
    /// How many bytes are missing.
    remaining: u64,
}

impl BackupStream {
    const CHUNK_TIMEOUT: Duration = Duration::from_mins(1);

    pub(super) fn new(response: Response) -> Result<Self, ClientError> {
        let length = response.content_length();
        let remaining = length.ok_or_else(|| {
            ClientError::InvalidResponse("a backup without its length".to_owned())
        })?;
        Ok(Self { response, remaining })
    }

    /// The next bytes; `None` once the backup is complete.
    ///
    /// # Errors
    /// If the connection breaks before the backup is complete, or no bytes arrive for a minute.
    pub async fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        let chunk = tokio::time::timeout(Self::CHUNK_TIMEOUT, self.response.chunk())
            .await
            .map_err(|_| ClientError::ConnectionLost("no data in time".into()))?
            .map_err(|error| connection_lost(&error))?;
        match chunk {
            Some(chunk) => {
                self.remaining = self.remaining.saturating_sub(chunk.len() as u64);
                Ok(Some(chunk.to_vec()))
            }
            None if self.remaining == 0 => Ok(None),
            None => Err(ClientError::ConnectionLost("the backup is not complete".into())),
        }
    }
}
