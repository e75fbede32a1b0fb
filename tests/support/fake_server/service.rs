//! The services that the fake server plays: which request belongs to which, and their common
//! interface.
//!
//! What only one service does is in its own file (`dune`, `dli`, `dataarts`, and `huawei` for the
//! last two); this file is the only one that chooses between them.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::http::{FakeHttpRequest, FakeHttpResponse};
use super::iam::Iam;
use super::rate_limit::RateLimit;
use super::script::{JobEnd, JobPhase, JobScript, ScriptSnapshot};
use super::{dataarts, dli, dune, huawei};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServiceKind {
    Dune,
    Dli,
    DataArts,
}

/// Why a request is rejected; each service has its own status, code and message for it.
#[derive(Clone, Debug)]
pub enum ServiceRejection<'a> {
    WrongMethod,
    UnknownPath,
    InvalidCredential,
    InvalidSignature,
    /// A query parameter that is unknown or out of range.
    InvalidParameter,
    /// A token that was issued and is no longer valid.
    ExpiredToken,
    /// The id, and whether another job of the same script exists.
    JobNotFound(&'a str, bool),
    RateLimited {
        limit: RateLimit,
        retry_after: Option<String>,
    },
}

impl ServiceKind {
    pub const ALL: [Self; 3] = [Self::Dune, Self::Dli, Self::DataArts];

    /// The service that a path belongs to.
    pub fn from_path(path: &str) -> Self {
        match path.split('/').nth(1) {
            Some("v1.0") => Self::Dli,
            Some("v1") => Self::DataArts,
            Some(_) | None => Self::Dune,
        }
    }

    /// The job of a status path; `None` for any other path.
    pub fn job_id_from_path(self, path: &str) -> Option<String> {
        match self {
            Self::Dune => dune::job_id_from_path(path),
            Self::Dli => dli::job_id_from_path(path),
            Self::DataArts => dataarts::job_id_from_path(path),
        }
    }

    pub fn is_list_path(self, path: &str) -> bool {
        self == Self::Dli && dli::is_list_path(path)
    }

    /// The job of a cancel request; `None` for any other request.
    pub fn cancel_job_id(self, request: &FakeHttpRequest) -> Option<String> {
        let path = request.path();
        match (self, request.method.as_str()) {
            (Self::Dune, "POST") => {
                dune::job_id_from_path(&format!("{}/status", path.strip_suffix("/cancel")?))
            }
            (Self::Dli, "DELETE") => dli::job_id_from_path(&format!("{path}/status")),
            (Self::DataArts, "POST") => dataarts::job_id_from_path(path.strip_suffix("/stop")?),
            _ => None,
        }
    }

    /// The end of a cancelled job, and the response to the cancel request.
    pub fn cancel_response(self, id: &str) -> (JobEnd, FakeHttpResponse) {
        match self {
            Self::Dune => {
                (JobEnd::Cancelled, FakeHttpResponse::json(200, &json!({ "success": true })))
            }
            Self::Dli => {
                let body = json!({ "is_success": true, "message": "", "job_id": id });
                (JobEnd::Cancelled, FakeHttpResponse::json(200, &body))
            }
            // DataArts Studio has no state for cancelled instances.
            Self::DataArts => {
                (JobEnd::Failed, FakeHttpResponse::new(204, "application/json", Vec::new()))
            }
        }
    }

