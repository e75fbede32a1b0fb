//! Methods of [`FakeServer`] that read the request log, and methods that wait for requests to
//! arrive.
//!
//! Waiting uses arrival notifications and a deadline; nothing here sleeps.

use std::time::Duration;

use tokio::time::timeout;

use super::FakeServer;
use super::request_log::{RecordedRequest, RequestLog};

impl FakeServer {
    /// All requests in the order of arrival.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.state.lock_state().request_log.requests.clone()
    }

    pub fn request_count(&self) -> usize {
        self.state.lock_state().request_log.requests.len()
    }

    pub fn request_count_for_job(&self, id: &str) -> usize {
        self.state.lock_state().request_log.count_for_job(id)
    }

    /// The largest number of requests that arrived within any half-open window of this length.
    pub fn max_requests_in_window(&self, window: Duration) -> usize {
        self.state.lock_state().request_log.max_requests_in_window(window)
    }

    /// The largest number of requests in flight at once. A request whose client gave up counts
    /// until the server notices that the connection is closed.
    pub fn max_concurrent_requests(&self) -> usize {
        self.state.concurrency.maximum()
    }

    /// The number of connections accepted so far.
    pub fn connection_count(&self) -> usize {
        self.state.connection_count.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// See [`ServiceKind::client_violations`](super::ServiceKind::client_violations).
    pub fn client_violations(&self) -> Vec<String> {
        self.state.lock_state().request_log.client_violations.clone()
    }

    /// The distinct API keys, tokens and signing key ids that were sent, valid or not, sorted.
    pub fn credentials_seen(&self) -> Vec<String> {
        self.state.lock_state().request_log.credentials.iter().cloned().collect()
    }

    pub fn list_request_count(&self) -> usize {
        self.state.lock_state().request_log.list_request_count()
    }

    /// Waits until `n` list requests have arrived in total; panics after `deadline`.
    pub async fn wait_for_list_requests(&self, n: usize, deadline: Duration) {
        self.wait_for_count("list requests", n, deadline, RequestLog::list_request_count).await;
    }

    /// Waits until `n` requests have arrived in total; panics after `deadline`.
    pub async fn wait_for_requests(&self, n: usize, deadline: Duration) {
        self.wait_for_count("requests", n, deadline, |log| log.requests.len()).await;
    }

    /// Waits until the job has been requested once; panics after `deadline`.
    pub async fn wait_for_first_request_for(&self, id: &str, deadline: Duration) {
        self.wait_for_requests_for(id, 1, deadline).await;
    }

    /// Waits until the job has been requested `n` times in total; panics after `deadline`.
    pub async fn wait_for_requests_for(&self, id: &str, n: usize, deadline: Duration) {
        let description = format!("requests for {id}");
        self.wait_for_count(&description, n, deadline, |log| log.count_for_job(id)).await;
    }

    async fn wait_for_count(
        &self,
        description: &str,
        n: usize,
        deadline: Duration,
        count: impl Fn(&RequestLog) -> usize,
    ) {
        let mut arrivals = self.state.request_count.subscribe();
        let current = || count(&self.state.lock_state().request_log);
        let reached = arrivals.wait_for(|_| current() >= n);
        let in_time = timeout(deadline, reached).await.is_ok();
        assert!(in_time, "{} of {n} {description} after {deadline:?}", current());
    }
}
