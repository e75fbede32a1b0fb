//! From the answer for a job that cannot exist to what a check-up found. Shared by all kinds.

use crate::job::{Checkup, Finding, ProviderError, Utc};

use super::http::Reply;

/// `forbids` tells a refusal of rights from one of who asks; `refused` is the kind's own reading of
/// an answer that is no success.
pub(super) fn checkup(
    reply: Result<Reply, ProviderError>,
    now: Utc,
    forbids: fn(&Reply) -> bool,
    refused: fn(&Reply) -> ProviderError,
) -> Checkup {
    let reply = match reply {
        Ok(reply) => reply,
        Err(error) => return Checkup { finding: unanswered(error), clock_ahead_s: None },
    };
    let ahead = |date: Utc| (now.as_millis() - date.as_millis()) / 1000;
    let clock_ahead_s = reply.server_date.map(ahead);
    let finding = if reply.status.is_success() {
        // Nobody who knows jobs has one of that name.
        strange(&reply, format!("HTTP {}, of a job that cannot exist", reply.status.as_u16()))
    } else {
        match refused(&reply) {
            ProviderError::NotFound(_) => Finding::Well,
            ProviderError::Auth(told) if forbids(&reply) => Finding::Permission(told),
            ProviderError::Auth(told) => Finding::Credentials(told),
            ProviderError::Misconfigured(told) => Finding::Endpoint(told),
            ProviderError::RateLimited(told) => Finding::RateLimited(told),
            ProviderError::Quota(told) => Finding::Quota(told),
            ProviderError::Transient(told) => Finding::Trouble(told),
            ProviderError::Malformed(told) => strange(&reply, told),
        }
    };
    Checkup { finding, clock_ahead_s }
}

/// The services speak JSON: what does not comes from somebody else.
fn strange(reply: &Reply, told: String) -> Finding {
    if reply.body.trim_ascii_start().starts_with(b"{") {
        Finding::Unclear(told)
    } else {
        Finding::Endpoint(told)
    }
}

/// No answer came in, or none that can be held.
fn unanswered(error: ProviderError) -> Finding {
    match error {
        ProviderError::Transient(told) => Finding::Unreachable(told),
        ProviderError::Auth(told) => Finding::Credentials(told),
        ProviderError::Misconfigured(told) | ProviderError::Malformed(told) => {
            Finding::Endpoint(told)
        }
        ProviderError::NotFound(told)
        | ProviderError::RateLimited(told)
        | ProviderError::Quota(told) => Finding::Unclear(told),
    }
}
