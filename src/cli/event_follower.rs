//! Events that survive a restart of the daemon: when the stream breaks it is opened again where
//! it was. Used by `wait` and `watch`.
//!
//! The only retry in the client. It is about being reachable: a refusal is passed on at once.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::api::{Client, ClientError, EventStream, ListParams, TransitionEvent};

/// So long the daemon may be away.
const RECONNECT_TIMEOUT: Duration = Duration::from_mins(1);
const INITIAL_RETRY_DELAY: Duration = Duration::from_millis(250);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(5);

/// The transitions after a number, without a gap.
pub(super) struct EventFollower<'a> {
    client: &'a Client,
    /// Its `after` moves on with each event.
    query: ListParams,
    stream: Option<EventStream>,
    notify: &'a dyn Fn(&str),
}

impl<'a> EventFollower<'a> {
    /// Follows what `query` selects; `tell` hears when the daemon goes away.
    pub(super) fn new(client: &'a Client, query: ListParams, notify: &'a dyn Fn(&str)) -> Self {
        Self { client, query, stream: None, notify }
    }

    /// The next transition.
    pub(super) async fn next_event(&mut self) -> Result<TransitionEvent, ClientError> {
        loop {
            let Some(stream) = &mut self.stream else {
                let open = async || self.client.events(&self.query).await;
                self.stream = Some(retry_while_unavailable(self.notify, open).await?);
                continue;
            };
            match stream.next().await {
                Ok(Some(event)) => {
                    self.query.after = Some(event.cursor.to_string());
                    return Ok(event);
                }
                Ok(None) | Err(ClientError::ConnectionLost(_)) => {
                    self.stream = None;
                    // A daemon that hangs up at once is not to be asked without a pause.
                    sleep(INITIAL_RETRY_DELAY).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Asks until there is an answer, good or bad, or the daemon was away for too long.
pub(super) async fn retry_while_unavailable<T>(
    notify: &dyn Fn(&str),
    mut request: impl AsyncFnMut() -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    let mut last_error = match request().await {
        Err(error) if is_unavailable(&error) => error,
        result => return result,
    };
    notify("the daemon is away; trying again for a minute");
    let retry = async {
        let mut delay = INITIAL_RETRY_DELAY;
        loop {
            sleep(delay).await;
            delay = (delay * 2).min(MAX_RETRY_DELAY);
            match request().await {
                Err(error) if is_unavailable(&error) => last_error = error,
                result => return result,
            }
        }
    };
    timeout(RECONNECT_TIMEOUT, retry).await.unwrap_or(Err(last_error))
}

fn is_unavailable(error: &ClientError) -> bool {
    match error {
        ClientError::NoDaemon { permission_denied: denied, .. } => !denied,
        ClientError::ConnectionLost(_) => true,
        // The daemon is there and cannot answer just now: that says nothing of any job.
        ClientError::Rejected(problem) => {
            ["shutting_down", "busy", "storage"].contains(&problem.code.as_str())
        }
        ClientError::InvalidResponse(_) => false,
    }
}
