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
    AddRequest, AddResponse, ConnectionCheckResponse, DaemonStatus, ForgetDurationsResponse, Job,
    JobList, ProblemDetails, ReloadResponse, TransitionEvent, TransitionList,
};
use crate::job::{JobId, ProviderName, RemoteId};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens, or we may not connect.
    #[error("{}", no_daemon_message(tried, *permission_denied))]
    NoDaemon {
        /// The sockets that were tried.
        tried: Vec<PathBuf>,
        /// Whether the socket is there and closed to us.
        permission_denied: bool,
    },
    /// The daemon said no.
    #[error("{}", .0.detail)]
    Rejected(ProblemDetails),
    /// The connection broke, or no answer came in time.
    #[error("lost the connection to the daemon: {0}")]
    ConnectionLost(String),
    /// The answer cannot be understood.
    #[error("cannot read the daemon's answer: {0}; are jobtrack and jobtrackd of one version?")]
    InvalidResponse(String),
}

fn no_daemon_message(sockets: &[PathBuf], permission_denied: bool) -> String {
    let paths: Vec<_> = sockets.iter().map(|path| path.display().to_string()).collect();
    let paths = paths.join(", ");
    if permission_denied {
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
    let runtime_dir =
        std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let user_dir = PathBuf::from(format!("/run/user/{}", rustix::process::getuid().as_raw()));
    let mut paths: Vec<_> = runtime_dir
        .into_iter()
        .chain([user_dir, PathBuf::from("/run")])
        .map(|dir| dir.join("jobtrack/control.sock"))
        .collect();
    paths.dedup();
    paths
}

/// What a list is narrowed to; what is empty or `None` narrows nothing. Not every request knows
/// every field.
#[derive(Debug, Clone, Default)]
pub struct ListParams {
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
    pub after: Option<String>,
    /// At most so many.
    pub limit: Option<usize>,
}

impl ListParams {
    fn to_pairs(&self) -> Vec<(&'static str, String)> {
        let states = self.states.iter().map(|state| ("state", state.clone()));
        let labels = self.labels.iter().map(|(key, value)| ("label", format!("{key}={value}")));
        let single = [
            ("provider", self.provider.as_ref().map(ToString::to_string)),
            ("remote_id", self.remote_id.as_ref().map(ToString::to_string)),
            ("since", self.since.clone()),
            ("after", self.after.clone()),
            ("limit", self.limit.map(|limit| limit.to_string())),
        ];
        let single = single.into_iter().filter_map(|(key, value)| Some((key, value?)));
        states.chain(labels).chain(single).collect()
    }
}

/// What became of a poll by hand.
#[derive(Debug)]
pub enum OnDemandResponse {
    /// The job, as the answer left it.
    Completed(Job),
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
        let existing = candidates.iter().find(|path| !matches!(path.try_exists(), Ok(false)));
        let Some(socket) = existing.cloned() else {
            return Err(ClientError::NoDaemon { tried: candidates, permission_denied: false });
        };
        let http = reqwest::Client::builder()
            .unix_socket(socket.as_path())
            .no_proxy()
            // Nothing here speaks TLS; this spares reading the system's certificates.
            .tls_certs_only([])
            .build()
            .map_err(|error| ClientError::InvalidResponse(error.to_string()))?;
        Ok(Self { http, socket })
    }

    /// Registers jobs; returns once they are committed. Rejected ones are in the answer.
    pub async fn add(&self, jobs: &AddRequest) -> Result<AddResponse, ClientError> {
        let response = self.send(self.request(Method::POST, "jobs").json(jobs)).await?;
        match response.status() {
            StatusCode::UNPROCESSABLE_ENTITY => parse_json(response).await,
            _ => parse_json(ensure_success(response).await?).await,
        }
    }

    /// A page of jobs, newest first.
    pub async fn jobs(&self, query: &ListParams) -> Result<JobList, ClientError> {
        self.send_and_parse(self.request(Method::GET, "jobs").query(&query.to_pairs())).await
    }

    /// One job.
    pub async fn job(&self, id: JobId) -> Result<Job, ClientError> {
        self.send_and_parse(self.request(Method::GET, &format!("jobs/{id}"))).await
    }

    /// A page of one job's transitions.
    pub async fn job_history(
        &self,
        id: JobId,
        query: &ListParams,
    ) -> Result<TransitionList, ClientError> {
        let path = format!("jobs/{id}/history");
        self.send_and_parse(self.request(Method::GET, &path).query(&query.to_pairs())).await
    }

    /// A page of all transitions.
    pub async fn history(&self, query: &ListParams) -> Result<TransitionList, ClientError> {
        self.send_and_parse(self.request(Method::GET, "history").query(&query.to_pairs())).await
    }

    /// Stops tracking a job, which is over then.
    pub async fn untrack(&self, id: JobId) -> Result<Job, ClientError> {
        self.send_and_parse(self.request(Method::DELETE, &format!("jobs/{id}"))).await
    }

    /// Asks the provider now.
    pub async fn poll(&self, id: JobId) -> Result<OnDemandResponse, ClientError> {
        self.send_on_demand(self.request(Method::POST, &format!("jobs/{id}/poll"))).await
    }

    /// Asks the provider to stop the job, and how the job is then.
    pub async fn cancel(&self, id: JobId) -> Result<OnDemandResponse, ClientError> {
        self.send_on_demand(self.request(Method::POST, &format!("jobs/{id}/cancel"))).await
    }

    /// Asks the provider whether all is well between us.
    pub async fn check(
        &self,
        provider: &ProviderName,
    ) -> Result<ConnectionCheckResponse, ClientError> {
        self.send_and_parse(self.request(Method::POST, &format!("providers/{provider}/check")))
            .await
    }

    /// Forgets how long this provider's jobs took, all or those that go by a name.
    pub async fn forget_durations(
        &self,
        provider: &ProviderName,
        similarity_key: Option<&str>,
    ) -> Result<ForgetDurationsResponse, ClientError> {
        let request = self.request(Method::DELETE, &format!("providers/{provider}/durations"));
        self.send_and_parse(request.query(&similarity_key.map(|name| [("similar_to", name)]))).await
    }

    async fn send_on_demand(
        &self,
        request: RequestBuilder,
    ) -> Result<OnDemandResponse, ClientError> {
        let response = ensure_success(self.send(request).await?).await?;
        let pending = response.status() == StatusCode::ACCEPTED;
        let job = parse_json(response).await?;
        Ok(if pending { OnDemandResponse::Pending(job) } else { OnDemandResponse::Completed(job) })
    }

    /// How the daemon is.
    pub async fn status(&self) -> Result<DaemonStatus, ClientError> {
        self.send_and_parse(self.request(Method::GET, "status")).await
    }

    /// Makes the daemon read its configuration again.
    pub async fn reload(&self) -> Result<ReloadResponse, ClientError> {
        self.send_and_parse(self.request(Method::POST, "reload")).await
    }

    /// The transitions after `query.after`, then each new one as it is committed.
    pub async fn events(&self, query: &ListParams) -> Result<EventStream, ClientError> {
        let request = self.http.get(endpoint_url("events")).query(&query.to_pairs());
        // Only the answer's head is awaited with a limit; its body has no end.
        let response = tokio::time::timeout(Self::TIMEOUT, self.send(request))
            .await
            .unwrap_or_else(|_| Err(ClientError::ConnectionLost("no answer in time".into())))?;
        Ok(EventStream { response: ensure_success(response).await?, parser: SseParser::default() })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, endpoint_url(path)).timeout(Self::TIMEOUT)
    }

    async fn send_and_parse<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, ClientError> {
        parse_json(ensure_success(self.send(request).await?).await?).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        request.send().await.map_err(|error| {
            if error.is_connect() {
                let permission_denied = error_sources(&error)
                    .filter_map(|cause| cause.downcast_ref::<io::Error>())
                    .any(|cause| cause.kind() == io::ErrorKind::PermissionDenied);
                ClientError::NoDaemon { tried: vec![self.socket.clone()], permission_denied }
            } else {
                connection_lost(&error)
            }
        })
    }
}

