//! Classifies an unsuccessful response: status, error code or error message → [`ProviderErrorKind`].
//!
//! Called by the kinds, which add rules for the codes and messages of their services. The first rule
//! that matches applies. `docs/providers.md` shows all rules; a test compares the two.
//!
//! The services answer with JSON objects only. A 4xx without one comes from something between jobtrack and
//! the service, such as a proxy, and says nothing about the credentials, the quota or the job.

use std::ops::RangeInclusive;

use crate::job::{ProviderError, ProviderErrorKind};

use super::foreign_body::ForeignBody;

/// What a response must have for a rule to apply. Texts are compared by their letters and digits,
/// without regard to case; each fragment must occur in the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matcher {
    Status(RangeInclusive<u16>),
    /// The error codes of one service, such as `("DLI", &["0002"])`, whatever the status. Codes without a
    /// service's name have the name `""`.
    Code(&'static str, &'static [&'static str]),
    /// An error code, and fragments of the message.
    CodeAndMessage(&'static str, &'static str, &'static [&'static str]),
    /// A status, and fragments of the message.
    Message(u16, &'static [&'static str]),
}

/// A rule: the kind of error of the responses that match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorRule {
    pub matcher: Matcher,
    pub kind: ProviderErrorKind,
    /// What the service's own message does not say. Added to the message.
    pub advice: Option<&'static str>,
}

/// What an unsuccessful response contains. Fields that the service does not have are empty.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ErrorResponse<'a> {
    pub(super) status: u16,
    pub(super) code: &'a str,
    pub(super) message: &'a str,
    /// What the body is instead of a JSON object.
    pub(super) foreign_body: Option<ForeignBody>,
}

/// The rules that come before all others: while a server fails, its statements about a job are not
/// reliable.
pub(super) const SERVER_ERROR_RULES: &[ErrorRule] =
    &[status_range(500, 599, ProviderErrorKind::Transient)];

/// The rules that come after those of the kind. Any other status is [`ProviderErrorKind::Malformed`].
pub(super) const STATUS_RULES: &[ErrorRule] = &[
    status_range(300, 399, ProviderErrorKind::Misconfigured),
    status(401, ProviderErrorKind::Auth),
    status(402, ProviderErrorKind::QuotaExceeded),
    status(403, ProviderErrorKind::Auth),
    // Not NotFound: a wrong address also gives 404, and must not end jobs as lost.
    status(404, ProviderErrorKind::Misconfigured),
    status(405, ProviderErrorKind::Misconfigured),
    status(408, ProviderErrorKind::Transient),
    status(409, ProviderErrorKind::Transient),
    status(410, ProviderErrorKind::Misconfigured),
    status(425, ProviderErrorKind::Transient),
    status(429, ProviderErrorKind::RateLimited),
];

impl ErrorRule {
    pub(super) const fn new(matcher: Matcher, kind: ProviderErrorKind) -> Self {
        Self { matcher, kind, advice: None }
    }

    pub(super) const fn with_advice(self, advice: &'static str) -> Self {
        Self { matcher: self.matcher, kind: self.kind, advice: Some(advice) }
    }
}

const fn status(status: u16, kind: ProviderErrorKind) -> ErrorRule {
    status_range(status, status, kind)
}

const fn status_range(first: u16, last: u16, kind: ProviderErrorKind) -> ErrorRule {
    ErrorRule::new(Matcher::Status(first..=last), kind)
}

/// The error for an unsuccessful response. `text` is the service's own error text.
pub(super) fn provider_error(
    response: ErrorResponse<'_>,
    kind_rules: &[&'static [ErrorRule]],
    text: &str,
) -> ProviderError {
    let status = response.status;
    if let Some(body) = response.foreign_body {
        let kind = kind_without_service(status);
        return ProviderError::new(kind, format!("HTTP {status}{}", body.explanation(status)));
    }
    let message = squash(response.message);
    let mut rules =
        SERVER_ERROR_RULES.iter().chain(kind_rules.iter().copied().flatten()).chain(STATUS_RULES);
    let rule = rules.find(|rule| rule.matcher.matches(response, &message));
    let kind = rule.map_or(ProviderErrorKind::Malformed, |rule| rule.kind);
    let advice = rule.and_then(|rule| rule.advice);
    let parts = [text, advice.unwrap_or_default()].into_iter().filter(|part| !part.is_empty());
    let parts = parts.collect::<Vec<_>>().join("; ");
    let message =
        if parts.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status}: {parts}") };
    ProviderError::new(kind, message)
}

/// The class of a response that does not come from the service. A 4xx pauses the provider as a wrong
/// address does: a key must not be sent again and again past something that does not forward requests.
fn kind_without_service(status: u16) -> ProviderErrorKind {
    match status {
        408 | 409 | 425 | 500..=599 => ProviderErrorKind::Transient,
        429 => ProviderErrorKind::RateLimited,
        300..=499 => ProviderErrorKind::Misconfigured,
        _ => ProviderErrorKind::Malformed,
    }
}

impl Matcher {
    /// `message` is the message of the response, squashed.
    fn matches(&self, response: ErrorResponse<'_>, message: &str) -> bool {
        let code_is = |service: &str, number: &str| {
            let (found_service, found_number) =
                response.code.split_once('.').unwrap_or(("", response.code));
            found_service.eq_ignore_ascii_case(service) && found_number == number
        };
        let message_has =
            |fragments: &[&str]| fragments.iter().all(|text| message.contains(&squash(text)));
        match self {
            Self::Status(range) => range.contains(&response.status),
            Self::Code(service, numbers) => numbers.iter().any(|number| code_is(service, number)),
            Self::CodeAndMessage(service, number, fragments) => {
                code_is(service, number) && message_has(fragments)
            }
            Self::Message(status, fragments) => {
                *status == response.status && message_has(fragments)
            }
        }
    }
}

/// The letters and digits of a text, in lower case: services write "job id", `jobId` and `job_id`.
fn squash(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}
