//! What the stand-in knows: jobs, faults, limit, record; and the one place that decides what a
//! request gets.
//!
//! Apart are IAM, and running a query of Dune's, which has a budget of its own there: limit, faults
//! and record are of looking. Order: the limit, then faults, then the service's own answer, in the
//! words of the kind whose endpoint was asked.

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

/// All that a connection asks.
pub struct ServiceState {
    pub api_key: String,
    /// With which requests to Huawei Cloud may be signed instead.
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
    /// None until the first request, if it waits for that.
    submitted_at: Option<Timestamp>,
}

/// A job's whole life, as it truly is, past and to come.
#[derive(Clone, Debug)]
pub struct TrueHistory {
    pub submitted_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// Each word that the provider says of it, and from when.
    pub provider_states: Vec<(Timestamp, String)>,
}

impl ServiceState {
    pub fn add_job(&mut self, kind: ServiceKind, id: &str, life: JobScript, now: Timestamp) {
        let submitted = match life.start {
            ScriptStart::WhenAdded => Some(now),
            ScriptStart::AtFirstRequest => None,
            ScriptStart::At(at) => Some(at),
        };
        self.jobs
            .insert(id.to_owned(), ScriptedJob { kind, script: life, submitted_at: submitted });
    }

    pub fn remove_job(&mut self, id: &str) {
        self.jobs.remove(id);
    }

    pub fn true_history(&self, id: &str) -> Option<TrueHistory> {
        let ScriptedJob { kind, script: life, submitted_at: submitted } = self.jobs.get(id)?;
        let submitted = (*submitted)?;
        let end = life.snapshot_after(Duration::MAX);
        let at = |span| add_duration(submitted, span);
        let provider_state = |(begins, _, phase)| (at(begins), kind.provider_state(phase));
        Some(TrueHistory {
            submitted_at: submitted,
            started_at: end.started_after.map(at),
            ended_at: end.ended_after.map(at),
            provider_states: life.timeline().map(provider_state).collect(),
        })
    }

    /// Decides what a request gets, and records it. The clock is read here, with the world in
    /// hand, so that records lie in the order of their times.
    pub fn handle_request(
        &mut self,
        head: &FakeHttpRequest,
        clock: impl FnOnce() -> ClockSample,
    ) -> (FakeHttpResponse, Delivery) {
        let now = clock();
        let date = now.wall.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        if head.path() == iam::TOKENS_PATH {
            let answer = self.iam.handle(head, now.wall).header("date", date);
            return (answer, Delivery::Normal);
        }
        if let Some(query) = dune::query_to_execute(head) {
            return (
                self.execute_query(query, head, now.wall).header("date", date),
                Delivery::Normal,
            );
        }
        let kind = ServiceKind::from_path(head.path());
        let list = kind.is_list_path(head.path());
        let cancel_id = kind.cancel_job_id(head);
        let job = cancel_id.clone().or_else(|| kind.job_id_from_path(head.path()));
        self.request_log.client_violations.extend(kind.client_violations(head));
        self.request_log.credentials.extend(kind.credential(head).map(str::to_owned));

        let verdict = self
            .rate_limit
            .as_mut()
            .map(|window| window.check_request(now.monotonic, kind.sends_rate_limit_headers()));
        let refused = verdict.as_ref().filter(|verdict| verdict.rejected);
        let (mut answer, manner) = if let Some(RateLimitDecision { limit, retry_after, .. }) =
            refused
        {
            let rejection =
                ServiceRejection::RateLimited { limit: *limit, retry_after: retry_after.clone() };
            (kind.rejection_response(&rejection), Delivery::Normal)
        } else {
            let fault = self.faults.take_for_request(job.as_deref(), list);
            let normal = match &cancel_id {
                // What meets a fault does not reach the job.
                Some(id) if fault.is_none() => self.cancel_job(kind, head, id, now.wall),
                Some(_) | None => self.normal_response(kind, head, now.wall),
            };
            match fault {
                Some(fault) => fault.apply(kind, normal),
                None => (normal, Delivery::Normal),
            }
        };
        let sent_decision = verdict.filter(|_| kind.sends_rate_limit_headers());
        for (name, value) in sent_decision.into_iter().flat_map(|verdict| verdict.headers) {
            answer = answer.header(name, value);
        }
        let answer = answer.header("date", date);
        self.request_log.add(RecordedRequest {
            received_at: now,
            method: head.method.clone(),
            kind,
            path: head.path().to_owned(),
            workspace: head.header("workspace").map(str::to_owned),
            job_id: job,
            is_list: list,
            response_status: manner.sends_status().then_some(answer.status),
            target: head.target.clone(),
            user_agent: head.header("user-agent").map(str::to_owned),
        });
        (answer, manner)
    }

