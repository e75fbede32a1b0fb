//! What was asked, and when: the record against which tests hold a client.
//!
//! Invariant: requests lie in the order of their arrival, each written before its answer is sent.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::service::Kind;

/// Both clocks, read at once.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub mono: Instant,
    pub wall: Timestamp,
}

impl Now {
    pub fn read() -> Self {
        Self { mono: Instant::now(), wall: Timestamp::now() }
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its arrival.
    pub at: Now,
    pub method: String,
    /// Whose endpoint its path was meant for.
    pub kind: Kind,
    /// As it was sent, still percent-encoded.
    pub path: String,
    /// The header of this name.
    pub workspace: Option<String>,
    /// The job that it asked for, if its path names one.
    pub job: Option<String>,
    /// Whether it asked for a list of jobs.
    pub list: bool,
    /// The status of its answer; none if it got no answer.
    pub status: Option<u16>,
    /// Its path and query, as they were sent.
    pub target: String,
    pub user_agent: Option<String>,
}

/// All requests, and what they showed.
#[derive(Default)]
pub struct Record {
    pub requests: Vec<Request>,
    pub violations: Vec<String>,
    pub keys: BTreeSet<String>,
    per_job: HashMap<String, usize>,
}

impl Record {
    pub fn add(&mut self, request: Request) {
        if let Some(job) = &request.job {
            match self.per_job.get_mut(job) {
                Some(count) => *count += 1,
                None => drop(self.per_job.insert(job.clone(), 1)),
            }
        }
        self.requests.push(request);
    }

    pub fn count_for(&self, job: &str) -> usize {
        self.per_job.get(job).copied().unwrap_or(0)
    }

    pub fn lists(&self) -> usize {
        self.requests.iter().filter(|request| request.list).count()
    }

    /// The most requests that arrived within any half-open window of this length.
    pub fn max_in_window(&self, window: Duration) -> usize {
        let mut oldest = 0;
        let mut most = 0;
        for (newest, request) in self.requests.iter().enumerate() {
            while request.at.mono.duration_since(self.requests[oldest].at.mono) >= window {
                oldest += 1;
                if oldest > newest {
                    break;
                }
            }
            most = most.max(newest + 1 - oldest);
        }
        most
    }
}

/// How many requests wait for their answers, and the most that ever did.
#[derive(Default)]
pub struct Crowd {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Crowd {
    pub fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

/// One request that waits; dropped just before the last bytes of its answer go out, so that the
/// client's next request is never counted beside it.
pub struct Busy(Arc<Crowd>);

impl Busy {
    pub fn enter(crowd: &Arc<Crowd>) -> Self {
        let now = crowd.now.fetch_add(1, Ordering::SeqCst) + 1;
        crowd.most.fetch_max(now, Ordering::SeqCst);
        Self(Arc::clone(crowd))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}
