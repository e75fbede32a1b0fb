//! The control socket's server: HTTP/1.1 and JSON on a Unix stream socket.
//!
//! Writes go to the scheduler's handle, reads to the store; a handler holds no state of its own.
//! Built for impatient and for broken clients: connections are capped and timed, bodies bounded.

mod connection_limiter;
mod convert;
mod error;
mod events;
mod jobs;
mod query;
mod socket;
mod status;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use axum::routing::{delete, get, post};
use hyper::body::Body;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::api::ReloadResponse;
use crate::clock::Clock;
use crate::job::{EventCursor, UtcTime};
use crate::scheduler::SchedulerHandle;
use crate::store::Reader;

use connection_limiter::{ConnectionLimiter, ConnectionPermit};
use error::ApiError;
pub use socket::{BindError, ControlSocket, SocketFileGuard, check_socket_config};

/// A request to read the config again; answered once that is done, or with why it was not.
pub type ReloadReplySender = oneshot::Sender<Result<ReloadResponse, String>>;

/// All that the handlers need.
#[derive(Debug, Clone)]
pub struct AppState {
    /// For what changes something.
    pub handle: SchedulerHandle,
    /// For what only looks.
    pub reader: Reader,
    /// The number of the newest transition.
    pub newest_event: watch::Receiver<EventCursor>,
    /// To the daemon.
    pub reload_tx: mpsc::Sender<ReloadReplySender>,
    /// What never changes.
    pub daemon_info: Arc<DaemonInfo>,
    /// Ends streams and waits.
    pub shutdown: CancellationToken,
    /// For those who stay: streams and waits.
    pub waiter_permits: Arc<Semaphore>,
}

impl AppState {
    /// So many connections are left to those who want an answer and go.
    const RESERVED_CONNECTIONS: usize = 64;

    /// Places for those who stay, as many as the cap on connections allows.
    #[must_use]
    pub fn new_waiter_permits() -> Arc<Semaphore> {
        let max_connections = ConnectionLimiter::connection_limit();
        Arc::new(Semaphore::new(
            max_connections.saturating_sub(Self::RESERVED_CONNECTIONS).max(max_connections / 2),
        ))
    }

    /// A place to stay in; given up when dropped.
    fn acquire_waiter_permit(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        self.waiter_permits.clone().try_acquire_owned().map_err(|_| ApiError::too_many_waiters())
    }
}

/// The daemon, as `status` shows it.
#[derive(Debug)]
pub struct DaemonInfo {
    /// Its clocks.
    pub clock: Clock,
    /// When it started.
    pub started_at: UtcTime,
    /// Where its database lies.
    pub database: PathBuf,
    /// How long a poll by hand may keep its caller waiting.
    pub on_demand_timeout: Duration,
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy)]
struct Peer {
    uid: Option<u32>,
}

impl DaemonInfo {
    /// A client hangs up after a minute.
    pub const MAX_ON_DEMAND_TIMEOUT: Duration = Duration::from_secs(45);
}

/// For the head of a request, and for the next one on a connection kept open.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// For the first request on a connection that was accepted just before the end.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
/// For requests under way when the end comes.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

/// Serves until the shutdown of `app`, then lets requests under way end for a moment.
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
                tracing::warn!("a connection to the control socket was not accepted: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    connections.close();
    if tokio::time::timeout(DRAIN_TIMEOUT, connections.wait()).await.is_err() {
        tracing::warn!("requests on the control socket were cut off");
    }
}

async fn serve_connection(
    stream: UnixStream,
    permit: ConnectionPermit,
    router: Router,
    shutdown: CancellationToken,
) {
    let peer = Peer { uid: stream.peer_cred().ok().map(|credentials| credentials.uid()) };
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
            // A body without a length is a stream: it lasts as long as the connection does.
            let is_stream = |response: &Response| response.body().size_hint().exact().is_none();
            request_permit.set_busy(response.as_ref().is_ok_and(is_stream));
            response
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // Asked to end, hyper closes a connection on which nothing has come yet, whose client may just be
    // sending; had it come a moment later, the next daemon would have served it.
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
        tracing::debug!(%error, "a connection to the control socket broke");
    }
}

fn routes(app: AppState) -> Router {
    Router::new()
        .route("/v1/jobs", get(jobs::list).post(jobs::add))
        .route("/v1/jobs/{id}", get(jobs::show).delete(jobs::untrack))
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
                "there is no such resource; see /v1/jobs, /v1/history, /v1/events, /v1/status",
            )
        })
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .with_state(app)
}
