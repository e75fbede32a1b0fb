//! The control socket's server: HTTP/1.1 and JSON on a Unix stream socket.
//!
//! Writes go to the scheduler's handle, reads to the store; a handler holds no state of its own.
//! Built for impatient and for broken clients: connections are capped and timed, bodies bounded.

mod events;
mod guests;
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

use crate::api::ReloadAnswer;
use crate::clock::Clock;
use crate::job::Utc;
use crate::scheduler::Handle;
use crate::store::Reader;

use guests::{Admission, Guests};
use problem::Problem;
pub use socket::{BindError, Leftover, Socket, check};

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
    /// For those who stay: streams and waits.
    pub places: Arc<Semaphore>,
}

impl App {
    /// So many connections are left to those who want an answer and go.
    const KEPT_FREE: usize = 64;

    /// Places for those who stay, as many as the cap on connections allows.
    #[must_use]
    pub fn places() -> Arc<Semaphore> {
        let cap = Guests::cap();
        Arc::new(Semaphore::new(cap.saturating_sub(Self::KEPT_FREE).max(cap / 2)))
    }

    /// A place to stay in; given up when dropped.
    fn place_to_wait(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.places.clone().try_acquire_owned().map_err(|_| Problem::crowded())
    }
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
    let guests = Guests::new();
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = socket.listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let admission = tokio::select! {
                    admission = guests.admit() => admission,
                    () = shutdown.cancelled() => break,
                };
                let served = serve_connection(stream, admission, router.clone(), shutdown.clone());
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
    admission: Admission,
    router: Router,
    shutdown: CancellationToken,
) {
    let peer = Peer { uid: stream.peer_cred().ok().map(|credentials| credentials.uid()) };
    let admission = Arc::new(admission);
    let guest = admission.clone();
    let asked = CancellationToken::new();
    let asks = asked.clone();
    let service = hyper::service::service_fn(move |mut request: hyper::Request<_>| {
        asks.cancel();
        request.extensions_mut().insert(peer);
        let (router, guest) = (router.clone(), guest.clone());
        guest.set_busy(true);
        async move {
            let response = router.oneshot(request).await;
            // A body without a length is a stream: it lasts as long as the connection does.
            let streams = |response: &Response| response.body().size_hint().exact().is_none();
            guest.set_busy(response.as_ref().is_ok_and(streams));
            response
        }
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
        () = admission.leave.cancelled() => return,
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
        .route("/v1/jobs/{id}/cancel", post(jobs::cancel))
        .route("/v1/providers/{name}/check", post(status::check))
        .route("/v1/providers/{name}/lessons", delete(status::forget))
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
