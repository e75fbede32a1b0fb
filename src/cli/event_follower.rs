//! Follows the event stream across restarts of the daemon.
//!
//! Used by `wait` and `watch`. When the stream ends, it is reopened after the last transition
//! received, so none is missed. Requests are retried only while the daemon is unavailable; every other
//! error is returned at once. Apart from this file only `add` retries, once.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::api::{Client, ClientError, EventStream, ListParams, StreamedEvent};
use crate::job::format_duration;

/// How long the daemon may be unavailable.
const RECONNECT_TIMEOUT: Duration = Duration::from_mins(1);
/// A response that takes longer is worth a notice.
pub(super) const SLOW_RESPONSE: Duration = Duration::from_secs(10);
const INITIAL_RETRY_DELAY: Duration = Duration::from_millis(250);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(5);

/// An event stream that reconnects.
pub(super) struct EventFollower<'a> {
    client: &'a Client,
    /// `after` is the cursor of the last transition received.
    query: ListParams,
    stream: Option<EventStream>,
    notify: &'a dyn Fn(&str),
}

impl<'a> EventFollower<'a> {
    /// Follows the transitions that `query` selects; `notify` is called when the daemon is unavailable.
    pub(super) fn new(client: &'a Client, query: ListParams, notify: &'a dyn Fn(&str)) -> Self {
        Self { client, query, stream: None, notify }
    }

    /// Waits for the next transition, or for the report that some are deleted.
    pub(super) async fn next_event(&mut self) -> Result<StreamedEvent, ClientError> {
        loop {
            let Some(stream) = &mut self.stream else {
                let open = async || self.client.events(&self.query).await;
                self.stream = Some(retry_while_unavailable(self.notify, open).await?);
                continue;
            };
            match stream.next().await {
                Ok(Some(event)) => {
                    match &event {
                        StreamedEvent::Transition(transition) => {
                            self.query.after = Some(transition.cursor.to_string());
                        }
                        // The transitions that are left follow; a reconnection must not skip them.
                        StreamedEvent::Pruned(_) => {}
                    }
                    return Ok(event);
                }
                Ok(None) | Err(ClientError::ConnectionLost(_)) => {
                    self.stream = None;
                    // A daemon that closes every connection must not cause a busy loop.
                    sleep(INITIAL_RETRY_DELAY).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Repeats a request until the daemon answers, or [`RECONNECT_TIMEOUT`] has passed.
pub(super) async fn retry_while_unavailable<T>(
    notify: &dyn Fn(&str),
    mut request: impl AsyncFnMut() -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    let mut last_error = match tell_if_slow(notify, request()).await {
        // A daemon with too many connections closes some; the next attempt usually succeeds.
        Err(ClientError::ConnectionLost(_)) => {
            sleep(INITIAL_RETRY_DELAY).await;
            match tell_if_slow(notify, request()).await {
                Err(error) if is_unavailable(&error) => error,
                result => return result,
            }
        }
        Err(error) if is_unavailable(&error) => error,
        result => return result,
    };
    notify(&if is_busy(&last_error) {
        "jobtrackd is busy; retrying for a minute".to_owned()
    } else {
        format!("jobtrackd is unavailable; retrying for a minute: {last_error}")
    });
    let retry = async {
        let mut delay = INITIAL_RETRY_DELAY;
        loop {
            sleep(delay).await;
            delay = (delay * 2).min(MAX_RETRY_DELAY);
            match tell_if_slow(notify, request()).await {
                Err(error) if is_unavailable(&error) => last_error = error,
                result => return result,
            }
        }
    };
    timeout(RECONNECT_TIMEOUT, retry).await.unwrap_or(Err(last_error))
}

/// Awaits a response; a daemon that accepts the connection and does not respond is reported long before the
/// client's time-out.
async fn tell_if_slow<T>(notify: &dyn Fn(&str), response: impl Future<Output = T>) -> T {
    let mut response = std::pin::pin!(response);
    if let Ok(response) = timeout(SLOW_RESPONSE, &mut response).await {
        return response;
    }
    notify(&slow_response_notice());
    response.await
}

pub(super) fn slow_response_notice() -> String {
    format!("jobtrackd has not answered for {}", format_duration(SLOW_RESPONSE))
}

fn is_busy(error: &ClientError) -> bool {
    match error {
        ClientError::Busy(_) => true,
        ClientError::Rejected(problem) => problem.code == "busy",
        ClientError::NoDaemon(_)
        | ClientError::ConnectionLost(_)
        | ClientError::Setup(_)
        | ClientError::InvalidResponse(_) => false,
    }
}

fn is_unavailable(error: &ClientError) -> bool {
    match error {
        ClientError::NoDaemon(_) => !error.is_permission_denied(),
        ClientError::Busy(_) | ClientError::ConnectionLost(_) => true,
        // These errors are temporary and do not concern the job.
        ClientError::Rejected(problem) => {
            ["shutting_down", "busy", "storage"].contains(&problem.code.as_str())
        }
        ClientError::Setup(_) | ClientError::InvalidResponse(_) => false,
    }
}
