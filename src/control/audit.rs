//! Makes the audit entries of requests and hands them to the scheduler.
//!
//! Used by the handlers of requests that change something. An entry belongs to the transaction of the
//! change if there is one; otherwise the response waits until the entry is committed, as long as the
//! scheduler's commands take at most. Invariant: a client that goes away stops neither a command that has
//! begun nor its entry.

use std::time::Duration;

use crate::job::{AuditEntry, AuditOutcome, AuditTarget, AuditedCommand, Requester};
use crate::scheduler::CommandError;

use super::app_state::AppState;
use super::error::ApiError;
use super::peer::Peer;

/// How long a command that waits for a provider may go on during a shutdown: shorter than the shutdown
/// waits for requests, so that the entry can be committed.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// The entry of a command that has just arrived, as if it succeeded.
pub(super) async fn audit_entry(
    app: &AppState,
    peer: Peer,
    command: AuditedCommand,
    target: AuditTarget,
) -> AuditEntry {
    AuditEntry {
        requested_at: app.daemon.clock.utc_now(),
        requester: Requester::Client {
            uid: peer.uid,
            user: user_name(app, peer).await,
            pid: peer.pid,
        },
        command,
        target,
        outcome: AuditOutcome::Done,
        detail: None,
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

/// Records a command that changes nothing in the database. A failure is logged: the command is carried
/// out already.
pub(super) async fn record(app: &AppState, entry: AuditEntry) {
    let command = entry.command.as_str();
    if let Err(error) = app.handle.record_audit(entry).await {
        tracing::warn!("the audit entry of the command {command} is not committed yet: {error}");
    }
}

/// The name of the user at the other end, if it is known.
pub(super) async fn user_name(app: &AppState, peer: Peer) -> Option<String> {
    let now = app.daemon.clock.monotonic_now();
    app.user_names.name(peer.uid?, now).await
}
