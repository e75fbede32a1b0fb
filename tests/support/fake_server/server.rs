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
use super::http::Head;
use super::request_log::{Busy, Crowd, Now};
use super::service_state::World;

/// What the handle and the connections have in common.
#[derive(Default)]
pub struct Shared {
    world: Mutex<World>,
    pub crowd: Arc<Crowd>,
    /// The number of requests so far: moves after each was recorded.
    pub arrivals: watch::Sender<usize>,
    /// The number of connections so far.
    pub connections: AtomicUsize,
}

impl Shared {
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("the world is never left broken")
    }
}

/// A listener at work; dropped, it ends on its own.
pub struct Listening {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Listening {
    pub fn start(listener: TcpListener, shared: Arc<Shared>) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { stop, task: tokio::spawn(accept(listener, shared, stopped)) }
    }

    /// Closes all, and waits until it is closed.
    pub async fn end(self) {
        drop(self.stop);
        self.task.await.expect("the accept loop ends well");
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stopped: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            taken = listener.accept() => {
                let (stream, _) = taken.expect("a connection can be accepted");
                shared.connections.fetch_add(1, Ordering::SeqCst);
                connections.spawn(serve(stream, Arc::clone(&shared)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    stream.set_nodelay(true).expect("a TCP connection");
    let mut connection = BufReader::new(stream);
    // A broken connection is the client's business: it shows in what the client makes of it.
    while let Ok(Some(head)) = Head::read(&mut connection).await {
        let busy = Busy::enter(&shared.crowd);
        let (answer, manner) = shared.world().take(&head, Now::read);
        shared.arrivals.send_modify(|count| *count += 1);
        match delivery::send(&mut connection, &answer, manner, busy).await {
            Ok(true) if !head.closes() => {}
            Ok(_) | Err(_) => break,
        }
    }
}
