//! A fake of all providers: an HTTP server on a loopback port that serves the status and cancel
//! endpoints of Dune, Data Lake Insight and DataArts Studio from scripts, each at its own path,
//! with faults and rate limits on demand and a log of all requests.
//!
//! The tests, the benches and the demo include this module by its path, so it depends on nothing in
//! this package. Time is real: the state of a job is computed from the time since its submission.
//! `script` is pure, `service` describes the services, `service_state` decides the responses,
//! `server` and `delivery` carry them out.
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    clippy::expect_used,
    clippy::new_without_default,
    reason = "shared source: each program that includes it uses a part of it"
)]
#![expect(clippy::disallowed_methods, reason = "a remote service has its own clock")]

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

pub use delivery::Delivery;
pub use faults::{Fault, FaultRepeat, FaultTarget};
pub use http::{FakeHttpRequest, FakeHttpResponse};
pub use huawei::{ACCESS_KEY_ID, SECRET_ACCESS_KEY, SECURITY_TOKEN};
pub use iam::{DOMAIN_NAME, FIRST_TOKEN, PASSWORD, PROJECT_NAME, USER_NAME};
pub use rate_limit::RateLimit;
pub use request_log::{ClockSample, RecordedRequest};
pub use script::{JobEnd, JobPhase, JobScript, ScriptSnapshot};
pub use service::ServiceKind;
pub use service_state::{ServiceState, TrueHistory};

use server::{RunningListener, SharedState};

/// The API key and the token that are valid until [`FakeServer::set_credentials`] changes them.
pub const API_KEY: &str = "fake-api-key";

/// A running fake server; it stops when dropped.
pub struct FakeServer {
    addr: SocketAddr,
    state: Arc<SharedState>,
    listener: Mutex<Option<RunningListener>>,
    /// Bound and never listening: reserves the port while the server is paused.
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

    /// Without a trailing slash.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Closes the listener and every connection. Connections are refused until [`Self::resume`].
    pub async fn pause(&self) {
        let listening = self.listener.lock().expect("never poisoned").take();
        if let Some(listening) = listening {
            listening.shut_down().await;
        }
    }

    /// Listens again on the same port, with the same state.
    #[expect(clippy::unused_async, reason = "needs a runtime, like `pause`")]
    pub async fn resume(&self) {
        let mut listening = self.listener.lock().expect("never poisoned");
        if listening.is_none() {
            let listener =
                bind_reusing_address(self.addr).listen(1024).expect("the port is reserved");
            *listening = Some(RunningListener::start(listener, Arc::clone(&self.state)));
        }
    }

    /// Stops the server and waits until it has stopped.
    pub async fn stop(self) {
        self.pause().await;
    }

    /// Adds a Dune job, or replaces its script.
    pub fn add_job(&self, id: &str, script: JobScript) {
        self.add_job_of(ServiceKind::Dune, id, script);
    }

    /// Adds a job of any kind, or replaces its script. An id belongs to one kind only; an id of
    /// `DataArts` is `SCRIPT/INSTANCE`. Panics if the script has a phase that the kind does not
    /// have.
    pub fn add_job_of(&self, kind: ServiceKind, id: &str, script: JobScript) {
        let script = kind.resolve_states(script);
        self.state.lock_state().add_job(kind, id, script, ClockSample::read().wall);
    }

    /// Removes the job: later requests for it get "not found".
    pub fn remove_job(&self, id: &str) {
        self.state.lock_state().remove_job(id);
    }

    /// The history of a job by its script. Panics if the job does not exist or is not yet
    /// submitted.
    pub fn true_history(&self, id: &str) -> TrueHistory {
        self.state
            .lock_state()
            .true_history(id)
            .unwrap_or_else(|| panic!("{id} is unknown or not yet submitted"))
    }

    /// Makes `key` the only valid API key, token, password, and secret of [`ACCESS_KEY_ID`]. Tokens
    /// that were issued before are invalid.
    pub fn set_credentials(&self, key: &str) {
        let mut state = self.state.lock_state();
        key.clone_into(&mut state.api_key);
        key.clone_into(&mut state.secret_key);
        key.clone_into(&mut state.iam.password);
        state.iam.valid_tokens.clear();
    }

    /// Invalidates all tokens.
    pub fn invalidate_token(&self) {
        self.state.lock_state().iam.valid_tokens.clear();
    }

    /// Makes IAM reject every token request with this status; `None` ends that.
    pub fn reject_token_requests(&self, status: Option<u16>) {
        self.state.lock_state().iam.forced_status = status;
    }

    /// The projects, by name or id, for which tokens were requested with the right password.
    pub fn token_scopes_requested(&self) -> Vec<serde_json::Value> {
        self.state.lock_state().iam.scopes_requested.clone()
    }

    /// The number of token requests, valid or not.
    pub fn token_request_count(&self) -> usize {
        self.state.lock_state().iam.token_request_count
    }

    pub fn inject_fault(&self, target: FaultTarget, fault: Fault, repeat: FaultRepeat) {
        self.state.lock_state().faults.add(target, fault, repeat);
    }

    /// Removes all faults that are still pending.
    pub fn clear_faults(&self) {
        self.state.lock_state().faults = faults::PendingFaults::default();
    }

    /// Limits the rate of all requests together; a plain number means requests per minute.
    pub fn set_rate_limit(&self, limit: impl Into<RateLimit>) {
        self.state.lock_state().rate_limit = Some(rate_limit::SlidingWindow::new(limit.into()));
    }

    pub fn clear_rate_limit(&self) {
        self.state.lock_state().rate_limit = None;
    }
}

/// A socket on `addr` that can coexist with others on it: the reserved port must survive its
/// listeners.
fn bind_reusing_address(addr: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("an option of every socket");
    socket.bind(addr).expect("a port of the loopback address");
    socket
}
