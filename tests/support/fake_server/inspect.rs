//! What a test learns of the requests that came.
//!
//! Waiting is for an arrival, with a deadline; nothing here sleeps.

use std::time::Duration;

use tokio::time::timeout;

use super::StandIn;
use super::request_log::{Record, Request};

impl StandIn {
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
        self.shared.connections.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// What no client should have done.
    pub fn violations(&self) -> Vec<String> {
        self.shared.world().record.violations.clone()
    }

    /// The API keys and tokens that came, and the ids of those that signed, each once, good or bad.
    pub fn keys_seen(&self) -> Vec<String> {
        self.shared.world().record.keys.iter().cloned().collect()
    }

    /// How many of them asked for a list of jobs.
    pub fn lists(&self) -> usize {
        self.shared.world().record.lists()
    }

    /// Waits until there were `n` requests for a list of jobs; panics after `deadline`.
    pub async fn wait_for_lists(&self, n: usize, deadline: Duration) {
        self.wait("requests for a list", n, deadline, Record::lists).await;
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
