//! The state of the fake server (jobs, faults, rate limit, request log), and the decision on the
//! response to each request.
//!
//! The order is: rate limit, then faults, then the normal response, each in the format of the
//! service that the path belongs to. Token requests to IAM and executions of Dune queries skip
//! limit, faults and log, because those are about polling.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use super::delivery::Delivery;
use super::faults::PendingFaults;
use super::http::{FakeHttpRequest, FakeHttpResponse};
use super::iam::{self, Iam};
use super::rate_limit::{RateLimitDecision, SlidingWindow};
use super::request_log::{ClockSample, RecordedRequest, RequestLog};
use super::script::{JobScript, ScriptSnapshot, ScriptStart, add_duration};
use super::service::{ServiceKind, ServiceRejection};
use super::{dataarts, dli, dune};

pub struct ServiceState {
    pub api_key: String,
    /// Requests to Huawei Cloud may be signed with this secret instead of sending a token.
    pub secret_key: String,
    pub iam: Iam,
    pub faults: PendingFaults,
    pub rate_limit: Option<SlidingWindow>,
    pub request_log: RequestLog,
    jobs: HashMap<String, ScriptedJob>,
}

impl Default for ServiceState {
    fn default() -> Self {
        Self {
            api_key: super::API_KEY.to_owned(),
            secret_key: super::SECRET_ACCESS_KEY.to_owned(),
            iam: Iam::default(),
            faults: PendingFaults::default(),
            rate_limit: None,
            request_log: RequestLog::default(),
            jobs: HashMap::new(),
        }
    }
}

struct ScriptedJob {
    kind: ServiceKind,
    script: JobScript,
    /// `None` until the first request, for a job that is submitted by that.
    submitted_at: Option<Timestamp>,
}

/// The history of a job by its script, including its future.
#[derive(Clone, Debug)]
pub struct TrueHistory {
    pub submitted_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// Each provider state, with its start.
    pub provider_states: Vec<(Timestamp, String)>,
}

impl ServiceState {
    pub fn add_job(&mut self, kind: ServiceKind, id: &str, script: JobScript, now: Timestamp) {
        let submitted_at = match script.start {
            ScriptStart::WhenAdded => Some(now),
            ScriptStart::AtFirstRequest => None,
            ScriptStart::At(at) => Some(at),
        };
        self.jobs.insert(id.to_owned(), ScriptedJob { kind, script, submitted_at });
    }

    pub fn remove_job(&mut self, id: &str) {
        self.jobs.remove(id);
    }

    pub fn true_history(&self, id: &str) -> Option<TrueHistory> {
        let ScriptedJob { kind, script, submitted_at } = self.jobs.get(id)?;
        let submitted_at = (*submitted_at)?;
        let end = script.snapshot_after(Duration::MAX);
        let at = |span| add_duration(submitted_at, span);
        let provider_state =
            |(starts_after, _, phase)| (at(starts_after), kind.provider_state(phase));
        Some(TrueHistory {
            submitted_at,
            started_at: end.started_after.map(at),
            ended_at: end.ended_after.map(at),
            provider_states: script.timeline().map(provider_state).collect(),
        })
    }

    /// Decides on the response to a request, and logs the request. The clock is read here, under
    /// the lock of the state, so that the log is in the order of the times.
    pub fn handle_request(
        &mut self,
        request: &FakeHttpRequest,
        clock: impl FnOnce() -> ClockSample,
    ) -> (FakeHttpResponse, Delivery) {
        let now = clock();
        let date = now.wall.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        if request.path() == iam::TOKENS_PATH {
            let response = self.iam.handle(request, now.wall).header("date", date);
            return (response, Delivery::Normal);
        }
        if let Some(query) = dune::query_to_execute(request) {
            return (
                self.execute_query(query, request, now.wall).header("date", date),
                Delivery::Normal,
            );
        }
        let kind = ServiceKind::from_path(request.path());
        let is_list = kind.is_list_path(request.path());
        let cancel_id = kind.cancel_job_id(request);
        let job = cancel_id.clone().or_else(|| kind.job_id_from_path(request.path()));
        self.request_log.client_violations.extend(kind.client_violations(request));
        self.request_log.credentials.extend(kind.credential(request).map(str::to_owned));

        let decision = self
            .rate_limit
            .as_mut()
            .map(|window| window.check_request(now.monotonic, kind.sends_rate_limit_headers()));
        let rejected_by_limit = decision.as_ref().filter(|decision| decision.rejected);
        let (mut response, delivery) = if let Some(RateLimitDecision {
            limit, retry_after, ..
        }) = rejected_by_limit
        {
            let rejection =
                ServiceRejection::RateLimited { limit: *limit, retry_after: retry_after.clone() };
            (kind.rejection_response(&rejection), Delivery::Normal)
        } else {
            let fault = self.faults.take_for_request(job.as_deref(), is_list);
            let normal = match &cancel_id {
                // A request with a fault does not change the job.
                Some(id) if fault.is_none() => self.cancel_job(kind, request, id, now.wall),
                Some(_) | None => self.normal_response(kind, request, now.wall),
            };
            match fault {
                Some(fault) => fault.apply(kind, normal),
                None => (normal, Delivery::Normal),
            }
        };
        let sent_decision = decision.filter(|_| kind.sends_rate_limit_headers());
        for (name, value) in sent_decision.into_iter().flat_map(|decision| decision.headers) {
            response = response.header(name, value);
        }
        let response = response.header("date", date);
        self.request_log.add(RecordedRequest {
            received_at: now,
            method: request.method.clone(),
            kind,
            path: request.path().to_owned(),
            workspace: request.header("workspace").map(str::to_owned),
            job_id: job,
            is_list,
            response_status: delivery.sends_status().then_some(response.status),
            target: request.target.clone(),
            user_agent: request.header("user-agent").map(str::to_owned),
            cache_control: request.header("cache-control").map(str::to_owned),
        });
        (response, delivery)
    }

