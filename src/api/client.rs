//! The client of the control socket: one method a request, typed both ways.
//!
//! Used by the commands. It never retries: whether a failure is worth another try is the
//! caller's to say, by the variant of [`ClientError`].

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;

use super::types::{
    AddAnswer, AddRequest, CheckAnswer, Event, ForgetAnswer, History, Job, JobList, Problem,
    ReloadAnswer, Status,
};
use crate::job::{JobId, ProviderName, RemoteId};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens, or we may not connect.
    #[error("{}", no_daemon(tried, *denied))]
    NoDaemon {
        /// The sockets that were tried.
        tried: Vec<PathBuf>,
        /// Whether the socket is there and closed to us.
        denied: bool,
    },
    /// The daemon said no.
    #[error("{}", .0.detail)]
    Refused(Problem),
    /// The connection broke, or no answer came in time.
    #[error("lost the connection to the daemon: {0}")]
    Lost(String),
    /// The answer cannot be understood.
    #[error("cannot read the daemon's answer: {0}; are jobtrack and jobtrackd of one version?")]
    Broken(String),
}

fn no_daemon(tried: &[PathBuf], denied: bool) -> String {
    let paths: Vec<_> = tried.iter().map(|path| path.display().to_string()).collect();
    let paths = paths.join(", ");
    if denied {
        format!("no permission for {paths}; join its group, or give --socket")
    } else {
        format!(
            "no daemon at {paths}: is jobtrackd running? start it with \
             `systemctl start jobtrackd`, or give --socket"
        )
    }
}

/// The sockets at which a daemon may listen, in the order of preference: `explicit` alone if it
/// is given, else one under each runtime directory.
#[must_use]
pub fn socket_candidates(explicit: Option<&Path>) -> Vec<PathBuf> {
    if let Some(path) = explicit {
        return vec![path.to_owned()];
    }
    let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let user = PathBuf::from(format!("/run/user/{}", rustix::process::getuid().as_raw()));
    let mut paths: Vec<_> = own
        .into_iter()
        .chain([user, PathBuf::from("/run")])
        .map(|dir| dir.join("jobtrack/control.sock"))
        .collect();
    paths.dedup();
    paths
}

/// What a list is narrowed to; what is empty or `None` narrows nothing. Not every request knows
/// every field.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Any of these: names of states, `active`, `terminal`, `unsuccessful`.
    pub states: Vec<String>,
    /// This provider's.
    pub provider: Option<ProviderName>,
    /// With this name there.
    pub remote_id: Option<RemoteId>,
    /// With all of these.
    pub labels: Vec<(String, String)>,
    /// RFC 3339, or a duration that means "ago".
    pub since: Option<String>,
    /// What follows this job or transition in the answer's order.
    pub after: Option<i64>,
    /// At most so many.
    pub limit: Option<usize>,
}

impl Query {
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let states = self.states.iter().map(|state| ("state", state.clone()));
        let labels = self.labels.iter().map(|(key, value)| ("label", format!("{key}={value}")));
        let single = [
            ("provider", self.provider.as_ref().map(ToString::to_string)),
            ("remote_id", self.remote_id.as_ref().map(ToString::to_string)),
            ("since", self.since.clone()),
            ("after", self.after.map(|after| after.to_string())),
            ("limit", self.limit.map(|limit| limit.to_string())),
        ];
        let single = single.into_iter().filter_map(|(key, value)| Some((key, value?)));
        states.chain(labels).chain(single).collect()
    }
}

/// What became of a poll by hand.
#[derive(Debug)]
pub enum Polled {
    /// The job, as the answer left it.
    Answered(Job),
    /// The job as it was: the provider has not answered yet.
    Pending(Job),
}

/// A connection to the daemon, made at the first request.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    socket: PathBuf,
}

#[allow(clippy::missing_errors_doc, reason = "the variants of ClientError say it")]
impl Client {
    const TIMEOUT: Duration = Duration::from_mins(1);

