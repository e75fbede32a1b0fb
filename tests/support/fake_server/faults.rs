//! Faults on demand: what may go wrong, for whom, how often.
//!
//! A fault either replaces the good answer or spoils the way in which it is sent (`raw`).
//! Invariant: a fault for one job, or for lists, comes before those for all; of one target, the oldest first.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::delivery::Manner;
use super::gzip;
use super::http::Answer;
use super::service::{Kind, Refusal};

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
    Slow(Duration),
    /// The good answer, with this pause after each byte of its head.
    SlowHeaders(Duration),
    /// The good answer, with this pause after each byte of its body.
    SlowBody(Duration),
    /// No answer, ever.
    Hang,
    /// The connection is reset instead of an answer.
    Reset,
    /// The good answer, closed before the length that it tells.
    CutBody,
    /// A 200 with so many bytes.
    HugeBody(usize),
    /// A 200 that never ends.
    EndlessChunks,
}

/// Whose requests a fault meets.
#[derive(Clone, Debug)]
pub enum Target {
    All,
    Job(String),
    Lists,
}

impl Target {
    pub fn job(id: &str) -> Self {
        Self::Job(id.to_owned())
    }
}

/// How many requests a fault meets.
#[derive(Clone, Copy, Debug)]
pub enum Times {
    Once,
    N(usize),
    /// Until the faults are cleared.
    Always,
}

impl Fault {
    /// A refusal with a JSON body, or with any text.
    pub fn status(code: u16, body: &str) -> Self {
        Self::Status { code, body: body.to_owned(), headers: Vec::new() }
    }

    /// What is sent in place of `good`, and how.
    pub fn apply(self, kind: Kind, good: Answer) -> (Answer, Manner) {
        match self {
            Self::Status { code, body, headers } => {
                let names_kind =
                    |(name, _): &&(String, String)| name.eq_ignore_ascii_case("content-type");
                let named = headers.iter().find(names_kind);
                let kind = named.map_or("application/json", |(_, value)| value.as_str());
                let answer = Answer::new(code, kind, body.into_bytes());
                let others = headers.iter().filter(|pair| Some(*pair) != named);
                let answer = others.fold(answer, |a, (name, value)| a.header(name, value));
                (answer, Manner::Well)
            }
            Self::RateLimited { retry_after } => {
                let why = Refusal::TooMany { limit: 6000.into(), retry_after };
                (kind.refuse(&why), Manner::Well)
            }
            Self::Body { content_type, bytes } => {
                (Answer::new(200, &content_type, bytes), Manner::Well)
            }
            Self::Redirect(url) => {
                let answer = Answer::new(302, "text/plain", Vec::new()).header("location", url);
                (answer, Manner::Well)
            }
            Self::GzipBomb(size) => {
                let answer = Answer::new(200, "application/json", gzip::zeros(size));
                (answer.header("content-encoding", "gzip"), Manner::Well)
            }
            Self::Slow(wait) => (good, Manner::Late(wait)),
            Self::SlowHeaders(pause) => (good, Manner::SlowHeaders(pause)),
            Self::SlowBody(pause) => (good, Manner::SlowBody(pause)),
            Self::Hang => (good, Manner::Never),
            Self::Reset => (good, Manner::Reset),
            Self::CutBody => (good, Manner::CutBody),
            Self::HugeBody(size) => {
                (Answer::new(200, "application/json", Vec::new()), Manner::HugeBody(size))
            }
            Self::EndlessChunks => {
                (Answer::new(200, "application/json", Vec::new()), Manner::EndlessChunks)
            }
        }
    }
}

/// The faults that wait for their requests.
#[derive(Default)]
pub struct Faults {
    all: VecDeque<(Fault, Times)>,
    jobs: HashMap<String, VecDeque<(Fault, Times)>>,
    lists: VecDeque<(Fault, Times)>,
}

impl Faults {
    pub fn add(&mut self, target: Target, fault: Fault, times: Times) {
        let queue = match target {
            Target::All => &mut self.all,
            Target::Lists => &mut self.lists,
            Target::Job(id) => self.jobs.entry(id).or_default(),
        };
        queue.push_back((fault, times));
    }

    /// The fault that the next request for `job`, or for a list, meets.
    pub fn take(&mut self, job: Option<&str>, list: bool) -> Option<Fault> {
        let own = match job {
            _ if list => next(&mut self.lists),
            job => job.and_then(|id| self.jobs.get_mut(id)).and_then(next),
        };
        own.or_else(|| next(&mut self.all))
    }
}

fn next(queue: &mut VecDeque<(Fault, Times)>) -> Option<Fault> {
    while let Some((fault, times)) = queue.front_mut() {
        match times {
            Times::Always => return Some(fault.clone()),
            Times::N(left @ 2..) => {
                *left -= 1;
                return Some(fault.clone());
            }
            Times::Once | Times::N(1) => return queue.pop_front().map(|(fault, _)| fault),
            Times::N(0) => queue.pop_front(),
        };
    }
    None
}
