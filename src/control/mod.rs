//! The server of the control socket: HTTP/1.1 and JSON on a Unix stream socket.
//!
//! Started by the daemon. Handlers send commands to the scheduler and read from the store; they hold
//! no state. Connections, waiting requests, memory and times are limited and shared out by user, so
//! that a broken client cannot exhaust the daemon.

mod acceptor;
mod activity;
mod add_jobs;
mod app_state;
mod audit;
mod audit_limiter;
mod backup;
mod bind_error;
mod connection;
mod connection_limiter;
mod connection_registry;
mod convert;
mod error;
mod events;
mod extract;
mod jobs;
mod list_response;
mod peer;
mod permission;
mod pin;
mod provider_filter;
mod prune;
mod request_body;
mod request_memory;
mod row_pages;
mod socket;
mod socket_file;
mod status;
mod turn_reader;
mod user_names;
mod user_turns;
mod write_timeout;

use std::time::Duration;

use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, post, put};
use axum::{Extension, Router};
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use crate::job::AuditedCommand;

use acceptor::Acceptor;
pub use app_state::{AppState, DaemonContext, ReloadReplySender};
pub use bind_error::BindError;
use connection::serve_connection;
use connection_limiter::ConnectionLimiter;
use error::ApiError;
use peer::Peer;
use permission::ensure_permitted;
pub use socket::{ControlSockets, check_socket_config};
pub use socket_file::SocketFileGuard;

/// How long a shutdown waits for requests in progress.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

/// Serves requests until `app.shutdown`, then waits a few seconds for those in progress.
pub async fn serve(sockets: ControlSockets, app: AppState) {
    let limiter = ConnectionLimiter::new(app.daemon.clock.clone());
    let (shutdown, commands) = (app.shutdown.clone(), app.commands.clone());
    let router = routes(app);
    let connections = TaskTracker::new();
    let mut accepting = JoinSet::new();
    for (listener, access) in sockets.listeners {
        let mut acceptor = Acceptor::new(listener, limiter.clone());
        let (limiter, connections) = (limiter.clone(), connections.clone());
        let (shutdown, router) = (shutdown.clone(), router.clone());
        accepting.spawn(async move {
            let accept_all = async {
                loop {
                    let stream = acceptor.accept().await;
                    let permit = limiter.acquire(Peer::of(&stream, access)).await;
                    let (router, shutdown) = (router.clone(), shutdown.clone());
                    connections.spawn(serve_connection(stream, permit, router, shutdown));
                }
            };
            shutdown.run_until_cancelled(accept_all).await.unwrap_or(());
        });
    }
    while let Some(ended) = accepting.join_next().await {
        if let Err(error) = ended {
            tracing::error!("a control socket accepts no more connections: {error}");
        }
    }
    connections.close();
    let drained = async {
        connections.wait().await;
        commands.close();
        commands.wait().await;
    };
    if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
        tracing::warn!("requests on the control socket were aborted at shutdown");
    }
}

fn routes(app: AppState) -> Router {
    use AuditedCommand::{Backup, Cancel, Check, Forget, Pin, Reload, Unpin, Untrack};
    // The command is known where the permission is checked.
    let audited = |command: AuditedCommand, route: MethodRouter<AppState>| {
        let permission = from_fn_with_state(app.clone(), ensure_permitted);
        route.route_layer(permission).route_layer(Extension(command))
    };
    let method_not_allowed = async || ApiError::method_not_allowed();
    // Without HEAD, which would make the copy as well.
    let backup = get(backup::backup).head(method_not_allowed);
    let pin = audited(Pin, put(pin::pin)).merge(audited(Unpin, delete(pin::unpin)));
    let commands = Router::new()
        .route("/v1/jobs/{id}/untrack", audited(Untrack, post(jobs::untrack)))
        .route("/v1/jobs/{id}/cancel", audited(Cancel, post(jobs::cancel)))
        .route("/v1/jobs/{id}/pin", pin)
        .route("/v1/providers/{name}/check", audited(Check, post(status::check_connection)))
        .route("/v1/providers/{name}/durations", audited(Forget, delete(status::forget_durations)))
        .route("/v1/backup", audited(Backup, backup))
        .route("/v1/reload", audited(Reload, post(status::reload)))
        .method_not_allowed_fallback(method_not_allowed);
    Router::new()
        .route("/v1/jobs", get(jobs::list).post(add_jobs::add))
        .route("/v1/jobs/{id}", get(jobs::show))
        .route("/v1/jobs/{id}/history", get(events::job_history))
        .route("/v1/jobs/{id}/poll", post(jobs::poll))
        .route("/v1/history", get(events::history))
        .route("/v1/events", get(events::stream_events))
        .route("/v1/status", get(status::status))
        .route("/v1/prune", get(prune::prune_forecast))
        .fallback(async || {
            ApiError::not_found(
                "unknown path; see /v1/jobs, /v1/history, /v1/events and /v1/status",
            )
        })
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(app.clone(), ensure_permitted))
        .merge(commands)
        .with_state(app)
}
