//! Refuses what the read-only socket does not permit, and records who tried it.
//!
//! A layer around all routes. Invariant: a request whose connection is not known is not handled.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::job::AuditedCommand;

use super::app_state::AppState;
use super::audit::CommandAudit;
use super::connection_limiter::ConnectionPermit;
use super::error::ApiError;
use super::peer::Access;

pub(super) async fn ensure_permitted(
    State(app): State<AppState>,
    Extension(connection): Extension<Arc<ConnectionPermit>>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let peer = connection.peer;
    if is_permitted(peer.access, request.method()) {
        return next.run(request).await;
    }
    let refusal = ApiError::read_only();
    let command = path.and_then(|path| audited_command(request.method(), path.as_str()));
    if let Some(command) = command {
        let audit = CommandAudit::begin(&app, peer, command).await;
        audit.record(refusal.audit_outcome(), refusal.detail()).await;
    }
    refusal.into_response()
}

fn is_permitted(access: Access, method: &Method) -> bool {
    match access {
        Access::Full => true,
        Access::ReadOnly => method == Method::GET || method == Method::HEAD,
    }
}

/// The audited command that a route other than `GET` carries out.
fn audited_command(method: &Method, path: &str) -> Option<AuditedCommand> {
    match (method.as_str(), path) {
        ("POST", "/v1/jobs/{id}/cancel") => Some(AuditedCommand::Cancel),
        ("POST", "/v1/jobs/{id}/untrack") => Some(AuditedCommand::Untrack),
        ("POST", "/v1/providers/{name}/check") => Some(AuditedCommand::Check),
        ("DELETE", "/v1/providers/{name}/durations") => Some(AuditedCommand::Forget),
        ("POST", "/v1/reload") => Some(AuditedCommand::Reload),
        _ => None,
    }
}
