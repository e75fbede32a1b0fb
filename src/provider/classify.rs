//! Classifies an unsuccessful response: status, error code or error message → [`ProviderErrorKind`].
//!
//! Called by the kinds, which add rules for the codes and messages of their services. The first rule
//! that matches applies. `docs/providers.md` shows all rules; a test compares the two.

use std::ops::RangeInclusive;

use crate::job::{ProviderError, ProviderErrorKind};

/// What a response must have for a rule to apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matcher {
    Status(RangeInclusive<u16>),
    /// An error code in two parts, such as `("DLI", "0002")`, whatever the status.
    Code(&'static str, &'static str),
    /// A status, and an error message that contains each of these texts, given in lower case.
    Message(u16, &'static [&'static str]),
}

/// A rule: the kind of error of the responses that match.
pub type ErrorRule = (Matcher, ProviderErrorKind);

/// What an unsuccessful response contains. Fields that the service does not have are empty.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ErrorResponse<'a> {
    pub(super) status: u16,
    pub(super) code: &'a str,
    pub(super) message: &'a str,
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

const fn status(status: u16, kind: ProviderErrorKind) -> ErrorRule {
    status_range(status, status, kind)
}

const fn status_range(first: u16, last: u16, kind: ProviderErrorKind) -> ErrorRule {
    (Matcher::Status(first..=last), kind)
}

/// The error for an unsuccessful response. `text` is the service's own error text.
pub(super) fn provider_error(
    response: ErrorResponse<'_>,
    kind_rules: &'static [ErrorRule],
    text: &str,
) -> ProviderError {
    let mut rules = SERVER_ERROR_RULES.iter().chain(kind_rules).chain(STATUS_RULES);
    let rule = rules.find(|(matcher, _)| matcher.matches(response));
    let kind = rule.map_or(ProviderErrorKind::Malformed, |(_, kind)| *kind);
    let status = response.status;
    let message =
        if text.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status}: {text}") };
    ProviderError::new(kind, message)
}

impl Matcher {
    fn matches(&self, response: ErrorResponse<'_>) -> bool {
        match self {
            Self::Status(range) => range.contains(&response.status),
            Self::Code(service, number) => response.code.split_once('.') == Some((service, number)),
            Self::Message(status, fragments) => {
                let message = response.message.to_lowercase();
                *status == response.status && fragments.iter().all(|text| message.contains(text))
            }
        }
    }
}
