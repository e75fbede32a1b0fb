//! The server of the control socket: HTTP/1.1 and JSON on a Unix stream socket.
//!
//! Started by the daemon. Handlers send commands to the scheduler and read from the store; they hold
//! no state. Connections, waiting requests, bodies and times are limited, so that a broken client
//! cannot exhaust the daemon.

mod app_state;
mod connection_limiter;
mod convert;
mod error;
mod events;
mod extract;
mod jobs;
mod socket;
mod status;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use axum::routing::{delete, get, post};
use hyper::body::Body;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use app_state::PeerUser;
pub use app_state::{AppState, DaemonContext, ReloadReplySender};
use connection_limiter::{ConnectionLimiter, ConnectionPermit};
use error::ApiError;
pub use socket::{BindError, ControlSocket, SocketFileGuard, check_socket_config};

/// How long the head of a request may take, and how long a connection may be idle.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a shutdown waits for the first request of a connection that was just accepted.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a shutdown waits for requests in progress.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

/// Serves requests until `app.shutdown`, then waits a few seconds for those in progress.
pub async fn serve(socket: ControlSocket, app: AppState) {
    let shutdown = app.shutdown.clone();
    let router = routes(app);
    let limiter = ConnectionLimiter::new();
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = socket.listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let permit = tokio::select! {
                    permit = limiter.acquire() => permit,
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

async fn serve_connection(
    stream: UnixStream,
    permit: ConnectionPermit,
    router: Router,
    shutdown: CancellationToken,
) {
    let peer = PeerUser { uid: stream.peer_cred().ok().map(|credentials| credentials.uid()) };
    let permit = Arc::new(permit);
    let request_permit = permit.clone();
    let first_request_seen = CancellationToken::new();
    let first_request = first_request_seen.clone();
    let service = hyper::service::service_fn(move |mut request: hyper::Request<_>| {
        first_request.cancel();
        request.extensions_mut().insert(peer);
        let (router, request_permit) = (router.clone(), request_permit.clone());
        request_permit.set_busy(true);
        async move {
            let response = router.oneshot(request).await;
            // A body without a length is an event stream and lasts as long as its connection.
            let is_stream = |response: &Response| response.body().size_hint().exact().is_none();
            request_permit.set_busy(response.as_ref().is_ok_and(is_stream));
            response
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // A graceful shutdown closes a connection that has received nothing. Its client may be sending its
    // first request, which would then fail although a restarted daemon could serve it: wait briefly.
    let drained = async {
        shutdown.cancelled().await;
        let _ = tokio::time::timeout(FIRST_REQUEST_TIMEOUT, first_request_seen.cancelled()).await;
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = permit.evict.cancelled() => return,
        () = drained => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection on the control socket failed");
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
