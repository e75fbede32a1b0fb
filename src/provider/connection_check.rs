//! The result of a connection check, from the answer to a request for a job that cannot exist.
//!
//! Called by each kind. "Not found" is the good answer: the service accepted the credentials and looked
//! for the job.

use crate::job::{
    ConnectionCheck, Finding, FindingKind, ProviderError, ProviderErrorKind, UtcTime,
};

use super::http::HttpResponse;

/// `is_permission_error` separates missing permissions from invalid credentials, `rejection_error` reads
/// an unsuccessful answer; both are the kind's own.
pub(super) fn build_connection_check(
    reply: Result<HttpResponse, ProviderError>,
    now: UtcTime,
    is_permission_error: fn(&HttpResponse) -> bool,
    rejection_error: fn(&HttpResponse) -> ProviderError,
) -> ConnectionCheck {
    match reply {
        Ok(reply) => {
            let seconds_ahead = |date: UtcTime| (now.as_millis() - date.as_millis()) / 1000;
            ConnectionCheck {
                finding: finding_for_reply(&reply, is_permission_error, rejection_error),
                clock_ahead_s: reply.server_date.map(seconds_ahead),
            }
        }
        Err(error) => {
            ConnectionCheck { finding: finding_without_reply(error), clock_ahead_s: None }
        }
    }
}

fn finding_for_reply(
    reply: &HttpResponse,
    is_permission_error: fn(&HttpResponse) -> bool,
    rejection_error: fn(&HttpResponse) -> ProviderError,
) -> Finding {
    // A server that answers with JSON is probably the service; HTML comes from a proxy or a login page.
    let unexpected = if reply.body.trim_ascii_start().starts_with(b"{") {
        FindingKind::UnrecognizedAnswer
    } else {
        FindingKind::WrongEndpoint
    };
    if reply.status.is_success() {
        let detail = format!("HTTP {} for a job that cannot exist", reply.status.as_u16());
        return Finding::new(unexpected, detail);
    }
    let error = rejection_error(reply);
    let kind = match error.kind {
        ProviderErrorKind::NotFound => return Finding::ok(),
        ProviderErrorKind::Auth if is_permission_error(reply) => FindingKind::PermissionDenied,
        ProviderErrorKind::Auth => FindingKind::InvalidCredentials,
        ProviderErrorKind::Misconfigured => FindingKind::WrongEndpoint,
        ProviderErrorKind::RateLimited => FindingKind::RateLimited,
        ProviderErrorKind::QuotaExceeded => FindingKind::QuotaExceeded,
        ProviderErrorKind::Transient => FindingKind::ServiceError,
        ProviderErrorKind::Malformed => unexpected,
    };
    Finding::new(kind, error.message)
}

/// For a request without an answer, or with an answer that was not accepted, such as one that is too long.
fn finding_without_reply(error: ProviderError) -> Finding {
    let kind = match error.kind {
        ProviderErrorKind::Transient => FindingKind::Unreachable,
        ProviderErrorKind::Auth => FindingKind::InvalidCredentials,
        ProviderErrorKind::Misconfigured | ProviderErrorKind::Malformed => {
            FindingKind::WrongEndpoint
        }
        ProviderErrorKind::NotFound
        | ProviderErrorKind::RateLimited
        | ProviderErrorKind::QuotaExceeded => FindingKind::UnrecognizedAnswer,
    };
    Finding::new(kind, error.message)
}
