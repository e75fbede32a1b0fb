//! The services of a simulation: they answer in the same process with bodies that the real parsers
//! read, and with every kind of failure.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::sleep;

use super::damaged_answers::{DamagedAnswers, damage};
use super::event_log::EventLog;
use super::lives::provider_name;
use super::model::Model;
use super::plan::PlantedBug;
use super::time::SimulatedTime;
use super::transport::Answer;
use crate::fake_server::{
    ClockSample, FakeHttpRequest, FakeHttpResponse, Fault, FaultRepeat, FaultTarget, ServiceKind,
    ServiceState, TrueHistory,
};

/// What a service does until it is changed.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    Healthy,
    /// Connections are refused, or nothing is answered.
    Down,
    /// Nothing is answered.
    Silent,
    /// Every request is answered with this status, in the format of the service or not.
    Status(u16, &'static str),
    RateLimited(Option<&'static str>),
    /// This part of the requests, in percent, fails in any way.
    Flaky(u8),
}

/// All services, and what the daemon asked them.
#[derive(Debug)]
pub struct Services {
    time: Arc<SimulatedTime>,
    log: EventLog,
    model: Arc<Mutex<Model>>,
    planted: Option<PlantedBug>,
    state: Mutex<ServicesState>,
}

struct ServicesState {
    service: ServiceState,
    conditions: [Condition; 3],
    random: fastrand::Rng,
    damaged_answers: DamagedAnswers,
    epoch: std::time::Instant,
}

impl std::fmt::Debug for ServicesState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServicesState")
            .field("conditions", &self.conditions)
            .finish_non_exhaustive()
    }
}

/// How a request ends.
enum Outcome {
    Response(FakeHttpResponse),
    /// The head of the response arrives, and a part of its body.
    CutOff(FakeHttpResponse),
    NoAnswer,
    Refused,
}

impl Services {
    /// As in the configuration of the daemon.
    pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

    #[expect(clippy::disallowed_methods, reason = "the fake services count from some instant")]
    pub fn new(
        seed: u64,
        time: Arc<SimulatedTime>,
        log: EventLog,
        model: Arc<Mutex<Model>>,
        planted: Option<PlantedBug>,
    ) -> Self {
        let state = ServicesState {
            service: ServiceState::default(),
            conditions: [const { Condition::Healthy }; 3],
            random: fastrand::Rng::with_seed(seed),
            damaged_answers: DamagedAnswers::read(),
            epoch: std::time::Instant::now(),
        };
        Self { time, log, model, planted, state: Mutex::new(state) }
    }

    fn with<T>(&self, action: impl FnOnce(&mut ServicesState) -> T) -> T {
        action(&mut self.state.lock().expect("no panic while the services are locked"))
    }

    pub fn with_service<T>(&self, action: impl FnOnce(&mut ServiceState) -> T) -> T {
        self.with(|state| action(&mut state.service))
    }

    pub fn set_condition(&self, kind: ServiceKind, condition: Condition) {
        self.log.event(format_args!("{} is {condition:?}", provider_name(kind)));
        self.with(|state| state.conditions[kind as usize] = condition);
    }

    pub fn unhealthy(&self) -> Vec<ServiceKind> {
        let is_unhealthy = |state: &mut ServicesState, kind: ServiceKind| {
            state.conditions[kind as usize] != Condition::Healthy
        };
        ServiceKind::ALL.into_iter().filter(|kind| self.with(|s| is_unhealthy(s, *kind))).collect()
    }

    pub fn true_history(&self, remote_id: &str) -> Option<TrueHistory> {
        self.with(|state| state.service.true_history(remote_id))
    }

    /// The error says why no answer arrives.
    pub async fn answer(&self, request: FakeHttpRequest) -> Result<Answer, String> {
        let is_token_request = request.path().starts_with("/v3/");
        let kind = ServiceKind::from_path(request.path());
        let (way_there, way_back) = self.with(|state| {
            let ms = if state.random.u32(0..50) == 0 { 5_000 } else { 400 };
            let mut delay = || Duration::from_millis(state.random.u64(5..ms));
            (delay(), delay())
        });
        if !is_token_request {
            self.model().count_request(kind, self.time.elapsed(), &self.log);
        }
        sleep(way_there).await;
        let outcome = self.decide(&request, kind, is_token_request);
        sleep(way_back).await;
        match outcome {
            Outcome::Refused => Err("simulated: connection refused".into()),
            Outcome::NoAnswer => {
                sleep(Self::REQUEST_TIMEOUT.saturating_sub(way_there + way_back)).await;
                Err("simulated: operation timed out".into())
            }
            Outcome::Response(response) => Ok(Answer::Complete(response)),
            Outcome::CutOff(response) => Ok(Answer::CutOff(response)),
        }
    }

