//! What was asked, and when: the record against which tests hold a client.
//!
//! Invariant: requests lie in the order of their arrival, each written before its answer is sent.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::service::ServiceKind;

/// Both clocks, read at once.
#[derive(Clone, Copy, Debug)]
pub struct ClockSample {
    pub monotonic: Instant,
    pub wall: Timestamp,
}

impl ClockSample {
    pub fn read() -> Self {
        Self { monotonic: Instant::now(), wall: Timestamp::now() }
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct RecordedRequest {
    /// Its arrival.
    pub received_at: ClockSample,
    pub method: String,
    /// Whose endpoint its path was meant for.
    pub kind: ServiceKind,
    /// As it was sent, still percent-encoded.
    pub path: String,
    /// The header of this name.
    pub workspace: Option<String>,
    /// The job that it asked for, if its path names one.
    pub job_id: Option<String>,
    /// Whether it asked for a list of jobs.
    pub is_list: bool,
    /// The status of its answer; none if it got no answer.
    pub response_status: Option<u16>,
    /// Its path and query, as they were sent.
    pub target: String,
    pub user_agent: Option<String>,
}

/// All requests, and what they showed.
#[derive(Default)]
pub struct RequestLog {
    pub requests: Vec<RecordedRequest>,
    pub client_violations: Vec<String>,
    pub credentials: BTreeSet<String>,
    count_by_job: HashMap<String, usize>,
}

impl RequestLog {
    pub fn add(&mut self, request: RecordedRequest) {
        if let Some(job) = &request.job_id {
            match self.count_by_job.get_mut(job) {
                Some(count) => *count += 1,
                None => drop(self.count_by_job.insert(job.clone(), 1)),
            }
        }
        self.requests.push(request);
    }

    pub fn count_for_job(&self, job: &str) -> usize {
        self.count_by_job.get(job).copied().unwrap_or(0)
    }

    pub fn list_request_count(&self) -> usize {
        self.requests.iter().filter(|request| request.is_list).count()
    }

    /// The most requests that arrived within any half-open window of this length.
    pub fn max_requests_in_window(&self, window: Duration) -> usize {
        let mut oldest = 0;
        let mut maximum = 0;
        for (newest, request) in self.requests.iter().enumerate() {
            while request
                .received_at
                .monotonic
                .duration_since(self.requests[oldest].received_at.monotonic)
                >= window
            {
                oldest += 1;
                if oldest > newest {
                    break;
                }
            }
            maximum = maximum.max(newest + 1 - oldest);
        }
        maximum
    }
}

/// How many requests wait for their answers, and the most that ever did.
#[derive(Default)]
pub struct ConcurrencyGauge {
    current: AtomicUsize,
    maximum: AtomicUsize,
}

impl ConcurrencyGauge {
    pub fn maximum(&self) -> usize {
        self.maximum.load(Ordering::SeqCst)
    }
}

/// One request that waits; dropped just before the last bytes of its answer go out, so that the
/// client's next request is never counted beside it.
pub struct InFlightGuard(Arc<ConcurrencyGauge>);

impl InFlightGuard {
    pub fn enter(crowd: &Arc<ConcurrencyGauge>) -> Self {
        let now = crowd.current.fetch_add(1, Ordering::SeqCst) + 1;
        crowd.maximum.fetch_max(now, Ordering::SeqCst);
        Self(Arc::clone(crowd))
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.current.fetch_sub(1, Ordering::SeqCst);
    }
}
