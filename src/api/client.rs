//! The client of the control socket: one method for each route.
//!
//! Used by the commands and by tests. The client retries only to connect, while the daemon accepts no
//! connection; the variants of [`ClientError`] let the caller decide whether to send a request again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;

use super::add::{AddRequest, AddResponse};
use super::admin::{
    ConnectionCheckResponse, ForgetDurationsResponse, PruneForecast, ReloadResponse,
};
use super::backup_stream::BackupStream;
use super::error::{ClientError, connection_lost, is_queue_full};
use super::event_stream::EventStream;
use super::history::TransitionList;
use super::job::{Job, JobList};
use super::socket_search::{FailedSearch, find_socket};
use super::status::DaemonStatus;
use crate::config::Directories;
use crate::job::{EventCursor, JobId, ProviderName, RemoteId, StateFilter, UtcTime};
use crate::tls::install_cryptography;

/// The query parameters of lists and event streams; an empty or absent one restricts nothing. A
/// route rejects the parameters that it does not have.
#[derive(Debug, Clone, Default)]
pub struct ListParams {
    /// Jobs that pass any of these filters.
    pub states: Vec<StateFilter>,
    pub provider: Option<ProviderName>,
    pub remote_id: Option<RemoteId>,
    /// Jobs that have all of these labels.
    pub labels: Vec<(String, String)>,
    /// Jobs registered, or transitions observed, at this time or later.
    pub since: Option<UtcTime>,
    /// Jobs registered, or transitions observed, before this time.
    pub until: Option<UtcTime>,
    /// Jobs whose end was recorded at this time or later.
    pub ended_since: Option<UtcTime>,
    /// The cursor after which the page begins: a job's number in a list of jobs, else the cursor of a
    /// transition.
    pub after: Option<String>,
    /// The cursor before which transitions are listed.
    pub before: Option<EventCursor>,
    /// Whether the newest transition is the first; lists of jobs are always in this order.
    pub newest_first: bool,
    /// The size of a page.
    pub limit: Option<usize>,
}

impl ListParams {
    fn to_pairs(&self) -> Vec<(&'static str, String)> {
        let states = self.states.iter().map(|state| ("state", state.to_string()));
        let labels = self.labels.iter().map(|(key, value)| ("label", format!("{key}={value}")));
        let single = [
            ("provider", self.provider.as_ref().map(ToString::to_string)),
            ("remote_id", self.remote_id.as_ref().map(ToString::to_string)),
            ("since", self.since.map(|at| at.to_string())),
            ("until", self.until.map(|at| at.to_string())),
            ("ended_since", self.ended_since.map(|at| at.to_string())),
            ("after", self.after.clone()),
            ("before", self.before.as_ref().map(ToString::to_string)),
            ("order", self.newest_first.then(|| "newest_first".to_owned())),
            ("limit", self.limit.map(|limit| limit.to_string())),
        ];
        let single = single.into_iter().filter_map(|(key, value)| Some((key, value?)));
        states.chain(labels).chain(single).collect()
    }
}

/// The response to an on-demand poll or a cancellation.
#[derive(Debug)]
pub enum OnDemandResponse {
    /// The job after the provider's answer.
    Completed(Job),
    /// The job as it was before; the provider has not answered yet.
    Pending(Job),
}

/// A client of one daemon; it connects at the first request.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    socket: PathBuf,
    /// All paths at which a daemon may listen, for errors.
    candidates: Vec<PathBuf>,
}

#[expect(clippy::missing_errors_doc, reason = "ClientError documents the errors")]
impl Client {
    /// The limit for a request and its response. The daemon's own limits are shorter.
    const TIMEOUT: Duration = Duration::from_mins(1);

    /// The limit for the copy that the daemon makes for a backup.
    const BACKUP_TIMEOUT: Duration = Duration::from_hours(1);

    /// The daemon permits only so many connections. One that is kept for a request in a few seconds would take the
    /// place of another client.
    const IDLE_TIMEOUT: Duration = Duration::from_millis(500);

    /// How long a request waits until the daemon accepts a connection.
    const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
    const CONNECT_RETRY_DELAY: Duration = Duration::from_millis(20);

    /// Picks `explicit`, else the first of [`Directories::socket_candidates`] on which a daemon listens.
    pub fn open(explicit: Option<&Path>) -> Result<Self, ClientError> {
        let candidates = match explicit {
            Some(path) => vec![path.to_owned()],
            None => Directories::from_env(|name| std::env::var_os(name)).socket_candidates(),
        };
        let socket = find_socket(&candidates).map_err(ClientError::NoDaemon)?;
        install_cryptography();
        let http = reqwest::Client::builder()
            .unix_socket(socket.as_path())
            .no_proxy()
            .pool_idle_timeout(Self::IDLE_TIMEOUT)
            // The socket has no TLS; without this, reqwest would load the system's certificates.
            .tls_certs_only([])
            .build()
            .map_err(|error| ClientError::Setup(error.to_string()))?;
        Ok(Self { http, socket, candidates })
    }

    /// Adds jobs; returns once they are committed. The response also lists rejected jobs.
    pub async fn add(&self, jobs: &AddRequest) -> Result<AddResponse, ClientError> {
        let response = self.send(self.request(Method::POST, "jobs").json(jobs)).await?;
        if response.status() != StatusCode::UNPROCESSABLE_ENTITY {
            return parse_json(ensure_success(response).await?).await;
        }
        // Earlier daemons respond with this status and the results if they have rejected one of the jobs.
        let status = response.status();
        let body = response.bytes().await.map_err(|error| connection_lost(&error))?;
        serde_json::from_slice(&body).map_err(|_| rejection(status, &body))
    }