    fn model(&self) -> std::sync::MutexGuard<'_, Model> {
        self.model.lock().expect("no panic while the model is locked")
    }

    fn decide(&self, request: &FakeHttpRequest, kind: ServiceKind, for_token: bool) -> Outcome {
        let now = self.time.right_time();
        let elapsed = self.time.elapsed();
        let job = kind.cancel_job_id(request).or_else(|| kind.job_id_from_path(request.path()));
        let is_poll = kind.cancel_job_id(request).is_none();
        let refused = job.as_ref().is_some_and(|job| self.model().is_refused(kind, job));
        let (description, outcome) = self.with(|state| {
            let clock = ClockSample { monotonic: state.epoch + elapsed, wall: now };
            let fault = if for_token {
                None
            } else if refused {
                Some(InjectedFault::Fault(Fault::status(403, "{\"error\":\"forbidden\"}")))
            } else {
                state.draw_fault(kind, request)
            };
            let description = format!("{fault:?}");
            (description, state.respond(kind, request, fault, clock))
        });
        if !for_token {
            let mut model = self.model();
            if description != "None" && !refused {
                model.disturb(kind, elapsed);
                model.disturbed_request_count += 1;
            }
            if let (Some(job), true) = (&job, is_poll) {
                let not_found =
                    matches!(&outcome, Outcome::Response(response) if is_not_found(response));
                model.record_poll(kind, job, elapsed, not_found, &self.log);
            } else if let Outcome::Response(response) = &outcome {
                for job in listed_jobs(response) {
                    model.record_poll(kind, &job, elapsed, false, &self.log);
                }
            }
        }
        let status = match &outcome {
            Outcome::Response(response) | Outcome::CutOff(response) => response.status,
            Outcome::NoAnswer | Outcome::Refused => 0,
        };
        self.log
            .event(format_args!("{} {} -> {status} {description}", request.method, request.target));
        match outcome {
            Outcome::Response(response)
                if self.planted == Some(PlantedBug::FalseAnswer)
                    && elapsed.as_secs().is_multiple_of(10) =>
            {
                Outcome::Response(with_false_state(response))
            }
            other => other,
        }
    }
}

#[derive(Debug)]
enum InjectedFault {
    Fault(Fault),
    CutOff,
    NoAnswer,
    Refused,
    /// A damaged body; see [`DamagedAnswers`].
    Damaged(u32),
    /// The answer for another job.
    Misdelivered(String),
}

impl ServicesState {
    fn draw_fault(
        &mut self,
        kind: ServiceKind,
        request: &FakeHttpRequest,
    ) -> Option<InjectedFault> {
        match &self.conditions[kind as usize] {
            Condition::Healthy => None,
            Condition::Down if self.random.bool() => Some(InjectedFault::Refused),
            Condition::Down | Condition::Silent => Some(InjectedFault::NoAnswer),
            Condition::Status(status, body) => {
                Some(InjectedFault::Fault(Fault::status(*status, body)))
            }
            Condition::RateLimited(after) => {
                let retry_after = after.map(str::to_owned);
                Some(InjectedFault::Fault(Fault::RateLimited { retry_after }))
            }
            Condition::Flaky(percent) if self.random.u8(0..100) < *percent => {
                Some(self.draw_flaky_fault(kind, request))
            }
            Condition::Flaky(_) => None,
        }
    }

