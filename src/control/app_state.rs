//! The state shared by all handlers.
//!
//! Built by the daemon, passed to [`serve`](super::serve). It gives access to the scheduler, the database
//! and the daemon, and changes nothing by itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{ReloadFailure, ReloadResponse};
use crate::clock::Clock;
use crate::config::MaintenanceConfig;
use crate::job::{EventCursor, UtcTime};
use crate::logging::LostLines;
use crate::scheduler::SchedulerHandle;
use crate::store::Reader;

use super::audit_limiter::AuditLimiter;
use super::user_names::UserNames;

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
    pub(super) user_names: Arc<UserNames>,
    pub(super) audit_limiter: Arc<AuditLimiter>,
    /// The commands that are carried out though their clients may have gone.
    pub(super) commands: TaskTracker,
}

impl AppState {
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
        Self {
            handle,
            reader,
            newest_event,
            reload_tx,
            daemon: Arc::new(daemon),
            shutdown,
            user_names: Arc::default(),
            audit_limiter: Arc::default(),
            commands: TaskTracker::new(),
        }
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
    /// The settings of the running maintenance.
    pub maintenance: watch::Receiver<MaintenanceConfig>,
    /// How long a request waits for an on-demand poll.
    pub on_demand_timeout: Duration,
}

impl DaemonContext {
    /// Less than the minute after which `jobtrack` gives up on a request, so that it gets the response.
    pub const MAX_ON_DEMAND_TIMEOUT: Duration = Duration::from_secs(45);
}
