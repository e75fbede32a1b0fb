//! The state shared by all handlers.
//!
//! Built by the daemon, passed to [`serve`](super::serve). It gives access to the scheduler, the database
//! and the daemon, and changes nothing by itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::api::{ReloadFailure, ReloadResponse};
use crate::clock::Clock;
use crate::job::{EventCursor, UtcTime};
use crate::logging::LostLines;
use crate::scheduler::SchedulerHandle;
use crate::store::Reader;

use super::connection_limiter::ConnectionLimiter;
use super::error::ApiError;

/// A request to reload the configuration, with the channel for its result.
pub type ReloadReplySender = oneshot::Sender<Result<ReloadResponse, String>>;

/// The state shared by all handlers.
#[derive(Debug, Clone)]
pub struct AppState {
    pub(super) handle: SchedulerHandle,
    pub(super) reader: Reader,
    /// The cursor of the newest committed transition.
    pub(super) newest_event: watch::Receiver<EventCursor>,
    /// Requests a reload from the daemon.
    pub(super) reload_tx: mpsc::Sender<ReloadReplySender>,
    pub(super) daemon: Arc<DaemonContext>,
    /// Ends event streams and waiting requests.
    pub(super) shutdown: CancellationToken,
    /// Limits event streams and waiting requests.
    waiter_permits: Arc<Semaphore>,
}

impl AppState {
    /// Connections that event streams and waiting requests cannot take.
    const RESERVED_CONNECTIONS: usize = 64;

    /// `newest_event` is the cursor of the newest committed transition; `reload_tx` requests a reload
    /// from the daemon; `shutdown` ends the server.
    #[must_use]
    pub fn new(
        handle: SchedulerHandle,
        reader: Reader,
        newest_event: watch::Receiver<EventCursor>,
        reload_tx: mpsc::Sender<ReloadReplySender>,
        daemon: DaemonContext,
        shutdown: CancellationToken,
    ) -> Self {
        let max_connections = ConnectionLimiter::connection_limit();
        let max_waiters =
            max_connections.saturating_sub(Self::RESERVED_CONNECTIONS).max(max_connections / 2);
        Self {
            handle,
            reader,
            newest_event,
            reload_tx,
            daemon: Arc::new(daemon),
            shutdown,
            waiter_permits: Arc::new(Semaphore::new(max_waiters)),
        }
    }

    /// A permit for one event stream or waiting request; released when dropped.
    pub(super) fn acquire_waiter_permit(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        self.waiter_permits.clone().try_acquire_owned().map_err(|_| ApiError::too_many_waiters())
    }
}

/// What `status` and timeouts need of the daemon.
#[derive(Debug)]
pub struct DaemonContext {
    pub clock: Clock,
    pub started_at: UtcTime,
    /// The path of the database.
    pub database: PathBuf,
    pub lost_log_lines: LostLines,
    /// The failure of the last reload, until one succeeds.
    pub reload_failure: watch::Receiver<Option<ReloadFailure>>,
    /// How long a request waits for an on-demand poll.
    pub on_demand_timeout: Duration,
}

impl DaemonContext {
    /// Less than the minute after which `jobtrack` gives up on a request, so that it gets the response.
    pub const MAX_ON_DEMAND_TIMEOUT: Duration = Duration::from_secs(45);
}

/// The user at the other end of a connection, as the kernel reports it.
#[derive(Debug, Clone, Copy)]
pub(super) struct PeerUser {
    pub(super) uid: Option<u32>,
}
