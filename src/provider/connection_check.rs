//! The result of a connection check, from the response to a request for a job that cannot exist.
//!
//! Called by each kind. "Not found" is the good answer: the service accepted the credentials and looked
//! for the job.

use crate::job::{
    ConnectionCheck, ConnectionFailure, Finding, FindingKind, ProviderError, ProviderErrorKind,
    RateLimitInfo, ServiceHints,
};

use super::http::HttpResponse;

/// `is_permission_error` separates missing permissions from invalid credentials, and `rejection_error`
/// reads an unsuccessful response; both belong to the kind, as do the `hints`.
pub(super) fn build_connection_check(
    response: Result<HttpResponse, ProviderError>,
    hints: ServiceHints,
    is_permission_error: fn(&HttpResponse) -> bool,
    rejection_error: fn(&HttpResponse) -> ProviderError,
) -> ConnectionCheck {
    match response {
        Ok(response) => ConnectionCheck {
            finding: finding_for_response(&response, is_permission_error, rejection_error),
            clock_ahead_s: response.clock_ahead_s,
            rate_limit: response.rate_limit,
            credential_replaced: response.credential_replaced,
            hints,
        },
        Err(error) => ConnectionCheck {
            finding: finding_without_response(error),
            clock_ahead_s: None,
            rate_limit: RateLimitInfo::default(),
            credential_replaced: false,
            hints,
        },
    }
}

fn finding_for_response(
    response: &HttpResponse,
    is_permission_error: fn(&HttpResponse) -> bool,
    rejection_error: fn(&HttpResponse) -> ProviderError,
) -> Finding {
    // A server that answers with JSON is probably the service; HTML comes from a proxy or a login page.
    let unexpected = if response.body.trim_ascii_start().starts_with(b"{") {
        FindingKind::UnrecognizedAnswer
    } else {
        FindingKind::WrongEndpoint
    };
    if response.status.is_success() {
        let detail = format!("HTTP {} for a job that cannot exist", response.status.as_u16());
        return Finding::new(unexpected, detail);
    }
    let error = rejection_error(response);
    let kind = match error.kind {
        ProviderErrorKind::NotFound | ProviderErrorKind::InvalidId => return Finding::ok(),
        ProviderErrorKind::Auth if is_permission_error(response) => FindingKind::PermissionDenied,
        ProviderErrorKind::Auth => FindingKind::InvalidCredentials,
        ProviderErrorKind::Misconfigured => FindingKind::WrongEndpoint,
        ProviderErrorKind::RateLimited => FindingKind::RateLimited,
        ProviderErrorKind::QuotaExceeded => FindingKind::QuotaExceeded,
        ProviderErrorKind::Transient => FindingKind::ServiceError,
        ProviderErrorKind::Malformed => unexpected,
    };
    Finding::new(kind, error.message)
}

/// For a request without a response, or with a response that was not accepted, such as one that is too
/// long.
fn finding_without_response(error: ProviderError) -> Finding {
    let kind = match error.kind {
        ProviderErrorKind::Transient => match error.connection_failure {
            Some(ConnectionFailure::NameResolution) => FindingKind::NameNotResolved,
            Some(ConnectionFailure::Proxy) => FindingKind::ProxyFailed,
            Some(ConnectionFailure::Certificate) => FindingKind::UntrustedCertificate,
            None => FindingKind::Unreachable,
        },
        ProviderErrorKind::Auth => FindingKind::InvalidCredentials,
        ProviderErrorKind::Misconfigured | ProviderErrorKind::Malformed => {
            FindingKind::WrongEndpoint
        }
        ProviderErrorKind::NotFound
        | ProviderErrorKind::InvalidId
        | ProviderErrorKind::RateLimited
        | ProviderErrorKind::QuotaExceeded => FindingKind::UnrecognizedAnswer,
    };
    Finding::new(kind, error.message)
}
