//! Accepts the connections of one socket, also while the process has no file descriptor left.
//!
//! Used by [`serve`](super::serve). One descriptor is kept in reserve: when no other is left, one client at
//! a time is still served, and idle connections are closed.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{UnixListener, UnixStream};

use super::connection_limiter::ConnectionLimiter;

pub(super) struct Acceptor {
    listener: UnixListener,
    limiter: Arc<ConnectionLimiter>,
    reserve: Option<File>,
    /// Whether the last attempt failed, so that a failure is logged once.
    is_failing: bool,
}

impl Acceptor {
    const RETRY_DELAY: Duration = Duration::from_millis(100);

    pub(super) fn new(listener: UnixListener, limiter: Arc<ConnectionLimiter>) -> Self {
        Self { listener, limiter, reserve: open_reserve(), is_failing: false }
    }

    /// Waits for the next connection. Cancel-safe.
    pub(super) async fn accept(&mut self) -> UnixStream {
        if self.reserve.is_none() {
            self.reserve = open_reserve();
        }
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    if self.reserve.is_some() && std::mem::take(&mut self.is_failing) {
                        tracing::info!("connections to the control socket are accepted again");
                    }
                    return stream;
                }
                // The next attempt uses the descriptor that this releases.
                Err(error) if is_out_of_descriptors(&error) && self.reserve.take().is_some() => {
                    self.report(&error);
                }
                Err(error) => {
                    self.report(&error);
                    // The client that has the last descriptor gets the time to send its request.
                    tokio::time::sleep(Self::RETRY_DELAY).await;
                    self.reserve = open_reserve();
                    if self.reserve.is_none() {
                        self.limiter.close_one();
                    }
                }
            }
        }
    }

    fn report(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::warn!(
                "connections to the control socket are accepted one at a time or not at all: {error}"
            );
        }
    }
}

fn open_reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}
