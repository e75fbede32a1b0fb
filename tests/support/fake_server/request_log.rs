//! The requests that the fake server received, with their arrival times. Tests read this log to
//! check what a client did.
//!
//! Invariant: requests are in the order of arrival, and each one is logged before its response is
//! sent.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::service::ServiceKind;

/// The monotonic clock and the wall clock, read together.
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

#[derive(Clone, Debug)]
pub struct RecordedRequest {
    pub received_at: ClockSample,
    pub method: String,
    /// The service that the path belongs to.
    pub kind: ServiceKind,
    /// As sent, still percent-encoded.
    pub path: String,
    /// The value of the `workspace` header.
    pub workspace: Option<String>,
    /// The job that the path names, if any.
    pub job_id: Option<String>,
    pub is_list: bool,
    /// `None` if no response was sent.
    pub response_status: Option<u16>,
    /// Path and query, as sent.
    pub target: String,
    pub user_agent: Option<String>,
    pub cache_control: Option<String>,
}

#[derive(Default)]
pub struct RequestLog {
    pub requests: Vec<RecordedRequest>,
    /// See [`ServiceKind::client_violations`].
    pub client_violations: Vec<String>,
    /// The distinct credentials that were sent, valid or not.
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

    /// The largest number of requests that arrived within any half-open window of this length.
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

/// The number of requests being answered now, and its maximum so far.
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

/// Counts one request as in flight until it is dropped. It is dropped just before the last bytes of
/// the response are sent, so that the client's next request is never counted together with this
/// one.
pub struct InFlightGuard(Arc<ConcurrencyGauge>);

impl InFlightGuard {
    pub fn enter(gauge: &Arc<ConcurrencyGauge>) -> Self {
        let current = gauge.current.fetch_add(1, Ordering::SeqCst) + 1;
        gauge.maximum.fetch_max(current, Ordering::SeqCst);
        Self(Arc::clone(gauge))
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.current.fetch_sub(1, Ordering::SeqCst);
    }
}
