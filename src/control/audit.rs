//! Makes the audit entries of requests and hands them to the scheduler.
//!
//! Used by the handlers of requests that change something. An entry belongs to the transaction of the
//! change if there is one; otherwise the response waits until the entry is committed, as long as the
//! scheduler's commands take at most.

use nix::unistd::{Uid, User};

use crate::job::{AuditEntry, AuditOutcome, AuditTarget, AuditedCommand, Requester};

use super::app_state::AppState;
use super::peer::Peer;

/// The entry of a command that has just arrived, as if it succeeded.
pub(super) async fn audit_entry(
    app: &AppState,
    peer: Peer,
    command: AuditedCommand,
    target: AuditTarget,
) -> AuditEntry {
    AuditEntry {
        requested_at: app.daemon.clock.utc_now(),
        requester: Requester::Client { uid: peer.uid, user: user_name(peer).await, pid: peer.pid },
        command,
        target,
        outcome: AuditOutcome::Done,
        detail: None,
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

/// The name of the user at the other end. The lookup may ask a directory service, so it runs where it may
/// block; without an answer the name stays unknown.
pub(super) async fn user_name(peer: Peer) -> Option<String> {
    let uid = Uid::from_raw(peer.uid?);
    let lookup = tokio::task::spawn_blocking(move || User::from_uid(uid)).await;
    lookup.ok().and_then(Result::ok).flatten().map(|user| user.name)
}
