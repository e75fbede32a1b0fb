//! A stand-in provider: a real HTTP server on a loopback port that plays Dune's status endpoint by
//! script, with faults and limits on demand, and a record of all that was asked.
//!
//! Used by tests and by the demo, each of which includes it by its path; so it knows nothing of
//! this package. Time is real: a job's state is computed from the time since its submission.
//! `life` is pure, `dune` knows the provider, `world` decides, `server` and `raw` carry it out.
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::new_without_default,
    reason = "shared source: each user needs a part of it; it plays the outside, where clocks are"
)]

pub mod dune;
mod fault;
mod gzip;
mod http;
mod life;
mod limit;
mod raw;
mod record;
mod server;
mod world;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::time::timeout;

pub use fault::{Fault, Target, Times};
pub use life::{End, Life, Phase, Snapshot};
pub use limit::Limit;
pub use record::{Now, Request};
pub use world::Truth;

use record::Record;
use server::{Listening, Shared};

/// The API key that the stand-in takes at first.
pub const KEY: &str = "standin-key";

/// A running stand-in. Dropped, it stops.
pub struct StandIn {
    addr: SocketAddr,
    shared: Arc<Shared>,
    listening: Mutex<Option<Listening>>,
    /// Bound and never listening: keeps the port ours while the stand-in is paused.
    _port: TcpSocket,
}

impl StandIn {
    /// Starts on a free port of 127.0.0.1.
    pub async fn start() -> Self {
        let port = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let addr = port.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        let standin = Self { addr, shared, listening: Mutex::new(None), _port: port };
        standin.resume().await;
        standin
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Without a slash at its end.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Closes the listener and every connection: from now on connections are refused.
    pub async fn pause(&self) {
        let listening = self.listening.lock().expect("never poisoned").take();
        if let Some(listening) = listening {
            listening.end().await;
        }
    }

    /// Listens again, on the same port, with all that it knew.
    #[expect(clippy::unused_async, reason = "says that it needs a runtime, as `pause` does")]
    pub async fn resume(&self) {
        let mut listening = self.listening.lock().expect("never poisoned");
        if listening.is_none() {
            let listener = bind(self.addr).listen(1024).expect("the port is ours");
            *listening = Some(Listening::start(listener, Arc::clone(&self.shared)));
        }
    }

    /// Ends it, and waits until it has ended.
    pub async fn stop(self) {
        self.pause().await;
    }

    /// Puts a job in, or gives it a new life.
    pub fn put(&self, id: &str, life: Life) {
        self.shared.world().put(id, life, Now::read().wall);
    }

    /// From now on the job is not known.
    pub fn forget(&self, id: &str) {
        self.shared.world().forget(id);
    }

    /// A job's true life. Panics if it was never put in, or waits for its first request.
    pub fn truth(&self, id: &str) -> Truth {
        self.shared.world().truth(id).unwrap_or_else(|| panic!("{id} has no life that has begun"))
    }

    /// From now on only this API key is taken.
    pub fn set_key(&self, key: &str) {
        key.clone_into(&mut self.shared.world().key);
    }

    pub fn fault(&self, target: Target, fault: Fault, times: Times) {
        self.shared.world().faults.add(target, fault, times);
    }

    /// Takes back all faults that have not yet happened.
    pub fn clear_faults(&self) {
        self.shared.world().faults = fault::Faults::default();
    }

    /// Limits all requests together, from now on; a number is requests a minute.
    pub fn limit(&self, limit: impl Into<Limit>) {
        self.shared.world().limit = Some(limit::Window::new(limit.into()));
    }

    pub fn clear_limit(&self) {
        self.shared.world().limit = None;
    }

    /// All requests in the order of their arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.world().record.requests.clone()
    }

    pub fn count(&self) -> usize {
        self.shared.world().record.requests.len()
    }

    pub fn count_for(&self, id: &str) -> usize {
        self.shared.world().record.count_for(id)
    }

    /// The most requests that arrived within any half-open window of this length.
    pub fn max_in_window(&self, window: Duration) -> usize {
        self.shared.world().record.max_in_window(window)
    }

    /// The most requests that waited for their answers at once. One whose client gave up waits
    /// until the client's close is noticed.
    pub fn max_concurrent(&self) -> usize {
        self.shared.crowd.most()
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// What no client should have done.
    pub fn violations(&self) -> Vec<String> {
        self.shared.world().record.violations.clone()
    }

    /// The API keys that came, each once, good or bad.
    pub fn keys_seen(&self) -> Vec<String> {
        self.shared.world().record.keys.iter().cloned().collect()
    }

    /// Waits until there were `n` requests in all; panics after `deadline`.
    pub async fn wait_for_requests(&self, n: usize, deadline: Duration) {
        self.wait("requests", n, deadline, |record| record.requests.len()).await;
    }

    /// Waits until the job was asked for once; panics after `deadline`.
    pub async fn wait_for_request_of(&self, id: &str, deadline: Duration) {
        self.wait_for_requests_of(id, 1, deadline).await;
    }

    /// Waits until the job was asked for `n` times in all; panics after `deadline`.
    pub async fn wait_for_requests_of(&self, id: &str, n: usize, deadline: Duration) {
        let what = format!("requests for {id}");
        self.wait(&what, n, deadline, |record| record.count_for(id)).await;
    }

    async fn wait(
        &self,
        what: &str,
        n: usize,
        deadline: Duration,
        count: impl Fn(&Record) -> usize,
    ) {
        let mut arrivals = self.shared.arrivals.subscribe();
        let counted = || count(&self.shared.world().record);
        let enough = arrivals.wait_for(|_| counted() >= n);
        let in_time = timeout(deadline, enough).await.is_ok();
        assert!(in_time, "{} of {n} {what} after {deadline:?}", counted());
    }
}

/// A socket on `addr` beside others of ours: the port outlives a listener.
fn bind(addr: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("an option of every socket");
    socket.bind(addr).expect("a port of the loopback address");
    socket
}
