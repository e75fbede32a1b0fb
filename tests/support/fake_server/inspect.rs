//! What a test learns of the requests that came.
//!
//! Waiting is for an arrival, with a deadline; nothing here sleeps.

use std::time::Duration;

use tokio::time::timeout;

use super::FakeServer;
use super::request_log::{RecordedRequest, RequestLog};

impl FakeServer {
    /// All requests in the order of their arrival.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.state.lock_state().request_log.requests.clone()
    }

    pub fn request_count(&self) -> usize {
        self.state.lock_state().request_log.requests.len()
    }

    pub fn request_count_for_job(&self, id: &str) -> usize {
        self.state.lock_state().request_log.count_for_job(id)
    }

    /// The most requests that arrived within any half-open window of this length.
    pub fn max_requests_in_window(&self, window: Duration) -> usize {
        self.state.lock_state().request_log.max_requests_in_window(window)
    }

    /// The most requests that waited for their answers at once. One whose client gave up waits
    /// until the client's close is noticed.
    pub fn max_concurrent_requests(&self) -> usize {
        self.state.concurrency.maximum()
    }

    /// How many connections were made to it.
    pub fn connection_count(&self) -> usize {
        self.state.connection_count.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// What no client should have done.
    pub fn client_violations(&self) -> Vec<String> {
        self.state.lock_state().request_log.client_violations.clone()
    }

    /// The API keys and tokens that came, and the ids of those that signed, each once, good or bad.
    pub fn credentials_seen(&self) -> Vec<String> {
        self.state.lock_state().request_log.credentials.iter().cloned().collect()
    }

    /// How many of them asked for a list of jobs.
    pub fn list_request_count(&self) -> usize {
        self.state.lock_state().request_log.list_request_count()
    }

    /// Waits until there were `n` requests for a list of jobs; panics after `deadline`.
    pub async fn wait_for_list_requests(&self, n: usize, deadline: Duration) {
        self.wait_for_count("requests for a list", n, deadline, RequestLog::list_request_count)
            .await;
    }

    /// Waits until there were `n` requests in all; panics after `deadline`.
    pub async fn wait_for_requests(&self, n: usize, deadline: Duration) {
        self.wait_for_count("requests", n, deadline, |record| record.requests.len()).await;
    }

    /// Waits until the job was asked for once; panics after `deadline`.
    pub async fn wait_for_first_request_for(&self, id: &str, deadline: Duration) {
        self.wait_for_requests_for(id, 1, deadline).await;
    }

    /// Waits until the job was asked for `n` times in all; panics after `deadline`.
    pub async fn wait_for_requests_for(&self, id: &str, n: usize, deadline: Duration) {
        let description = format!("requests for {id}");
        self.wait_for_count(&description, n, deadline, |record| record.count_for_job(id)).await;
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
