//! Records the commands of clients in the audit: who tried what, when, and with what result.
//!
//! Used by the handlers of the audited commands. An entry belongs to the transaction of the change if there
//! is one; otherwise the response waits until the entry is committed, as long as the scheduler's commands
//! take at most. Invariant: a client that goes away stops neither a command that has begun nor its entry.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::FromRequestParts;
use axum::extract::rejection::ExtensionRejection;
use axum::http::request::Parts;

use crate::job::{AuditEntry, AuditOutcome, AuditTarget, AuditedCommand, Requester};
use crate::scheduler::CommandError;

use super::app_state::AppState;
use super::audit_limiter::{Admission, WindowId};
use super::connection_limiter::ConnectionPermit;
use super::connection_registry::PeerUid;
use super::error::ApiError;
use super::peer::Peer;

/// How long a command that waits for a provider may go on during a shutdown: shorter than the shutdown
/// waits for requests, so that the entry can be committed.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// One command of a client, which has just arrived.
#[derive(Clone)]
pub(super) struct CommandAudit {
    app: AppState,
    uid: PeerUid,
    entry: AuditEntry,
}

/// The command is that of the route, so that every handler that records a command is recorded too where the
/// route is refused.
impl FromRequestParts<AppState> for CommandAudit {
    type Rejection = ExtensionRejection;
    async fn from_request_parts(
        parts: &mut Parts,
        app: &AppState,
    ) -> Result<Self, Self::Rejection> {
        type Connection = Extension<Arc<ConnectionPermit>>;
        let Extension(connection) = Connection::from_request_parts(parts, app).await?;
        let Extension(command) = Extension::from_request_parts(parts, app).await?;
        Ok(Self::begin(app, connection.peer, command).await)
    }
}

impl CommandAudit {
    pub(super) async fn begin(app: &AppState, peer: Peer, command: AuditedCommand) -> Self {
        let requested_at = app.daemon.clock.utc_now();
        let user = user_name(app, peer).await;
        let requester = Requester::Client { uid: peer.uid, user, pid: peer.pid };
        let entry = AuditEntry::new(requested_at, requester, command, AuditTarget::Daemon);
        Self { app: app.clone(), uid: peer.uid, entry }
    }

    /// Adds what the command concerns, once that is known to exist or to be a possible name.
    pub(super) fn concerning(mut self, target: AuditTarget) -> Self {
        self.entry.target = target;
        self
    }

    /// The entry of the command if it succeeds, to be committed with the change that it causes.
    pub(super) fn entry(&self) -> AuditEntry {
        self.entry.clone()
    }

    /// Passes on the result of something that the command depends on, and records an error.
    pub(super) async fn require<T>(&self, result: Result<T, ApiError>) -> Result<T, ApiError> {
        if let Err(error) = &result {
            self.record(error.audit_outcome(), error.detail()).await;
        }
        result
    }

    /// Records that the scheduler did not carry out the command.
    pub(super) async fn record_error(&self, error: &CommandError) {
        let error = ApiError::from(error.clone());
        self.record(error.audit_outcome(), error.detail()).await;
    }

    /// Records a command that changes nothing in the database. A failure is logged: the command is
    /// carried out already.
    pub(super) async fn record(&self, outcome: AuditOutcome, detail: &str) {
        let entry = self.entry().with_result(outcome, detail);
        let entry = match self.app.audit_limiter.admit(self.uid, entry) {
            Admission::Counted => return,
            Admission::Write(entry) => entry,
            Admission::WriteAndBeginWindow(entry, window) => {
                self.app.commands.spawn(write_counted(self.app.clone(), window));
                entry
            }
        };
        // The task goes on if the client closes its connection.
        let _ = self.app.commands.spawn(commit(self.app.clone(), entry)).await;
    }
}

/// Writes what the limiter has counted, at the end of each window or of the daemon.
async fn write_counted(app: AppState, window: WindowId) {
    while let Some(counted) = app.audit_limiter.end_of_window(window, &app.shutdown).await {
        for entry in counted {
            commit(app.clone(), entry).await;
        }
    }
}

async fn commit(app: AppState, entry: AuditEntry) {
    let command = entry.command.as_str();
    if let Err(error) = app.handle.record_audit(entry).await {
        tracing::warn!("the audit entry of the command {command} is not committed yet: {error}");
    }
}

/// Runs a command with its recording to the end, although the client may close its connection meanwhile.
///
/// # Errors
/// If the daemon ends first.
pub(super) async fn run_to_end<T: Send + 'static>(
    app: &AppState,
    command: impl Future<Output = T> + Send + 'static,
) -> Result<T, ApiError> {
    app.commands.spawn(command).await.map_err(|_| ApiError::interrupted())
}

/// The result of a command that waits for a provider; a shutdown ends the waiting.
pub(super) async fn until_shutdown<T>(
    app: &AppState,
    command: impl Future<Output = Result<T, CommandError>>,
) -> Result<T, CommandError> {
    let grace_over = async {
        app.shutdown.cancelled().await;
        tokio::time::sleep(SHUTDOWN_GRACE).await;
    };
    tokio::select! {
        result = command => result,
        () = grace_over => Err(CommandError::ShuttingDown),
    }
}

/// The name of the user at the other end, if it is known.
pub(super) async fn user_name(app: &AppState, peer: Peer) -> Option<String> {
    let now = app.daemon.clock.monotonic_now();
    app.user_names.name(peer.uid?, now).await
}