    /// One page of jobs, newest first.
    pub async fn jobs(&self, query: &ListParams) -> Result<JobList, ClientError> {
        self.send_and_parse(self.request(Method::GET, "jobs").query(&query.to_pairs())).await
    }

    /// One job, with its forecast if it is unfinished.
    pub async fn job(&self, id: JobId) -> Result<Job, ClientError> {
        self.send_and_parse(self.request(Method::GET, &format!("jobs/{id}"))).await
    }

    /// One page of a job's transitions.
    pub async fn job_history(
        &self,
        id: JobId,
        query: &ListParams,
    ) -> Result<TransitionList, ClientError> {
        let path = format!("jobs/{id}/history");
        self.send_and_parse(self.request(Method::GET, &path).query(&query.to_pairs())).await
    }

    /// One page of the transitions of all jobs.
    pub async fn history(&self, query: &ListParams) -> Result<TransitionList, ClientError> {
        self.send_and_parse(self.request(Method::GET, "history").query(&query.to_pairs())).await
    }

    /// Stops tracking a job; a finished job stays as it is.
    pub async fn untrack(&self, id: JobId) -> Result<Job, ClientError> {
        self.send_and_parse(self.request(Method::POST, &format!("jobs/{id}/untrack"))).await
    }

    /// Sets whether a job is kept whatever its age.
    pub async fn set_pinned(&self, id: JobId, pinned: bool) -> Result<Job, ClientError> {
        let method = if pinned { Method::PUT } else { Method::DELETE };
        self.send_and_parse(self.request(method, &format!("jobs/{id}/pin"))).await
    }

    /// Polls a job now.
    pub async fn poll(&self, id: JobId) -> Result<OnDemandResponse, ClientError> {
        self.send_on_demand(self.request(Method::POST, &format!("jobs/{id}/poll"))).await
    }

    /// Asks the provider to cancel a job, then polls it.
    pub async fn cancel(&self, id: JobId) -> Result<OnDemandResponse, ClientError> {
        self.send_on_demand(self.request(Method::POST, &format!("jobs/{id}/cancel"))).await
    }

    /// Tests a provider's address, credential and clock with one request.
    pub async fn check(
        &self,
        provider: &ProviderName,
    ) -> Result<ConnectionCheckResponse, ClientError> {
        self.send_and_parse(self.request(Method::POST, &format!("providers/{provider}/check")))
            .await
    }

    /// Deletes the learned durations of a provider: all, or those with one similarity key.
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

    /// The status of the daemon and its providers.
    pub async fn status(&self) -> Result<DaemonStatus, ClientError> {
        self.send_and_parse(self.request(Method::GET, "status")).await
    }

    /// What the next maintenance deletes, and when.
    pub async fn prune_forecast(&self) -> Result<PruneForecast, ClientError> {
        self.send_and_parse(self.request(Method::GET, "prune")).await
    }

    /// Makes the daemon reload its configuration and secrets.
    pub async fn reload(&self) -> Result<ReloadResponse, ClientError> {
        self.send_and_parse(self.request(Method::POST, "reload")).await
    }

    /// Streams the transitions after `query.after`, then each new one when it is committed.
    pub async fn events(&self, query: &ListParams) -> Result<EventStream, ClientError> {
        let request = self.http.get(endpoint_url("events")).query(&query.to_pairs());
        // The timeout covers the head of the response only: the body is an endless stream.
        let response = tokio::time::timeout(Self::TIMEOUT, self.send(request))
            .await
            .unwrap_or_else(|_| Err(ClientError::ConnectionLost("no response in time".into())))?;
        Ok(EventStream::new(ensure_success(response).await?))
    }

    /// A consistent copy of the database. The daemon makes the copy before it responds; the time for this
    /// grows with the size of the database.
    pub async fn backup(&self) -> Result<BackupStream, ClientError> {
        let request = self.http.get(endpoint_url("backup"));
        let response = tokio::time::timeout(Self::BACKUP_TIMEOUT, self.send(request))
            .await
            .unwrap_or_else(|_| Err(ClientError::ConnectionLost("no response in time".into())))?;
        BackupStream::new(ensure_success(response).await?)
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

    /// Sends a request; waits while the daemon's queue of new connections is full.
    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let mut retry = request.try_clone();
        let mut sent = request.send().await;
        let retrying = async {
            while let Some(request) = retry.take()
                && sent.as_ref().is_err_and(is_queue_full)
            {
                tokio::time::sleep(Self::CONNECT_RETRY_DELAY).await;
                retry = request.try_clone();
                sent = request.send().await;
            }
        };
        let _ = tokio::time::timeout(Self::CONNECT_TIMEOUT, retrying).await;
        sent.map_err(|error| {
            if is_queue_full(&error) {
                ClientError::Busy(self.socket.clone())
            } else if error.is_connect() {
                ClientError::NoDaemon(FailedSearch::of(&self.candidates))
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
    Err(rejection(status, &body))
}

fn rejection(status: StatusCode, body: &[u8]) -> ClientError {
    match serde_json::from_slice(body) {
        Ok(problem) => ClientError::Rejected(problem),
        Err(_) => ClientError::InvalidResponse(format!("{status} without problem details")),
    }
}

async fn parse_json<T: DeserializeOwned>(response: Response) -> Result<T, ClientError> {
    let body = response.bytes().await.map_err(|error| connection_lost(&error))?;
    serde_json::from_slice(&body).map_err(|error| ClientError::InvalidResponse(error.to_string()))
}