    /// Picks the first of [`socket_candidates`] that exists; if none does, there is no daemon.
    pub fn open(explicit: Option<&Path>) -> Result<Self, ClientError> {
        let candidates = socket_candidates(explicit);
        // A path that we may not look at counts: connecting to it tells why.
        let there = candidates.iter().find(|path| !matches!(path.try_exists(), Ok(false)));
        let Some(socket) = there.cloned() else {
            return Err(ClientError::NoDaemon { tried: candidates, denied: false });
        };
        let http = reqwest::Client::builder()
            .unix_socket(socket.as_path())
            .no_proxy()
            // Nothing here speaks TLS; this spares reading the system's certificates.
            .tls_certs_only([])
            .build()
            .map_err(|error| ClientError::Broken(error.to_string()))?;
        Ok(Self { http, socket })
    }

    /// Registers jobs; returns once they are committed. Rejected ones are in the answer.
    pub async fn add(&self, jobs: &AddRequest) -> Result<AddAnswer, ClientError> {
        let response = self.send(self.request(Method::POST, "jobs").json(jobs)).await?;
        match response.status() {
            StatusCode::UNPROCESSABLE_ENTITY => read(response).await,
            _ => read(accepted(response).await?).await,
        }
    }

    /// A page of jobs, newest first.
    pub async fn jobs(&self, query: &Query) -> Result<JobList, ClientError> {
        self.ask(self.request(Method::GET, "jobs").query(&query.pairs())).await
    }

    /// One job.
    pub async fn job(&self, id: JobId) -> Result<Job, ClientError> {
        self.ask(self.request(Method::GET, &format!("jobs/{id}"))).await
    }

    /// A page of one job's transitions.
    pub async fn job_history(&self, id: JobId, query: &Query) -> Result<History, ClientError> {
        let path = format!("jobs/{id}/history");
        self.ask(self.request(Method::GET, &path).query(&query.pairs())).await
    }

    /// A page of all transitions.
    pub async fn history(&self, query: &Query) -> Result<History, ClientError> {
        self.ask(self.request(Method::GET, "history").query(&query.pairs())).await
    }

    /// Stops tracking a job, which is over then.
    pub async fn untrack(&self, id: JobId) -> Result<Job, ClientError> {
        self.ask(self.request(Method::DELETE, &format!("jobs/{id}"))).await
    }

    /// Asks the provider now.
    pub async fn poll(&self, id: JobId) -> Result<Polled, ClientError> {
        self.asked(self.request(Method::POST, &format!("jobs/{id}/poll"))).await
    }

    /// Asks the provider to stop the job, and how the job is then.
    pub async fn cancel(&self, id: JobId) -> Result<Polled, ClientError> {
        self.asked(self.request(Method::POST, &format!("jobs/{id}/cancel"))).await
    }

    /// Asks the provider whether all is well between us.
    pub async fn check(&self, provider: &ProviderName) -> Result<CheckAnswer, ClientError> {
        self.ask(self.request(Method::POST, &format!("providers/{provider}/check"))).await
    }

    /// Forgets how long this provider's jobs took, all or those that go by a name.
    pub async fn forget(
        &self,
        provider: &ProviderName,
        like: Option<&str>,
    ) -> Result<ForgetAnswer, ClientError> {
        let request = self.request(Method::DELETE, &format!("providers/{provider}/lessons"));
        self.ask(request.query(&like.map(|name| [("like", name)]))).await
    }

    async fn asked(&self, request: RequestBuilder) -> Result<Polled, ClientError> {
        let response = accepted(self.send(request).await?).await?;
        let pending = response.status() == StatusCode::ACCEPTED;
        let job = read(response).await?;
        Ok(if pending { Polled::Pending(job) } else { Polled::Answered(job) })
    }

