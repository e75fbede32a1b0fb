//! From the answer for a job that cannot exist to what a check-up found. Shared by all kinds.

use crate::job::{ConnectionCheck, Finding, ProviderError, UtcTime};

use super::http::HttpResponse;

/// `forbids` tells a refusal of rights from one of who asks; `refused` is the kind's own reading of
/// an answer that is no success.
pub(super) fn build_connection_check(
    reply: Result<HttpResponse, ProviderError>,
    now: UtcTime,
    is_permission_error: fn(&HttpResponse) -> bool,
    rejection_error: fn(&HttpResponse) -> ProviderError,
) -> ConnectionCheck {
    let reply = match reply {
        Ok(reply) => reply,
        Err(request_error) => {
            return ConnectionCheck {
                finding: finding_for_request_error(request_error),
                clock_ahead_s: None,
            };
        }
    };
    let seconds_ahead = |date: UtcTime| (now.as_millis() - date.as_millis()) / 1000;
    let clock_ahead_s = reply.server_date.map(seconds_ahead);
    let finding = if reply.status.is_success() {
        // Nobody who knows jobs has one of that name.
        unexpected_response(
            &reply,
            format!("HTTP {}, of a job that cannot exist", reply.status.as_u16()),
        )
    } else {
        match rejection_error(&reply) {
            ProviderError::NotFound(_) => Finding::Ok,
            ProviderError::Auth(message) if is_permission_error(&reply) => {
                Finding::PermissionDenied(message)
            }
            ProviderError::Auth(message) => Finding::InvalidCredentials(message),
            ProviderError::Misconfigured(message) => Finding::WrongEndpoint(message),
            ProviderError::RateLimited(message) => Finding::RateLimited(message),
            ProviderError::QuotaExceeded(message) => Finding::QuotaExceeded(message),
            ProviderError::Transient(message) => Finding::ServiceError(message),
            ProviderError::Malformed(message) => unexpected_response(&reply, message),
        }
    };
    ConnectionCheck { finding, clock_ahead_s }
}

/// The services speak JSON: what does not comes from somebody else.
fn unexpected_response(reply: &HttpResponse, message: String) -> Finding {
    if reply.body.trim_ascii_start().starts_with(b"{") {
        Finding::UnrecognizedAnswer(message)
    } else {
        Finding::WrongEndpoint(message)
    }
}

/// No answer came in, or none that can be held.
fn finding_for_request_error(error: ProviderError) -> Finding {
    match error {
        ProviderError::Transient(message) => Finding::Unreachable(message),
        ProviderError::Auth(message) => Finding::InvalidCredentials(message),
        ProviderError::Misconfigured(message) | ProviderError::Malformed(message) => {
            Finding::WrongEndpoint(message)
        }
        ProviderError::NotFound(message)
        | ProviderError::RateLimited(message)
        | ProviderError::QuotaExceeded(message) => Finding::UnrecognizedAnswer(message),
    }
}
