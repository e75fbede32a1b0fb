//! The server of the control socket: HTTP/1.1 and JSON on a Unix stream socket.
//!
//! Started by the daemon. Handlers send commands to the scheduler and read from the store; they hold
//! no state. Connections, waiting requests, memory and times are limited and shared out by user, so
//! that a broken client cannot exhaust the daemon.

mod app_state;
mod audit;
mod backup;
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
mod read_turns;
mod request_body;
mod row_pages;
mod socket;
mod status;
mod write_timeout;

use std::time::Duration;

use axum::Router;
use axum::routing::{delete, get, post};
use tokio_util::task::TaskTracker;

pub use app_state::{AppState, DaemonContext, ReloadReplySender};
use connection::serve_connection;
use connection_limiter::ConnectionLimiter;
use error::ApiError;
use peer::Peer;
pub use socket::{BindError, ControlSocket, SocketFileGuard, check_socket_config};

/// How long a shutdown waits for requests in progress.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

/// Serves requests until `app.shutdown`, then waits a few seconds for those in progress.
pub async fn serve(socket: ControlSocket, app: AppState) {
    let shutdown = app.shutdown.clone();
    let limiter = ConnectionLimiter::new(app.daemon.clock.clone());
    let router = routes(app);
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = socket.listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let permit = tokio::select! {
                    permit = limiter.acquire(Peer::of(&stream)) => permit,
                    () = shutdown.cancelled() => break,
                };
                let served = serve_connection(stream, permit, router.clone(), shutdown.clone());
                connections.spawn(served);
            }
            Err(error) => {
                tracing::warn!("cannot accept a connection on the control socket: {error}");
                // Out of file descriptors, for instance: an immediate retry would fail too.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    connections.close();
    if tokio::time::timeout(DRAIN_TIMEOUT, connections.wait()).await.is_err() {
        tracing::warn!("requests on the control socket were aborted at shutdown");
    }
}

fn routes(app: AppState) -> Router {
    Router::new()
        .route("/v1/jobs", get(jobs::list).post(jobs::add))
        .route("/v1/jobs/{id}", get(jobs::show))
        .route("/v1/jobs/{id}/untrack", post(jobs::untrack))
        .route("/v1/jobs/{id}/history", get(events::job_history))
        .route("/v1/jobs/{id}/poll", post(jobs::poll))
        .route("/v1/jobs/{id}/cancel", post(jobs::cancel))
        .route("/v1/providers/{name}/check", post(status::check_connection))
        .route("/v1/providers/{name}/durations", delete(status::forget_durations))
        .route("/v1/history", get(events::history))
        .route("/v1/events", get(events::stream_events))
        .route("/v1/backup", get(backup::backup))
        .route("/v1/status", get(status::status))
        .route("/v1/reload", post(status::reload))
        .fallback(async || {
            ApiError::not_found(
                "unknown path; see /v1/jobs, /v1/history, /v1/events and /v1/status",
            )
        })
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .with_state(app)
}