    /// How the daemon is.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.ask(self.request(Method::GET, "status")).await
    }

    /// Makes the daemon read its configuration again.
    pub async fn reload(&self) -> Result<ReloadAnswer, ClientError> {
        self.ask(self.request(Method::POST, "reload")).await
    }

    /// The transitions after `query.after`, then each new one as it is committed.
    pub async fn events(&self, query: &Query) -> Result<Events, ClientError> {
        let request = self.http.get(url("events")).query(&query.pairs());
        // Only the answer's head is awaited with a limit; its body has no end.
        let response = tokio::time::timeout(Self::TIMEOUT, self.send(request))
            .await
            .unwrap_or_else(|_| Err(ClientError::Lost("no answer in time".into())))?;
        Ok(Events { response: accepted(response).await?, frames: Frames::default() })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, url(path)).timeout(Self::TIMEOUT)
    }

    async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        read(accepted(self.send(request).await?).await?).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        request.send().await.map_err(|error| {
            if error.is_connect() {
                let denied = causes(&error)
                    .filter_map(|cause| cause.downcast_ref::<io::Error>())
                    .any(|cause| cause.kind() == io::ErrorKind::PermissionDenied);
                ClientError::NoDaemon { tried: vec![self.socket.clone()], denied }
            } else {
                lost(&error)
            }
        })
    }
}

fn url(path: &str) -> String {
    format!("http://jobtrack/v1/{path}")
}

async fn accepted(response: Response) -> Result<Response, ClientError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = response.bytes().await.map_err(|error| lost(&error))?;
    Err(match serde_json::from_slice(&body) {
        Ok(problem) => ClientError::Refused(problem),
        Err(_) => ClientError::Broken(format!("{status} without a problem")),
    })
}

async fn read<T: DeserializeOwned>(response: Response) -> Result<T, ClientError> {
    let body = response.bytes().await.map_err(|error| lost(&error))?;
    serde_json::from_slice(&body).map_err(|error| ClientError::Broken(error.to_string()))
}

fn lost(error: &reqwest::Error) -> ClientError {
    if error.is_timeout() {
        return ClientError::Lost("no answer in time".into());
    }
    // The outermost text only repeats the URL, which names no real host.
    ClientError::Lost(causes(error).last().map_or_else(|| error.to_string(), ToString::to_string))
}

fn causes<'a>(error: &'a reqwest::Error) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |&cause| cause.source())
}

/// The stream of `GET /v1/events`.
#[derive(Debug)]
pub struct Events {
    response: Response,
    frames: Frames,
}

#[allow(clippy::missing_errors_doc, reason = "the variants of ClientError say it")]
impl Events {
    /// The next transition; none when the daemon shuts down.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            match self.frames.next() {
                Some(Frame::Data(data)) => {
                    return serde_json::from_str(&data)
                        .map(Some)
                        .map_err(|error| ClientError::Broken(error.to_string()));
                }
                Some(Frame::End) => return Ok(None),
                None => match self.response.chunk().await.map_err(|error| lost(&error))? {
                    Some(bytes) => self.frames.unread.extend_from_slice(&bytes),
                    None => return Ok(None),
                },
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Frame {
    Data(String),
    End,
}

/// Cuts the bytes of an event stream into frames. `id:` is not kept: each transition has its
/// number inside.
#[derive(Debug, Default)]
struct Frames {
    unread: Vec<u8>,
    name: String,
    data: String,
}

impl Frames {
    fn next(&mut self) -> Option<Frame> {
        while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut self.name),
                "data" => self.data.push_str(value),
                _ if line.is_empty() => {
                    let (name, data) =
                        (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
                    if name == "end" {
                        return Some(Frame::End);
                    }
                    if !data.is_empty() {
                        return Some(Frame::Data(data));
                    }
                }
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_wherever_the_chunks_are() {
        let stream = ": hello\n\nid: 7\ndata: {\"a\":1}\n\nid:8\r\ndata:{}\r\n\r\nevent: end\n\n";
        let data = |text: &str| Frame::Data(text.to_owned());
        for size in 1..=stream.len() {
            let mut frames = Frames::default();
            let mut seen = Vec::new();
            for chunk in stream.as_bytes().chunks(size) {
                frames.unread.extend_from_slice(chunk);
                seen.extend(std::iter::from_fn(|| frames.next()));
            }
            assert_eq!(seen, [data("{\"a\":1}"), data("{}"), Frame::End], "chunks of {size}");
        }
    }

    #[test]
    fn an_explicit_socket_is_the_only_one() {
        let path = Path::new("/tmp/x.sock");
        assert_eq!(socket_candidates(Some(path)), [path]);
        let last = socket_candidates(None).pop();
        assert_eq!(last.as_deref(), Some(Path::new("/run/jobtrack/control.sock")));
    }
}