    /// The response without rate limit and faults.
    fn normal_response(
        &mut self,
        kind: ServiceKind,
        request: &FakeHttpRequest,
        now: Timestamp,
    ) -> FakeHttpResponse {
        if request.method != "GET" {
            return kind.rejection_response(&ServiceRejection::WrongMethod);
        }
        if let Some(id) =
            dune::job_id_from_result_path(request.path()).filter(|_| kind == ServiceKind::Dune)
        {
            return self.result_response(request, &id, now);
        }
        let job = kind.job_id_from_path(request.path());
        if job.is_none() && !kind.is_list_path(request.path()) {
            return kind.rejection_response(&ServiceRejection::UnknownPath);
        }
        if let Some(rejection) =
            kind.authentication_error(request, &self.api_key, &self.secret_key, &self.iam)
        {
            return kind.rejection_response(&rejection);
        }
        let Some(id) = job else {
            return match dli::ListQuery::parse(request.query()) {
                Some(list_query) => self.list_response(list_query, now),
                None => kind.rejection_response(&ServiceRejection::InvalidParameter),
            };
        };
        let job = self.jobs.get_mut(&id).filter(|job| job.kind == kind);
        match job.and_then(|job| job.start_and_snapshot(now)) {
            Some((submitted, snapshot)) => {
                FakeHttpResponse::json(200, &kind.status_body(&id, submitted, &snapshot))
            }
            None => {
                kind.rejection_response(&ServiceRejection::JobNotFound(&id, self.has_script(&id)))
            }
        }
    }

    /// Lists all submitted DLI jobs, tracked or not. A job that waits for its first request is not
    /// listed.
    fn list_response(&self, list_query: dli::ListQuery, now: Timestamp) -> FakeHttpResponse {
        let jobs = self.jobs.iter().filter(|(_, job)| job.kind == ServiceKind::Dli);
        let started =
            jobs.filter_map(|(id, job)| Some((id, job.snapshot_at(job.submitted_at?, now)?)));
        let bodies = started.map(|(id, (submitted, snapshot))| {
            ServiceKind::Dli.status_body(id, submitted, &snapshot)
        });
        FakeHttpResponse::json(200, &list_query.response_body(bodies))
    }

    /// Submits the execution that waits for this query to be executed.
    fn execute_query(
        &mut self,
        query: u64,
        request: &FakeHttpRequest,
        now: Timestamp,
    ) -> FakeHttpResponse {
        if let Some(rejection) = ServiceKind::Dune.authentication_error(
            request,
            &self.api_key,
            &self.secret_key,
            &self.iam,
        ) {
            return dune::rejection_response(&rejection);
        }
        let awaits_execution =
            |job: &ScriptedJob| job.submitted_at.is_none() && job.script.query_id() == Some(query);
        let Some((id, job)) = self.jobs.iter_mut().find(|(_, job)| awaits_execution(job)) else {
            return dune::rejection_response(&ServiceRejection::UnknownPath);
        };
        job.submitted_at = Some(now);
        dune::execute_response(id)
    }

    fn result_response(
        &mut self,
        request: &FakeHttpRequest,
        id: &str,
        now: Timestamp,
    ) -> FakeHttpResponse {
        if let Some(rejection) = ServiceKind::Dune.authentication_error(
            request,
            &self.api_key,
            &self.secret_key,
            &self.iam,
        ) {
            return dune::rejection_response(&rejection);
        }
        let job = self.jobs.get_mut(id).filter(|job| job.script.query_id().is_some());
        match job.and_then(|job| job.start_and_snapshot(now)) {
            Some((submitted, snapshot)) => FakeHttpResponse::json(
                200,
                &dune::result_body(dune::status_body(id, submitted, &snapshot)),
            ),
            None => dune::rejection_response(&ServiceRejection::UnknownPath),
        }
    }

    fn cancel_job(
        &mut self,
        kind: ServiceKind,
        request: &FakeHttpRequest,
        id: &str,
        now: Timestamp,
    ) -> FakeHttpResponse {
        if let Some(rejection) =
            kind.authentication_error(request, &self.api_key, &self.secret_key, &self.iam)
        {
            return kind.rejection_response(&rejection);
        }
        let job = self.jobs.get_mut(id).filter(|job| job.kind == kind);
        let found = job.and_then(|job| Some((job.start_and_snapshot(now)?.1.elapsed, job)));
        let Some((elapsed, job)) = found else {
            return kind
                .rejection_response(&ServiceRejection::JobNotFound(id, self.has_script(id)));
        };
        let (end, response) = kind.cancel_response(id);
        job.script = job.script.clone().cancelled_after(elapsed, end);
        response
    }

    fn has_script(&self, id: &str) -> bool {
        self.jobs.keys().any(|other| dataarts::script_name(other) == dataarts::script_name(id))
    }
}

impl ScriptedJob {
    /// The submission and the snapshot now; `None` before the submission. Submits a job that waits
    /// for its first request.
    fn start_and_snapshot(&mut self, now: Timestamp) -> Option<(Timestamp, ScriptSnapshot)> {
        let submitted = *self.submitted_at.get_or_insert(now);
        self.snapshot_at(submitted, now)
    }

    fn snapshot_at(
        &self,
        submitted: Timestamp,
        now: Timestamp,
    ) -> Option<(Timestamp, ScriptSnapshot)> {
        let elapsed = Duration::try_from(now.duration_since(submitted)).ok()?;
        Some((submitted, self.script.snapshot_after(elapsed)))
    }
}