    pub fn credential_header(self) -> &'static str {
        match self {
            Self::Dune => dune::API_KEY_HEADER,
            Self::Dli | Self::DataArts => huawei::TOKEN_HEADER,
        }
    }

    /// Why the credentials of a request are rejected; `None` if they are valid.
    pub fn authentication_error(
        self,
        request: &FakeHttpRequest,
        credential: &str,
        secret_key: &str,
        iam: &Iam,
    ) -> Option<ServiceRejection<'static>> {
        match self {
            Self::Dune => (request.header(self.credential_header()) != Some(credential))
                .then_some(ServiceRejection::InvalidCredential),
            Self::Dli | Self::DataArts => {
                huawei::authentication_error(request, credential, secret_key, iam)
            }
        }
    }

    /// The API key or token of a request, or the id of its signing key, valid or not.
    pub fn credential(self, request: &FakeHttpRequest) -> Option<&str> {
        let key = request.header(self.credential_header());
        match self {
            Self::Dune => key,
            Self::Dli | Self::DataArts => key.or_else(|| huawei::signing_key_id(request)),
        }
    }

    /// Whether responses have `RateLimit` headers; requests that such a service rejects do not
    /// count towards its limit.
    pub fn sends_rate_limit_headers(self) -> bool {
        self == Self::Dune
    }

    /// The body of a successful status response.
    pub fn status_body(self, id: &str, submitted: Timestamp, snapshot: &ScriptSnapshot) -> Value {
        match self {
            Self::Dune => dune::status_body(id, submitted, snapshot),
            Self::Dli => {
                dli::status_body(id, dli::ResponseVariant::for_job(id), submitted, snapshot)
            }
            Self::DataArts => dataarts::status_body(id, snapshot),
        }
    }

    pub fn rejection_response(self, rejection: &ServiceRejection<'_>) -> FakeHttpResponse {
        let response = match self {
            Self::Dune => dune::rejection_response(rejection),
            Self::Dli => huawei::rejection_response(rejection, dli::job_not_found_error),
            Self::DataArts => huawei::rejection_response(rejection, dataarts::job_not_found_error),
        };
        if let ServiceRejection::RateLimited { retry_after: Some(after), .. } = rejection {
            return response.header("retry-after", after);
        }
        response
    }

    /// Mistakes of the client in a request: a credential in the URL or of another service, wrong
    /// percent-encoding, or any endpoint but status, cancel and list.
    pub fn client_violations(self, request: &FakeHttpRequest) -> Vec<String> {
        let path = request.path();
        let mut found = Vec::new();
        let is_credential = |pair: &str| {
            let name = pair.split('=').next().unwrap_or_default().to_ascii_lowercase();
            ["api_key", "token", dune::API_KEY_HEADER, huawei::TOKEN_HEADER]
                .contains(&name.as_str())
        };
        if request.query().split('&').any(is_credential) {
            found.push(format!("the API key is in the URL of {path}"));
        }
        let has_other_header = |kind: &Self| kind.credential_header() != self.credential_header();
        if Self::ALL
            .iter()
            .filter(|kind| has_other_header(kind))
            .any(|kind| request.has_header(kind.credential_header()))
        {
            found.push(format!("the request for {path} has the credential of another service"));
        }
        if !path.is_ascii() {
            found.push(format!("{path} is not percent-encoded"));
        } else if path.contains("%25") {
            found.push(format!("{path} is percent-encoded twice"));
        } else if self.cancel_job_id(request).is_none()
            && (request.method != "GET"
                || self.job_id_from_path(path).is_none() && !self.is_list_path(path))
        {
            found.push(format!("{} {path} is not the status endpoint", request.method));
        }
        found
    }

    /// The provider state of a phase. Panics if the service has none.
    pub fn provider_state(self, phase: &JobPhase) -> String {
        if let JobPhase::Custom { state, .. } = phase {
            return state.clone();
        }
        let entry = self.state_phases().iter().find(|(_, known_phase)| known_phase == phase);
        entry.unwrap_or_else(|| panic!("{self:?} has no state for {phase:?}")).0.to_owned()
    }

    /// The phase of a provider state; `None` if the service does not have this state.
    pub fn phase_of_state(self, state: &str) -> Option<JobPhase> {
        self.state_phases()
            .iter()
            .find(|(known_state, _)| *known_state == state)
            .map(|(_, phase)| phase.clone())
    }

    /// Replaces the custom states that this service knows by their phases. Panics if the service
    /// has no state for one of the phases.
    pub fn resolve_states(self, script: JobScript) -> JobScript {
        let script = script.resolve_states_with(|state| self.phase_of_state(state));
        for (_, _, phase) in script.timeline() {
            self.provider_state(phase);
        }
        script
    }

    fn state_phases(self) -> &'static [(&'static str, JobPhase)] {
        match self {
            Self::Dune => &dune::STATE_PHASES,
            Self::Dli => &dli::STATE_PHASES,
            Self::DataArts => &dataarts::STATE_PHASES,
        }
    }
}