    /// The service's own answer.
    fn normal_response(
        &mut self,
        kind: ServiceKind,
        head: &FakeHttpRequest,
        now: Timestamp,
    ) -> FakeHttpResponse {
        if head.method != "GET" {
            return kind.rejection_response(&ServiceRejection::WrongMethod);
        }
        if let Some(id) =
            dune::job_id_from_result_path(head.path()).filter(|_| kind == ServiceKind::Dune)
        {
            return self.result_response(head, &id, now);
        }
        let job = kind.job_id_from_path(head.path());
        if job.is_none() && !kind.is_list_path(head.path()) {
            return kind.rejection_response(&ServiceRejection::UnknownPath);
        }
        if let Some(rejection) =
            kind.authentication_error(head, &self.api_key, &self.secret_key, &self.iam)
        {
            return kind.rejection_response(&rejection);
        }
        let Some(id) = job else {
            return match dli::ListQuery::parse(head.query()) {
                Some(page) => self.list_response(page, now),
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

    /// All jobs, ours and others'. One that waits for its first request is not there yet.
    fn list_response(&self, page: dli::ListQuery, now: Timestamp) -> FakeHttpResponse {
        let jobs = self.jobs.iter().filter(|(_, job)| job.kind == ServiceKind::Dli);
        let started =
            jobs.filter_map(|(id, job)| Some((id, job.snapshot_at(job.submitted_at?, now)?)));
        let bodies =
            started.map(|(id, (submitted, now))| ServiceKind::Dli.status_body(id, submitted, &now));
        FakeHttpResponse::json(200, &page.response_body(bodies))
    }

    /// Begins the execution that waits for its query to be run.
    fn execute_query(
        &mut self,
        query: u64,
        head: &FakeHttpRequest,
        now: Timestamp,
    ) -> FakeHttpResponse {
        if let Some(rejection) =
            ServiceKind::Dune.authentication_error(head, &self.api_key, &self.secret_key, &self.iam)
        {
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

    /// The result of an execution of Dune's.
    fn result_response(
        &mut self,
        head: &FakeHttpRequest,
        id: &str,
        now: Timestamp,
    ) -> FakeHttpResponse {
        if let Some(rejection) =
            ServiceKind::Dune.authentication_error(head, &self.api_key, &self.secret_key, &self.iam)
        {
            return dune::rejection_response(&rejection);
        }
        let job = self.jobs.get_mut(id).filter(|job| job.script.query_id().is_some());
        match job.and_then(|job| job.start_and_snapshot(now)) {
            Some((submitted, now)) => FakeHttpResponse::json(
                200,
                &dune::result_body(dune::status_body(id, submitted, &now)),
            ),
            None => dune::rejection_response(&ServiceRejection::UnknownPath),
        }
    }

    /// Stops a job.
    fn cancel_job(
        &mut self,
        kind: ServiceKind,
        head: &FakeHttpRequest,
        id: &str,
        now: Timestamp,
    ) -> FakeHttpResponse {
        if let Some(rejection) =
            kind.authentication_error(head, &self.api_key, &self.secret_key, &self.iam)
        {
            return kind.rejection_response(&rejection);
        }
        let job = self.jobs.get_mut(id).filter(|job| job.kind == kind);
        let found = job.and_then(|job| Some((job.start_and_snapshot(now)?.1.elapsed, job)));
        let Some((elapsed, job)) = found else {
            return kind
                .rejection_response(&ServiceRejection::JobNotFound(id, self.has_script(id)));
        };
        let (end, answer) = kind.cancel_response(id);
        job.script = job.script.clone().cancelled_after(elapsed, end);
        answer
    }

    fn has_script(&self, id: &str) -> bool {
        self.jobs.keys().any(|known| dataarts::script_name(known) == dataarts::script_name(id))
    }
}

impl ScriptedJob {
    /// Its submission and where it stands; none before it.
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
