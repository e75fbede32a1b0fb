//! Accepts connections, reads requests and sends responses. [`ServiceState`] decides the response
//! to each request, and `delivery` sends it.
//!
//! Invariant: when [`RunningListener::shut_down`] returns, the listener and every connection are
//! closed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::delivery;
use super::http::FakeHttpRequest;
use super::request_log::{ClockSample, ConcurrencyGauge, InFlightGuard};
use super::service_state::ServiceState;

/// Shared by the handle of the server and its connections.
#[derive(Default)]
pub struct SharedState {
    state: Mutex<ServiceState>,
    pub concurrency: Arc<ConcurrencyGauge>,
    /// The number of requests so far; incremented after the request was logged.
    pub request_count: watch::Sender<usize>,
    pub connection_count: AtomicUsize,
}

impl SharedState {
    pub fn lock_state(&self) -> MutexGuard<'_, ServiceState> {
        self.state.lock().expect("no request handler panics")
    }
}

/// A running accept loop; it stops when this handle is dropped.
pub struct RunningListener {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl RunningListener {
    pub fn start(listener: TcpListener, shared: Arc<SharedState>) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { stop, task: tokio::spawn(accept_loop(listener, shared, stopped)) }
    }

    /// Stops the accept loop and waits until the listener and all connections are closed.
    pub async fn shut_down(self) {
        drop(self.stop);
        self.task.await.expect("the accept loop does not panic");
    }
}

async fn accept_loop(
    listener: TcpListener,
    shared: Arc<SharedState>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            accepted = listener.accept() => {
                let (stream, _) = accepted.expect("a connection can be accepted");
                shared.connection_count.fetch_add(1, Ordering::SeqCst);
                connections.spawn(serve_connection(stream, Arc::clone(&shared)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn serve_connection(stream: TcpStream, shared: Arc<SharedState>) {
    stream.set_nodelay(true).expect("a TCP connection");
    let mut connection = BufReader::new(stream);
    // An error of the connection is not reported here: tests check how the client handles it.
    while let Ok(Some(request)) = FakeHttpRequest::read(&mut connection).await {
        let in_flight = InFlightGuard::enter(&shared.concurrency);
        let (response, delivery) = shared.lock_state().handle_request(&request, ClockSample::read);
        shared.request_count.send_modify(|count| *count += 1);
        match delivery::send(&mut connection, &response, delivery, in_flight).await {
            Ok(true) if !request.wants_close() => {}
            Ok(_) | Err(_) => break,
        }
    }
}
