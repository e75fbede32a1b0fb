//! Serves one connection of the control socket until it ends, is closed for another, or the server ends.
//!
//! Spawned by [`serve`](super::serve). Reports to the connection's permit what the connection does.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::activity::Activity;
use super::connection_limiter::ConnectionPermit;
use super::write_timeout::WriteTimeout;

/// How long the head of a request may take, and how long a connection may be idle.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may read nothing while a response is sent.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// The buffers of a connection: for reading, which also limits the head of a request, and for writing.
const MAX_BUFFER_BYTES: usize = 16 << 10;
/// The kernel's buffer for what a client has not read yet.
const SEND_BUFFER_BYTES: usize = 32 << 10;
/// How long a shutdown waits for the next request of an idle connection. More than the time for which `jobtrack` keeps an
/// idle connection.
const NEXT_REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) async fn serve_connection(
    stream: UnixStream,
    permit: ConnectionPermit,
    router: Router,
    shutdown: CancellationToken,
) {
    let permit = Arc::new(permit);
    let request_permit = permit.clone();
    let request_in_progress = watch::Sender::new(false);
    let mut next_request = request_in_progress.subscribe();
    let ending = shutdown.clone();
    let service = hyper::service::service_fn(move |mut request: hyper::Request<_>| {
        request_in_progress.send_replace(true);
        let (request_in_progress, shutdown) = (request_in_progress.clone(), ending.clone());
        let (router, permit) = (router.clone(), request_permit.clone());
        let has_body = !HttpBody::is_end_stream(request.body());
        request.extensions_mut().insert(permit.clone());
        async move {
            if has_body {
                permit.set_activity(Activity::ReceivingBody);
            } else {
                permit.begin_handling().await;
            }
            let mut response = router.oneshot(request).await?;
            if shutdown.is_cancelled() {
                let close = header::HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            if !is_event_stream(response.headers()) {
                permit.begin_response();
            }
            Ok::<_, std::convert::Infallible>(response.map(|body| {
                Body::new(ResponseBody { body, permit, request_in_progress, shutdown })
            }))
        }
    });
    // The kernel's default would hold hundreds of kilobytes for a client that reads nothing, which must
    // be read from the database first. If it cannot be set, only that is lost.
    let _ = set_socket_send_buffer_size(&stream, SEND_BUFFER_BYTES);
    let stream = WriteTimeout::new(stream, WRITE_TIMEOUT);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .max_buf_size(MAX_BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // A graceful shutdown closes an idle connection. Its client may be sending a request, which would then
    // fail although a restarted daemon could serve it: wait briefly. The response to a request in progress tells
    // the client to open another connection for the next one.
    let drained = async {
        shutdown.cancelled().await;
        let _ = timeout(NEXT_REQUEST_TIMEOUT, next_request.wait_for(|&begun| begun)).await;
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = permit.close.cancelled() => return,
        () = drained => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection on the control socket failed");
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes() == b"text/event-stream")
}

/// A body that reports when it has been sent.
struct ResponseBody {
    body: Body,
    permit: Arc<ConnectionPermit>,
    request_in_progress: watch::Sender<bool>,
    shutdown: CancellationToken,
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // No other request follows on a connection whose response ends during a shutdown.
        if !self.shutdown.is_cancelled() {
            self.request_in_progress.send_replace(false);
        }
        self.permit.set_activity(Activity::Idle);
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
