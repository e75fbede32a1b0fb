//! The accept loop and its connections. Decides nothing: `World` says what each request gets, and
//! `raw` sends it.
//!
//! Invariant: when [`Listening::end`] returns, the listener and every connection are closed.

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

/// What the handle and the connections have in common.
#[derive(Default)]
pub struct SharedState {
    state: Mutex<ServiceState>,
    pub concurrency: Arc<ConcurrencyGauge>,
    /// The number of requests so far: moves after each was recorded.
    pub request_count: watch::Sender<usize>,
    /// The number of connections so far.
    pub connection_count: AtomicUsize,
}

impl SharedState {
    pub fn lock_state(&self) -> MutexGuard<'_, ServiceState> {
        self.state.lock().expect("the world is never left broken")
    }
}

/// A listener at work; dropped, it ends on its own.
pub struct RunningListener {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl RunningListener {
    pub fn start(listener: TcpListener, shared: Arc<SharedState>) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { stop, task: tokio::spawn(accept_loop(listener, shared, stopped)) }
    }

    /// Closes all, and waits until it is closed.
    pub async fn shut_down(self) {
        drop(self.stop);
        self.task.await.expect("the accept loop ends well");
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
    // A broken connection is the client's business: it shows in what the client makes of it.
    while let Ok(Some(head)) = FakeHttpRequest::read(&mut connection).await {
        let in_flight = InFlightGuard::enter(&shared.concurrency);
        let (answer, delivery) = shared.lock_state().handle_request(&head, ClockSample::read);
        shared.request_count.send_modify(|count| *count += 1);
        match delivery::send(&mut connection, &answer, delivery, in_flight).await {
            Ok(true) if !head.wants_close() => {}
            Ok(_) | Err(_) => break,
        }
    }
}
