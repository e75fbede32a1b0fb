//! Refuses what the read-only socket does not permit, and records who tried it.
//!
//! A layer around all routes. Invariants: a request whose connection is not known is not handled; a refused
//! request is in the audit if its route has an [`AuditedCommand`].

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::job::{AuditTarget, AuditedCommand};

use super::app_state::AppState;
use super::audit::CommandAudit;
use super::connection_limiter::ConnectionPermit;
use super::error::ApiError;
use super::extract::PathText;
use super::jobs::find_stored_job;
use super::peer::Access;
use super::status::parse_provider_name;

pub(super) async fn ensure_permitted(
    State(app): State<AppState>,
    Extension(connection): Extension<Arc<ConnectionPermit>>,
    command: Option<Extension<AuditedCommand>>,
    path: PathText,
    request: Request,
    next: Next,
) -> Response {
    let peer = connection.peer;
    if is_permitted(peer.access, request.method()) {
        return next.run(request).await;
    }
    let refusal = ApiError::read_only();
    if let Some(Extension(command)) = command {
        let audit = CommandAudit::begin(&app, peer, command).await;
        record_refusal(&app, audit, command, path, &refusal).await;
    }
    refusal.into_response()
}

fn is_permitted(access: Access, method: &Method) -> bool {
    match access {
        Access::Full => true,
        Access::ReadOnly => method == Method::GET || method == Method::HEAD,
    }
}

async fn record_refusal(
    app: &AppState,
    audit: CommandAudit,
    command: AuditedCommand,
    path: PathText,
    refusal: &ApiError,
) {
    let (outcome, reason) = (refusal.audit_outcome(), refusal.detail());
    match find_target(app, command, path).await {
        Ok(target) => audit.concerning(target).record(outcome, reason).await,
        Err(error) => audit.record(outcome, &format!("{}; {reason}", error.detail())).await,
    }
}

/// What a command concerns, by the path of its request.
async fn find_target(
    app: &AppState,
    command: AuditedCommand,
    path: PathText,
) -> Result<AuditTarget, ApiError> {
    match command {
        AuditedCommand::Cancel
        | AuditedCommand::Untrack
        | AuditedCommand::Pin
        | AuditedCommand::Unpin => {
            find_stored_job(app, path).await.map(|job| AuditTarget::from(&job))
        }
        AuditedCommand::Check | AuditedCommand::Forget => {
            parse_provider_name(path).map(AuditTarget::Provider)
        }
        AuditedCommand::Reload | AuditedCommand::Backup => Ok(AuditTarget::Daemon),
    }
}
