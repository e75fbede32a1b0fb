//! A stand-in for all providers: a real HTTP server on a loopback port that plays the status
//! and cancel endpoints of Dune, Data Lake Insight and DataArts Studio by script, each at its own path, with
//! faults and limits on demand, and a record of all that was asked.
//!
//! Used by tests and by the demo, each of which includes it by its path; so it knows nothing of
//! this package. Time is real: a job's state is computed from the time since its submission.
//! `script` is pure, `service` knows the services, `service_state` decides, `server` and `delivery`
//! carry it out.
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::new_without_default,
    reason = "shared source: each user needs a part of it; it plays the outside, where clocks are"
)]

pub mod dataarts;
mod delivery;
pub mod dli;
pub mod dune;
mod faults;
mod gzip;
mod http;
mod huawei;
mod iam;
mod inspect;
mod rate_limit;
mod request_log;
mod script;
mod server;
mod service;
mod service_state;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::net::TcpSocket;

pub use faults::{Fault, Target, Times};
pub use huawei::{AK, SECURITY_TOKEN, SK};
pub use iam::{DOMAIN, FIRST_TOKEN, PASSWORD, PROJECT, USER};
pub use rate_limit::Limit;
pub use request_log::{Now, Request};
pub use script::{End, Life, Phase, Snapshot};
pub use service::Kind;
pub use service_state::Truth;

use server::{Listening, Shared};

/// The API key, and the token, that the stand-in takes at first.
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

    /// Puts a job of Dune's in, or gives it a new life.
    pub fn put(&self, id: &str, life: Life) {
        self.put_for(Kind::Dune, id, life);
    }

    /// Puts a job of any kind in, or gives it a new life. Ids are not shared between kinds; one of
    /// `DataArts` is `SCRIPT/INSTANCE`. Panics if the life has an end that the kind does not know.
    pub fn put_for(&self, kind: Kind, id: &str, life: Life) {
        let life = kind.reads(life);
        self.shared.world().put(kind, id, life, Now::read().wall);
    }

    /// From now on the job is not known.
    pub fn forget(&self, id: &str) {
        self.shared.world().forget(id);
    }

    /// A job's true life. Panics if it was never put in, or waits for its first request.
    pub fn truth(&self, id: &str) -> Truth {
        self.shared.world().truth(id).unwrap_or_else(|| panic!("{id} has no life that has begun"))
    }

    /// From now on only this API key is taken, only this token or password, and only what
    /// [`AK`] signed with it.
    pub fn set_key(&self, key: &str) {
        let mut world = self.shared.world();
        key.clone_into(&mut world.key);
        key.clone_into(&mut world.sk);
        key.clone_into(&mut world.iam.password);
        world.iam.token = None;
    }

    /// The token that was fetched last is no longer taken.
    pub fn kill_token(&self) {
        self.shared.world().iam.token = None;
    }

    /// From now on IAM answers with this status and gives no token; with none it gives them again.
    pub fn refuse_tokens(&self, status: Option<u16>) {
        self.shared.world().iam.refuses = status;
    }

    /// How often a token was asked for, good or bad.
    pub fn token_fetches(&self) -> usize {
        self.shared.world().iam.fetches
    }

    pub fn fault(&self, target: Target, fault: Fault, times: Times) {
        self.shared.world().faults.add(target, fault, times);
    }

    /// Takes back all faults that have not yet happened.
    pub fn clear_faults(&self) {
        self.shared.world().faults = faults::Faults::default();
    }

    /// Limits all requests together, from now on; a number is requests a minute.
    pub fn limit(&self, limit: impl Into<Limit>) {
        self.shared.world().limit = Some(rate_limit::Window::new(limit.into()));
    }

    pub fn clear_limit(&self) {
        self.shared.world().limit = None;
    }
}

/// A socket on `addr` beside others of ours: the port outlives a listener.
fn bind(addr: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("an option of every socket");
    socket.bind(addr).expect("a port of the loopback address");
    socket
}