fn endpoint_url(path: &str) -> String {
    format!("http://jobtrack/v1/{path}")
}

async fn ensure_success(response: Response) -> Result<Response, ClientError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = response.bytes().await.map_err(|error| connection_lost(&error))?;
    Err(match serde_json::from_slice(&body) {
        Ok(problem) => ClientError::Rejected(problem),
        Err(_) => ClientError::InvalidResponse(format!("{status} without a problem")),
    })
}

async fn parse_json<T: DeserializeOwned>(response: Response) -> Result<T, ClientError> {
    let body = response.bytes().await.map_err(|error| connection_lost(&error))?;
    serde_json::from_slice(&body).map_err(|error| ClientError::InvalidResponse(error.to_string()))
}

fn connection_lost(error: &reqwest::Error) -> ClientError {
    if error.is_timeout() {
        return ClientError::ConnectionLost("no answer in time".into());
    }
    // The outermost text only repeats the URL, which names no real host.
    ClientError::ConnectionLost(
        error_sources(error).last().map_or_else(|| error.to_string(), ToString::to_string),
    )
}

fn error_sources<'a>(error: &'a reqwest::Error) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |&cause| cause.source())
}

/// The stream of `GET /v1/events`.
#[derive(Debug)]
pub struct EventStream {
    response: Response,
    parser: SseParser,
}

