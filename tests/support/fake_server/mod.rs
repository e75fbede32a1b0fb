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

pub use faults::{Fault, FaultRepeat, FaultTarget};
pub use huawei::{ACCESS_KEY_ID, SECRET_ACCESS_KEY, SECURITY_TOKEN};
pub use iam::{DOMAIN_NAME, FIRST_TOKEN, PASSWORD, PROJECT_NAME, USER_NAME};
pub use rate_limit::RateLimit;
pub use request_log::{ClockSample, RecordedRequest};
pub use script::{JobEnd, JobPhase, JobScript, ScriptSnapshot};
pub use service::ServiceKind;
pub use service_state::TrueHistory;

use server::{RunningListener, SharedState};

/// The API key, and the token, that the stand-in takes at first.
pub const API_KEY: &str = "fake-api-key";

/// A running stand-in. Dropped, it stops.
pub struct FakeServer {
    addr: SocketAddr,
    state: Arc<SharedState>,
    listener: Mutex<Option<RunningListener>>,
    /// Bound and never listening: keeps the port ours while the stand-in is paused.
    _port: TcpSocket,
}

impl FakeServer {
    /// Starts on a free port of 127.0.0.1.
    pub async fn start() -> Self {
        let port = bind_reusing_address(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let addr = port.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(SharedState::default());
        let server = Self { addr, state: shared, listener: Mutex::new(None), _port: port };
        server.resume().await;
        server
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
        let listening = self.listener.lock().expect("never poisoned").take();
        if let Some(listening) = listening {
            listening.shut_down().await;
        }
    }

    /// Listens again, on the same port, with all that it knew.
    #[expect(clippy::unused_async, reason = "says that it needs a runtime, as `pause` does")]
    pub async fn resume(&self) {
        let mut listening = self.listener.lock().expect("never poisoned");
        if listening.is_none() {
            let listener = bind_reusing_address(self.addr).listen(1024).expect("the port is ours");
            *listening = Some(RunningListener::start(listener, Arc::clone(&self.state)));
        }
    }

    /// Ends it, and waits until it has ended.
    pub async fn stop(self) {
        self.pause().await;
    }

    /// Puts a job of Dune's in, or gives it a new life.
    pub fn add_job(&self, id: &str, script: JobScript) {
        self.add_job_of(ServiceKind::Dune, id, script);
    }

    /// Puts a job of any kind in, or gives it a new life. Ids are not shared between kinds; one of
    /// `DataArts` is `SCRIPT/INSTANCE`. Panics if the life has an end that the kind does not know.
    pub fn add_job_of(&self, kind: ServiceKind, id: &str, script: JobScript) {
        let life = kind.resolve_states(script);
        self.state.lock_state().add_job(kind, id, life, ClockSample::read().wall);
    }

    /// From now on the job is not known.
    pub fn remove_job(&self, id: &str) {
        self.state.lock_state().remove_job(id);
    }

    /// A job's true life. Panics if it was never put in, or waits for its first request.
    pub fn true_history(&self, id: &str) -> TrueHistory {
        self.state
            .lock_state()
            .true_history(id)
            .unwrap_or_else(|| panic!("{id} has no life that has begun"))
    }

    /// From now on only this API key is taken, only this token or password, and only what
    /// [`AK`] signed with it.
    pub fn set_credentials(&self, key: &str) {
        let mut world = self.state.lock_state();
        key.clone_into(&mut world.api_key);
        key.clone_into(&mut world.secret_key);
        key.clone_into(&mut world.iam.password);
        world.iam.valid_token = None;
    }

    /// The token that was fetched last is no longer taken.
    pub fn invalidate_token(&self) {
        self.state.lock_state().iam.valid_token = None;
    }

    /// From now on IAM answers with this status and gives no token; with none it gives them again.
    pub fn reject_token_requests(&self, status: Option<u16>) {
        self.state.lock_state().iam.forced_status = status;
    }

    /// How often a token was asked for, good or bad.
    pub fn token_request_count(&self) -> usize {
        self.state.lock_state().iam.token_request_count
    }

    pub fn inject_fault(&self, target: FaultTarget, fault: Fault, times: FaultRepeat) {
        self.state.lock_state().faults.add(target, fault, times);
    }

    /// Takes back all faults that have not yet happened.
    pub fn clear_faults(&self) {
        self.state.lock_state().faults = faults::PendingFaults::default();
    }

    /// Limits all requests together, from now on; a number is requests a minute.
    pub fn set_rate_limit(&self, limit: impl Into<RateLimit>) {
        self.state.lock_state().rate_limit = Some(rate_limit::SlidingWindow::new(limit.into()));
    }

    pub fn clear_rate_limit(&self) {
        self.state.lock_state().rate_limit = None;
    }
}

/// A socket on `addr` beside others of ours: the port outlives a listener.
fn bind_reusing_address(addr: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("an option of every socket");
    socket.bind(addr).expect("a port of the loopback address");
    socket
}
