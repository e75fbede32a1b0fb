//! From the answer for a job that cannot exist to what a check-up found. Shared by all kinds.

use crate::job::{ConnectionCheck, Finding, ProviderError, ProviderErrorKind, UtcTime};

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
        let ProviderError { kind, message } = rejection_error(&reply);
        match kind {
            ProviderErrorKind::NotFound => Finding::Ok,
            ProviderErrorKind::Auth if is_permission_error(&reply) => {
                Finding::PermissionDenied(message)
            }
            ProviderErrorKind::Auth => Finding::InvalidCredentials(message),
            ProviderErrorKind::Misconfigured => Finding::WrongEndpoint(message),
            ProviderErrorKind::RateLimited => Finding::RateLimited(message),
            ProviderErrorKind::QuotaExceeded => Finding::QuotaExceeded(message),
            ProviderErrorKind::Transient => Finding::ServiceError(message),
            ProviderErrorKind::Malformed => unexpected_response(&reply, message),
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
    let ProviderError { kind, message } = error;
    match kind {
        ProviderErrorKind::Transient => Finding::Unreachable(message),
        ProviderErrorKind::Auth => Finding::InvalidCredentials(message),
        ProviderErrorKind::Misconfigured | ProviderErrorKind::Malformed => {
            Finding::WrongEndpoint(message)
        }
        ProviderErrorKind::NotFound
        | ProviderErrorKind::RateLimited
        | ProviderErrorKind::QuotaExceeded => Finding::UnrecognizedAnswer(message),
    }
}
