//! Error responses: problem details of RFC 9457 with a fixed `code`.
//!
//! Returned by all handlers. [`ProblemDetails`](api::ProblemDetails) lists the codes; programs
//! depend on them.

use axum::extract::rejection::PathRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::api;
use crate::job::AuditOutcome;
use crate::scheduler::CommandError;
use crate::store::ReadError;

#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    detail: String,
    audit_outcome: AuditOutcome,
}

impl ApiError {
    /// The error of a request that was not tried.
    fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), audit_outcome: AuditOutcome::Refused }
    }

    /// The error of a request that was tried, perhaps with success.
    fn failed(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { audit_outcome: AuditOutcome::Failed, ..Self::new(status, code, detail) }
    }

    /// What the audit says of a command that ended with this error.
    pub(super) fn audit_outcome(&self) -> AuditOutcome {
        self.audit_outcome
    }

    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// The same error of a step after something that is done.
    pub(super) fn after(mut self, done: &str) -> Self {
        self.detail = format!("{done}; {}", self.detail);
        self
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    pub(super) fn read_only() -> Self {
        let detail = "this socket only permits requests that change nothing; use the one that \
                      control.socket names";
        Self::new(StatusCode::FORBIDDEN, "read_only", detail)
    }

    pub(super) fn method_not_allowed() -> Self {
        let detail = "method not allowed; see the header Allow";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
    }

    pub(super) fn payload_too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", detail)
    }

    pub(super) fn job_finished(detail: String) -> Self {
        Self::new(StatusCode::CONFLICT, "job_finished", detail)
    }

    /// The provider rejected the request, or did not answer.
    pub(super) fn provider_rejected(detail: impl Into<String>) -> Self {
        Self::failed(StatusCode::BAD_GATEWAY, "provider_rejected", detail)
    }

    pub(super) fn too_many_waiters() -> Self {
        let detail = "too many clients wait for jobs or follow events; try again later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail)
    }

    /// The task of a command has ended without a result.
    pub(super) fn interrupted() -> Self {
        let detail = "the command was interrupted";
        Self::failed(StatusCode::SERVICE_UNAVAILABLE, "shutting_down", detail)
    }

    pub(super) fn out_of_memory() -> Self {
        let detail = "too many large requests at once; try again later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail)
    }

    pub(super) fn request_timeout() -> Self {
        let detail = "the request body did not arrive in time";
        Self::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail)
    }

    pub(super) fn invalid_config(detail: impl Into<String>) -> Self {
        Self::failed(StatusCode::UNPROCESSABLE_ENTITY, "invalid_config", detail)
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        Self::bad_request(rejection.body_text())
    }
}

impl From<CommandError> for ApiError {
    fn from(error: CommandError) -> Self {
        let detail = error.to_string();
        match error {
            CommandError::TimedOut => Self::failed(StatusCode::SERVICE_UNAVAILABLE, "busy", detail),
            CommandError::Storage(_) => {
                Self::failed(StatusCode::INSUFFICIENT_STORAGE, "storage", detail)
            }
            CommandError::ProviderNotConfigured(..) => {
                Self::new(StatusCode::CONFLICT, "provider_not_configured", detail)
            }
            CommandError::ProviderPaused(_) => {
                Self::new(StatusCode::CONFLICT, "provider_paused", detail)
            }
            CommandError::TooManyRequests(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail)
            }
            CommandError::Upstream(_) => Self::provider_rejected(detail),
            CommandError::ShuttingDown => {
                Self::failed(StatusCode::SERVICE_UNAVAILABLE, "shutting_down", detail)
            }
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match &error {
            ReadError::UnknownCursor { .. } => Self::bad_request(error.to_string()),
            ReadError::SnapshotInProgress => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", error.to_string())
            }
            ReadError::NoSpaceForCopy { .. } => {
                Self::failed(StatusCode::INSUFFICIENT_STORAGE, "storage", error.to_string())
            }
            ReadError::Database(_) | ReadError::CopyFailed { .. } => {
                tracing::error!("cannot answer a request on the control socket: {error}");
                Self::failed(StatusCode::INTERNAL_SERVER_ERROR, "storage", error.to_string())
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = api::ProblemDetails {
            code: self.code.to_owned(),
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
        };
        let content_type = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (self.status, content_type, axum::Json(body)).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
