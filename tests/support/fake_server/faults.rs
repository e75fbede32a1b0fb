//! Faults on demand: what may go wrong, for whom, how often.
//!
//! A fault either replaces the good answer or spoils the way in which it is sent (`raw`).
//! Invariant: a fault for one job, or for lists, comes before those for all; of one target, the oldest first.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::delivery::Delivery;
use super::gzip;
use super::http::FakeHttpResponse;
use super::service::{ServiceKind, ServiceRejection};

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status, as JSON unless the headers name another `content-type`.
    Status { code: u16, body: String, headers: Vec<(String, String)> },
    /// 429 in the kind's own words, with this `Retry-After` if there is one.
    RateLimited { retry_after: Option<String> },
    /// A 200 with any content.
    Body { content_type: String, bytes: Vec<u8> },
    /// 302 to this URL.
    Redirect(String),
    /// A 200 of a few bytes that unpack to so many zeros.
    GzipBomb(usize),
    /// The good answer, true when it was asked for, but nothing of it before so long.
    Delayed(Duration),
    /// The good answer, with this pause after each byte of its head.
    SlowHeaders(Duration),
    /// The good answer, with this pause after each byte of its body.
    SlowBody(Duration),
    /// No answer, ever.
    Hang,
    /// The connection is reset instead of an answer.
    Reset,
    /// The good answer, closed before the length that it tells.
    TruncatedBody,
    /// A 200 with so many bytes.
    HugeBody(usize),
    /// A 200 that never ends.
    EndlessChunks,
}

/// Whose requests a fault meets.
#[derive(Clone, Debug)]
pub enum FaultTarget {
    All,
    Job(String),
    ListRequests,
}

impl FaultTarget {
    pub fn job(id: &str) -> Self {
        Self::Job(id.to_owned())
    }
}

/// How many requests a fault meets.
#[derive(Clone, Copy, Debug)]
pub enum FaultRepeat {
    Once,
    Times(usize),
    /// Until the faults are cleared.
    Always,
}

impl Fault {
    /// A refusal with a JSON body, or with any text.
    pub fn status(code: u16, body: &str) -> Self {
        Self::Status { code, body: body.to_owned(), headers: Vec::new() }
    }

    /// What is sent in place of `good`, and how.
    pub fn apply(
        self,
        kind: ServiceKind,
        normal_response: FakeHttpResponse,
    ) -> (FakeHttpResponse, Delivery) {
        match self {
            Self::Status { code, body, headers } => {
                let is_content_type =
                    |(name, _): &&(String, String)| name.eq_ignore_ascii_case("content-type");
                let named = headers.iter().find(is_content_type);
                let kind = named.map_or("application/json", |(_, value)| value.as_str());
                let answer = FakeHttpResponse::new(code, kind, body.into_bytes());
                let others = headers.iter().filter(|pair| Some(*pair) != named);
                let answer = others.fold(answer, |a, (name, value)| a.header(name, value));
                (answer, Delivery::Normal)
            }
            Self::RateLimited { retry_after } => {
                let rejection = ServiceRejection::RateLimited { limit: 6000.into(), retry_after };
                (kind.rejection_response(&rejection), Delivery::Normal)
            }
            Self::Body { content_type, bytes } => {
                (FakeHttpResponse::new(200, &content_type, bytes), Delivery::Normal)
            }
            Self::Redirect(url) => {
                let answer =
                    FakeHttpResponse::new(302, "text/plain", Vec::new()).header("location", url);
                (answer, Delivery::Normal)
            }
            Self::GzipBomb(size) => {
                let answer =
                    FakeHttpResponse::new(200, "application/json", gzip::gzipped_zeros(size));
                (answer.header("content-encoding", "gzip"), Delivery::Normal)
            }
            Self::Delayed(wait) => (normal_response, Delivery::Delayed(wait)),
            Self::SlowHeaders(pause) => (normal_response, Delivery::SlowHeaders(pause)),
            Self::SlowBody(pause) => (normal_response, Delivery::SlowBody(pause)),
            Self::Hang => (normal_response, Delivery::NoResponse),
            Self::Reset => (normal_response, Delivery::Reset),
            Self::TruncatedBody => (normal_response, Delivery::TruncatedBody),
            Self::HugeBody(size) => (
                FakeHttpResponse::new(200, "application/json", Vec::new()),
                Delivery::HugeBody(size),
            ),
            Self::EndlessChunks => (
                FakeHttpResponse::new(200, "application/json", Vec::new()),
                Delivery::EndlessChunks,
            ),
        }
    }
}

/// The faults that wait for their requests.
#[derive(Default)]
pub struct PendingFaults {
    all: VecDeque<(Fault, FaultRepeat)>,
    jobs: HashMap<String, VecDeque<(Fault, FaultRepeat)>>,
    list_requests: VecDeque<(Fault, FaultRepeat)>,
}

impl PendingFaults {
    pub fn add(&mut self, target: FaultTarget, fault: Fault, times: FaultRepeat) {
        let queue = match target {
            FaultTarget::All => &mut self.all,
            FaultTarget::ListRequests => &mut self.list_requests,
            FaultTarget::Job(id) => self.jobs.entry(id).or_default(),
        };
        queue.push_back((fault, times));
    }

    /// The fault that the next request for `job`, or for a list, meets.
    pub fn take_for_request(&mut self, job: Option<&str>, list: bool) -> Option<Fault> {
        let specific = match job {
            _ if list => pop_next(&mut self.list_requests),
            job => job.and_then(|id| self.jobs.get_mut(id)).and_then(pop_next),
        };
        specific.or_else(|| pop_next(&mut self.all))
    }
}

fn pop_next(queue: &mut VecDeque<(Fault, FaultRepeat)>) -> Option<Fault> {
    while let Some((fault, times)) = queue.front_mut() {
        match times {
            FaultRepeat::Always => return Some(fault.clone()),
            FaultRepeat::Times(left @ 2..) => {
                *left -= 1;
                return Some(fault.clone());
            }
            FaultRepeat::Once | FaultRepeat::Times(1) => {
                return queue.pop_front().map(|(fault, _)| fault);
            }
            FaultRepeat::Times(0) => queue.pop_front(),
        };
    }
    None
}
