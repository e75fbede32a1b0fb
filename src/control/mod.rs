//! The control socket's server: HTTP/1.1 and JSON on a Unix stream socket.
//!
//! Writes go to the scheduler's handle, reads to the store; a handler holds no state of its own.
//! Built for impatient and for broken clients: connections are capped and timed, bodies bounded.

mod events;
mod jobs;
mod problem;
mod query;
mod reply;
mod socket;
mod status;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::api::ReloadAnswer;
use crate::clock::Clock;
use crate::job::Utc;
use crate::scheduler::Handle;
use crate::store::Reader;

use problem::Problem;
pub use socket::{BindError, Leftover, Socket};

/// A request to read the config again; answered once that is done, or with why it was not.
pub type ReloadRequest = oneshot::Sender<Result<ReloadAnswer, String>>;

/// All that the handlers need.
#[derive(Debug, Clone)]
pub struct App {
    /// For what changes something.
    pub handle: Handle,
    /// For what only looks.
    pub reader: Reader,
    /// The number of the newest transition.
    pub newest: watch::Receiver<i64>,
    /// To the daemon.
    pub reload: mpsc::Sender<ReloadRequest>,
    /// What never changes.
    pub about: Arc<About>,
    /// Ends streams and waits.
    pub shutdown: CancellationToken,
}

/// The daemon, as `status` shows it.
#[derive(Debug)]
pub struct About {
    /// Its clocks.
    pub clock: Clock,
    /// When it started.
    pub started_at: Utc,
    /// Where its database lies.
    pub database: PathBuf,
    /// How long a poll by hand may keep its caller waiting.
    pub poll_patience: Duration,
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy)]
struct Peer {
    uid: Option<u32>,
}

impl About {
    /// A client hangs up after a minute.
    pub const LONGEST_POLL_PATIENCE: Duration = Duration::from_secs(45);
}

const MAX_CONNECTIONS: usize = 512;
/// For the head of a request, and for the next one on a connection kept open.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// For the first request on a connection that was accepted just before the end.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
/// For requests under way when the end comes.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

/// Serves until the shutdown of `app`, then lets requests under way end for a moment.
pub async fn serve(socket: Socket, app: App) {
    let shutdown = app.shutdown.clone();
    let router = routes(app);
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&socket.listener, &permits) => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, permit)) => {
                let served = serve_connection(stream, router.clone(), shutdown.clone());
                connections.spawn(async move {
                    served.await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the control socket was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    connections.close();
    if tokio::time::timeout(DRAIN_TIMEOUT, connections.wait()).await.is_err() {
        tracing::warn!("requests on the control socket were cut off");
    }
}

/// The permit comes before the connection: those over the cap wait in the kernel's queue.
async fn accept(
    listener: &UnixListener,
    permits: &Arc<Semaphore>,
) -> std::io::Result<(UnixStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = permits.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

async fn serve_connection(stream: UnixStream, router: Router, shutdown: CancellationToken) {
    let peer = Peer { uid: stream.peer_cred().ok().map(|credentials| credentials.uid()) };
    let asked = CancellationToken::new();
    let asks = asked.clone();
    let service = hyper::service::service_fn(move |mut request: hyper::Request<_>| {
        asks.cancel();
        request.extensions_mut().insert(peer);
        router.clone().oneshot(request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // Asked to end, hyper closes a connection on which nothing has come yet, whose client may just be
    // sending; had it come a moment later, the next daemon would have served it.
    let end = async {
        shutdown.cancelled().await;
        let _ = tokio::time::timeout(FIRST_REQUEST_TIMEOUT, asked.cancelled()).await;
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = end => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the control socket broke");
    }
}

fn routes(app: App) -> Router {
    Router::new()
        .route("/v1/jobs", get(jobs::list).post(jobs::add))
        .route("/v1/jobs/{id}", get(jobs::show).delete(jobs::untrack))
        .route("/v1/jobs/{id}/history", get(events::job_history))
        .route("/v1/jobs/{id}/poll", post(jobs::poll))
        .route("/v1/history", get(events::history))
        .route("/v1/events", get(events::stream))
        .route("/v1/status", get(status::status))
        .route("/v1/reload", post(status::reload))
        .fallback(async || {
            Problem::not_found(
                "there is no such resource; see /v1/jobs, /v1/history, /v1/events, /v1/status",
            )
        })
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .with_state(app)
}
