//! Events that survive a restart of the daemon: when the stream breaks it is opened again where
//! it was. Used by `wait` and `watch`.
//!
//! The only retry in the client. It is about being reachable: a refusal is passed on at once.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::api::{Client, ClientError, Event, Events, Query};

/// So long the daemon may be away.
const PATIENCE: Duration = Duration::from_mins(1);
const FIRST_DELAY: Duration = Duration::from_millis(250);
const MAX_DELAY: Duration = Duration::from_secs(5);

/// The transitions after a number, without a gap.
pub(super) struct Follow<'a> {
    client: &'a Client,
    /// Its `after` moves on with each event.
    query: Query,
    stream: Option<Events>,
    tell: &'a dyn Fn(&str),
}

impl<'a> Follow<'a> {
    /// Follows what `query` selects; `tell` hears when the daemon goes away.
    pub(super) fn new(client: &'a Client, query: Query, tell: &'a dyn Fn(&str)) -> Self {
        Self { client, query, stream: None, tell }
    }

    /// The next transition.
    pub(super) async fn next(&mut self) -> Result<Event, ClientError> {
        loop {
            let Some(stream) = &mut self.stream else {
                let open = async || self.client.events(&self.query).await;
                self.stream = Some(persist(self.tell, open).await?);
                continue;
            };
            match stream.next().await {
                Ok(Some(event)) => {
                    self.query.after = Some(event.seq);
                    return Ok(event);
                }
                Ok(None) | Err(ClientError::Lost(_)) => {
                    self.stream = None;
                    // A daemon that hangs up at once is not to be asked without a pause.
                    sleep(FIRST_DELAY).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Asks until there is an answer, good or bad, or the daemon was away for too long.
pub(super) async fn persist<T>(
    tell: &dyn Fn(&str),
    mut ask: impl AsyncFnMut() -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    let mut failure = match ask().await {
        Err(error) if is_away(&error) => error,
        answered => return answered,
    };
    tell("the daemon is away; trying again for a minute");
    let retry = async {
        let mut delay = FIRST_DELAY;
        loop {
            sleep(delay).await;
            delay = (delay * 2).min(MAX_DELAY);
            match ask().await {
                Err(error) if is_away(&error) => failure = error,
                answered => return answered,
            }
        }
    };
    timeout(PATIENCE, retry).await.unwrap_or(Err(failure))
}

fn is_away(error: &ClientError) -> bool {
    match error {
        ClientError::NoDaemon { denied, .. } => !denied,
        ClientError::Lost(_) => true,
        // The daemon is there and cannot answer just now: that says nothing of any job.
        ClientError::Refused(problem) => {
            ["shutting_down", "busy", "storage"].contains(&problem.code.as_str())
        }
        ClientError::Broken(_) => false,
    }
}