    fn draw_flaky_fault(&mut self, kind: ServiceKind, request: &FakeHttpRequest) -> InjectedFault {
        let html = "<html><body>502 Bad Gateway</body></html>";
        match self.random.u32(0..13) {
            0 => InjectedFault::NoAnswer,
            1 => InjectedFault::Refused,
            2 => InjectedFault::CutOff,
            3 => InjectedFault::Fault(Fault::status(500, "{}")),
            4 => InjectedFault::Fault(Fault::status(502, html)),
            5 => InjectedFault::Fault(Fault::status(404, html)),
            6 => InjectedFault::Fault(Fault::status(200, html)),
            7 => InjectedFault::Fault(Fault::status(200, "")),
            8 => InjectedFault::Fault(Fault::RateLimited { retry_after: Some("7".into()) }),
            9 => {
                let other = kind
                    .job_id_from_path(request.path())
                    .and_then(|job| other_job_path(kind, &job, request.path()));
                other.map_or(InjectedFault::CutOff, InjectedFault::Misdelivered)
            }
            _ => InjectedFault::Damaged(self.random.u32(..)),
        }
    }

    fn respond(
        &mut self,
        kind: ServiceKind,
        request: &FakeHttpRequest,
        fault: Option<InjectedFault>,
        clock: ClockSample,
    ) -> Outcome {
        let outcome = match fault {
            None => Outcome::Response(self.normal_response(request, clock)),
            Some(InjectedFault::Fault(fault)) => {
                self.service.faults.add(FaultTarget::All, fault, FaultRepeat::Once);
                Outcome::Response(self.normal_response(request, clock))
            }
            // The service has carried the request out.
            Some(InjectedFault::CutOff) => Outcome::CutOff(self.normal_response(request, clock)),
            Some(InjectedFault::NoAnswer) => {
                self.normal_response(request, clock);
                Outcome::NoAnswer
            }
            Some(InjectedFault::Refused) => Outcome::Refused,
            Some(InjectedFault::Damaged(how)) => {
                let mut response = self.normal_response(request, clock);
                self.damage(kind, request, &mut response, how, clock.wall);
                Outcome::Response(response)
            }
            Some(InjectedFault::Misdelivered(path)) => {
                let headers =
                    request.headers().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
                let other = FakeHttpRequest::new(request.method.clone(), path, headers, Vec::new());
                Outcome::Response(self.normal_response(&other, clock))
            }
        };
        // Only what the model counts is kept.
        self.service.request_log.requests.clear();
        outcome
    }

    /// Replaces the body by a damaged answer about the same job, or damages it.
    fn damage(
        &self,
        kind: ServiceKind,
        request: &FakeHttpRequest,
        response: &mut FakeHttpResponse,
        how: u32,
        now: Timestamp,
    ) {
        let listed = listed_jobs(response);
        let job = match kind.job_id_from_path(request.path()) {
            Some(job) => Some(job),
            None => listed.get(how as usize % listed.len().max(1)).cloned(),
        };
        let truth = job.as_ref().and_then(|job| self.service.true_history(job));
        let states = truth.map(|truth| truth.provider_states).unwrap_or_default();
        let state = states.iter().rfind(|(began, _)| *began <= now).map(|(_, state)| state);
        let answer = match (&job, state) {
            (Some(job), Some(state)) if request.method == "GET" && response.status == 200 => {
                self.damaged_answers.answer(kind, !listed.is_empty(), job, state, how)
            }
            _ => None,
        };
        response.body = answer.unwrap_or_else(|| damage(kind, &response.body, how));
    }

    fn normal_response(
        &mut self,
        request: &FakeHttpRequest,
        clock: ClockSample,
    ) -> FakeHttpResponse {
        self.service.handle_request(request, || clock).0
    }
}

/// The path of the same request for another job.
fn other_job_path(kind: ServiceKind, job: &str, path: &str) -> Option<String> {
    let number: u64 = job.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    let other = super::lives::remote_id(kind, number.checked_sub(1)?);
    (path.contains(job)).then(|| path.replace(job, &other))
}

fn with_false_state(mut response: FakeHttpResponse) -> FakeHttpResponse {
    let text = String::from_utf8_lossy(&response.body);
    let text = text.replace("QUERY_STATE_EXECUTING", "QUERY_STATE_FAILED");
    response.body = text.replace("\"RUNNING\"", "\"FAILED\"").into_bytes();
    response
}

fn is_not_found(response: &FakeHttpResponse) -> bool {
    response.status == 404 || response.status == 400
}

fn listed_jobs(response: &FakeHttpResponse) -> Vec<String> {
    let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let jobs = body["jobs"].as_array().into_iter().flatten();
    jobs.filter_map(|job| job["job_id"].as_str().map(str::to_owned)).collect()
}
