//! Faults on demand: what goes wrong, for which requests, and how often.
//!
//! A fault either replaces the normal response or changes how it is sent (`delivery`).
//! Invariant: a fault for one job, or for list requests, takes precedence over the faults for all
//! requests; among faults for the same target the oldest comes first.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::delivery::Delivery;
use super::gzip;
use super::http::FakeHttpResponse;
use super::service::{ServiceKind, ServiceRejection};

#[derive(Clone, Debug)]
pub enum Fault {
    /// A response with this status; JSON unless the headers name another `content-type`.
    Status { code: u16, body: String, headers: Vec<(String, String)> },
    /// 429 in the format of the service, with this `Retry-After` header if any.
    RateLimited { retry_after: Option<String> },
    /// 200 with any content.
    Body { content_type: String, bytes: Vec<u8> },
    /// 302 to this URL.
    Redirect(String),
    /// 200 with a small gzip body that decompresses to this many bytes.
    GzipBomb(usize),
    /// The normal response as of the request's arrival, sent after this delay.
    Delayed(Duration),
    /// The normal response, with this pause after each byte of its headers.
    SlowHeaders(Duration),
    /// The normal response, with this pause after each byte of its body.
    SlowBody(Duration),
    /// No response; the connection stays open.
    Hang,
    /// The connection is reset; no response is sent.
    Reset,
    /// The normal response with a larger `Content-Length` than its body; the connection is then
    /// closed.
    TruncatedBody,
    /// 200 with a body of this many bytes.
    HugeBody(usize),
    /// 200 with a chunked body that never ends.
    EndlessChunks,
}

/// The requests that a fault applies to.
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

/// The number of requests that a fault applies to.
#[derive(Clone, Copy, Debug)]
pub enum FaultRepeat {
    Once,
    Times(usize),
    /// Until the faults are cleared.
    Always,
}

impl Fault {
    pub fn status(code: u16, body: &str) -> Self {
        Self::Status { code, body: body.to_owned(), headers: Vec::new() }
    }

    /// The response that is sent instead of `normal_response`, and how it is sent.
    pub fn apply(
        self,
        kind: ServiceKind,
        normal_response: FakeHttpResponse,
    ) -> (FakeHttpResponse, Delivery) {
        match self {
            Self::Status { code, body, headers } => {
                let is_content_type =
                    |(name, _): &&(String, String)| name.eq_ignore_ascii_case("content-type");
                let content_type = headers.iter().find(is_content_type);
                let content_type_value =
                    content_type.map_or("application/json", |(_, value)| value.as_str());
                let response = FakeHttpResponse::new(code, content_type_value, body.into_bytes());
                let others = headers.iter().filter(|pair| Some(*pair) != content_type);
                let response = others.fold(response, |a, (name, value)| a.header(name, value));
                (response, Delivery::Normal)
            }
            Self::RateLimited { retry_after } => {
                let rejection = ServiceRejection::RateLimited { limit: 6000.into(), retry_after };
                (kind.rejection_response(&rejection), Delivery::Normal)
            }
            Self::Body { content_type, bytes } => {
                (FakeHttpResponse::new(200, &content_type, bytes), Delivery::Normal)
            }
            Self::Redirect(url) => {
                let response =
                    FakeHttpResponse::new(302, "text/plain", Vec::new()).header("location", url);
                (response, Delivery::Normal)
            }
            Self::GzipBomb(size) => {
                let response =
                    FakeHttpResponse::new(200, "application/json", gzip::gzipped_zeros(size));
                (response.header("content-encoding", "gzip"), Delivery::Normal)
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

#[derive(Default)]
pub struct PendingFaults {
    all: VecDeque<(Fault, FaultRepeat)>,
    jobs: HashMap<String, VecDeque<(Fault, FaultRepeat)>>,
    list_requests: VecDeque<(Fault, FaultRepeat)>,
}

impl PendingFaults {
    pub fn add(&mut self, target: FaultTarget, fault: Fault, repeat: FaultRepeat) {
        let queue = match target {
            FaultTarget::All => &mut self.all,
            FaultTarget::ListRequests => &mut self.list_requests,
            FaultTarget::Job(id) => self.jobs.entry(id).or_default(),
        };
        queue.push_back((fault, repeat));
    }

    /// Takes the fault for a request that names `job` or is a list request, if there is one.
    pub fn take_for_request(&mut self, job: Option<&str>, is_list: bool) -> Option<Fault> {
        let specific = match job {
            _ if is_list => pop_next(&mut self.list_requests),
            job => job.and_then(|id| self.jobs.get_mut(id)).and_then(pop_next),
        };
        specific.or_else(|| pop_next(&mut self.all))
    }
}

fn pop_next(queue: &mut VecDeque<(Fault, FaultRepeat)>) -> Option<Fault> {
    while let Some((fault, repeat)) = queue.front_mut() {
        match repeat {
            FaultRepeat::Always => return Some(fault.clone()),
            FaultRepeat::Times(remaining @ 2..) => {
                *remaining -= 1;
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
