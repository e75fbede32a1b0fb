//! The kinds of services that are played: which request is for which, and what all have in common.
//!
//! What only one kind knows is in its own file (`dune`, `dli`, `dataarts`; `huawei` for both of the
//! last two) and is chosen here and nowhere else.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::http::{FakeHttpRequest, FakeHttpResponse};
use super::iam::Iam;
use super::rate_limit::RateLimit;
use super::script::{JobEnd, JobPhase, JobScript, ScriptSnapshot};
use super::{dataarts, dli, dune, huawei};

/// A service that is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServiceKind {
    Dune,
    Dli,
    DataArts,
}

/// Why a request is refused; each kind says it in its own way.
#[derive(Clone, Debug)]
pub enum ServiceRejection<'a> {
    WrongMethod,
    UnknownPath,
    InvalidCredential,
    InvalidSignature,
    /// A part of the query that is none.
    InvalidParameter,
    /// A token that was given and has ended.
    ExpiredToken,
    /// The flag: whether another job of the same script is known.
    JobNotFound(&'a str, bool),
    RateLimited {
        limit: RateLimit,
        retry_after: Option<String>,
    },
}

impl ServiceKind {
    pub const ALL: [Self; 3] = [Self::Dune, Self::Dli, Self::DataArts];

    /// Whose endpoint a path is meant for.
    pub fn from_path(path: &str) -> Self {
        match path.split('/').nth(1) {
            Some("v1.0") => Self::Dli,
            Some("v1") => Self::DataArts,
            Some(_) | None => Self::Dune,
        }
    }

    /// The job that a path asks for; none if it is not the status path.
    pub fn job_id_from_path(self, path: &str) -> Option<String> {
        match self {
            Self::Dune => dune::job_id_from_path(path),
            Self::Dli => dli::job_id_from_path(path),
            Self::DataArts => dataarts::job_id_from_path(path),
        }
    }

    /// Whether a path asks for a list of jobs.
    pub fn is_list_path(self, path: &str) -> bool {
        self == Self::Dli && dli::is_list_path(path)
    }

    /// The job that a request asks to stop; none if it asks for something else.
    pub fn cancel_job_id(self, head: &FakeHttpRequest) -> Option<String> {
        let path = head.path();
        match (self, head.method.as_str()) {
            (Self::Dune, "POST") => {
                dune::job_id_from_path(&format!("{}/status", path.strip_suffix("/cancel")?))
            }
            (Self::Dli, "DELETE") => dli::job_id_from_path(&format!("{path}/status")),
            (Self::DataArts, "POST") => dataarts::job_id_from_path(path.strip_suffix("/stop")?),
            _ => None,
        }
    }

    /// How a job ends that was stopped, and what the service answers then.
    pub fn cancel_response(self, id: &str) -> (JobEnd, FakeHttpResponse) {
        match self {
            Self::Dune => {
                (JobEnd::Cancelled, FakeHttpResponse::json(200, &json!({ "success": true })))
            }
            Self::Dli => {
                let body = json!({ "is_success": true, "message": "", "job_id": id });
                (JobEnd::Cancelled, FakeHttpResponse::json(200, &body))
            }
            // It has no word of its own for that.
            Self::DataArts => {
                (JobEnd::Failed, FakeHttpResponse::new(204, "application/json", Vec::new()))
            }
        }
    }

    /// The header that proves who asks.
    pub fn credential_header(self) -> &'static str {
        match self {
            Self::Dune => dune::API_KEY_HEADER,
            Self::Dli | Self::DataArts => huawei::TOKEN_HEADER,
        }
    }

    /// Why it is not known who asks; none if it is.
    pub fn authentication_error(
        self,
        head: &FakeHttpRequest,
        credential: &str,
        secret_key: &str,
        iam: &Iam,
    ) -> Option<ServiceRejection<'static>> {
        match self {
            Self::Dune => (head.header(self.credential_header()) != Some(credential))
                .then_some(ServiceRejection::InvalidCredential),
            Self::Dli | Self::DataArts => {
                huawei::authentication_error(head, credential, secret_key, iam)
            }
        }
    }

    /// The key that came, or the id of the one that signed, good or bad.
    pub fn credential(self, head: &FakeHttpRequest) -> Option<&str> {
        let key = head.header(self.credential_header());
        match self {
            Self::Dune => key,
            Self::Dli | Self::DataArts => key.or_else(|| huawei::signing_key_id(head)),
        }
    }

    /// Whether answers have `RateLimit` headers, and refused requests are not counted.
    pub fn sends_rate_limit_headers(self) -> bool {
        self == Self::Dune
    }

    /// The body of a good answer.
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
        let answer = match self {
            Self::Dune => dune::rejection_response(rejection),
            Self::Dli => huawei::rejection_response(rejection, dli::job_not_found_error),
            Self::DataArts => huawei::rejection_response(rejection, dataarts::job_not_found_error),
        };
        if let ServiceRejection::RateLimited { retry_after: Some(after), .. } = rejection {
            return answer.header("retry-after", after);
        }
        answer
    }

    /// What a decent client never does.
    pub fn client_violations(self, head: &FakeHttpRequest) -> Vec<String> {
        let path = head.path();
        let mut found = Vec::new();
        let is_credential = |pair: &str| {
            let name = pair.split('=').next().unwrap_or_default().to_ascii_lowercase();
            ["api_key", "token", dune::API_KEY_HEADER, huawei::TOKEN_HEADER]
                .contains(&name.as_str())
        };
        if head.query().split('&').any(is_credential) {
            found.push(format!("the API key is in the URL of {path}"));
        }
        let foreign = |kind: &Self| kind.credential_header() != self.credential_header();
        if Self::ALL
            .iter()
            .filter(|kind| foreign(kind))
            .any(|kind| head.has_header(kind.credential_header()))
        {
            found.push(format!("the key of another service comes with {path}"));
        }
        if !path.is_ascii() {
            found.push(format!("{path} is not percent-encoded"));
        } else if path.contains("%25") {
            found.push(format!("{path} is percent-encoded twice"));
        } else if self.cancel_job_id(head).is_none()
            && (head.method != "GET"
                || self.job_id_from_path(path).is_none() && !self.is_list_path(path))
        {
            found.push(format!("{} {path} is not the status endpoint", head.method));
        }
        found
    }

    /// The kind's word for a phase. Panics if it has none.
    pub fn provider_state(self, phase: &JobPhase) -> String {
        if let JobPhase::Custom { state: word, .. } = phase {
            return word.clone();
        }
        let entry = self.state_phases().iter().find(|(_, meant)| meant == phase);
        entry.unwrap_or_else(|| panic!("{self:?} has no word for {phase:?}")).0.to_owned()
    }

    /// What a word of the kind's means.
    pub fn phase_of_state(self, state: &str) -> Option<JobPhase> {
        self.state_phases()
            .iter()
            .find(|(known, _)| *known == state)
            .map(|(_, phase)| phase.clone())
    }

    /// The life with its bare words read as this kind means them. Panics if it has a phase for which
    /// the kind has no word.
    pub fn resolve_states(self, life: JobScript) -> JobScript {
        let life = life.resolve_states_with(|word| self.phase_of_state(word));
        for (_, _, phase) in life.timeline() {
            self.provider_state(phase);
        }
        life
    }

    fn state_phases(self) -> &'static [(&'static str, JobPhase)] {
        match self {
            Self::Dune => &dune::STATE_PHASES,
            Self::Dli => &dli::STATE_PHASES,
            Self::DataArts => &dataarts::STATE_PHASES,
        }
    }
}