#[allow(clippy::missing_errors_doc, reason = "the variants of ClientError say it")]
impl EventStream {
    /// The next transition; none when the daemon shuts down.
    pub async fn next(&mut self) -> Result<Option<TransitionEvent>, ClientError> {
        loop {
            match self.parser.next_frame() {
                Some(SseFrame::Data(data)) => {
                    return serde_json::from_str(&data)
                        .map(Some)
                        .map_err(|error| ClientError::InvalidResponse(error.to_string()));
                }
                Some(SseFrame::End) => return Ok(None),
                None => {
                    match self.response.chunk().await.map_err(|error| connection_lost(&error))? {
                        Some(bytes) => self.parser.buffer.extend_from_slice(&bytes),
                        None => return Ok(None),
                    }
                }
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum SseFrame {
    Data(String),
    End,
}

/// Cuts the bytes of an event stream into frames. `id:` is not kept: each transition has its
/// number inside.
#[derive(Debug, Default)]
struct SseParser {
    buffer: Vec<u8>,
    event_name: String,
    data: String,
}

impl SseParser {
    fn next_frame(&mut self) -> Option<SseFrame> {
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut self.event_name),
                "data" => self.data.push_str(value),
                _ if line.is_empty() => {
                    let (name, data) =
                        (std::mem::take(&mut self.event_name), std::mem::take(&mut self.data));
                    if name == "end" {
                        return Some(SseFrame::End);
                    }
                    if !data.is_empty() {
                        return Some(SseFrame::Data(data));
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
    fn frames_are_parsed_at_any_chunk_boundary() {
        let stream = ": hello\n\nid: 7\ndata: {\"a\":1}\n\nid:8\r\ndata:{}\r\n\r\nevent: end\n\n";
        let data = |text: &str| SseFrame::Data(text.to_owned());
        for size in 1..=stream.len() {
            let mut parser = SseParser::default();
            let mut parsed = Vec::new();
            for chunk in stream.as_bytes().chunks(size) {
                parser.buffer.extend_from_slice(chunk);
                parsed.extend(std::iter::from_fn(|| parser.next_frame()));
            }
            assert_eq!(parsed, [data("{\"a\":1}"), data("{}"), SseFrame::End], "chunks of {size}");
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
