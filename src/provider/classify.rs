//! What an answer that is no state means: one table for all kinds, of statuses, of the services' own
//! codes and of their words. `README.md` shows the same to operators; a test compares the two.

use std::ops::RangeInclusive;

use crate::job::{ProviderError, ProviderErrorKind};

/// By what an answer is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matcher {
    /// Its status.
    Status(RangeInclusive<u16>),
    /// A code of Huawei's: the service and the number, whatever the status.
    HuaweiCode(&'static str, &'static str),
    /// A status with each of these texts, in small letters, in Dune's own words.
    DuneMessage(u16, &'static [&'static str]),
}

/// An answer that is no state, taken apart.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ErrorResponse<'a> {
    /// Its status.
    pub(super) status: u16,
    /// The code, where the service has codes.
    pub(super) code: &'a str,
    /// Dune's own words; none of another service's.
    pub(super) dune_message: &'a str,
}

/// The first row that fits is meant; what none fits is [`ProviderErrorKind::Malformed`].
pub const ERROR_KINDS: &[(Matcher, ProviderErrorKind)] = &[
    // What a server in trouble says of a job is not to be believed.
    (status_range(500, 599), ProviderErrorKind::Transient),
    (Matcher::HuaweiCode("DLI", "0999"), ProviderErrorKind::Transient),
    (Matcher::HuaweiCode("DLI", "0012"), ProviderErrorKind::Transient),
    (Matcher::HuaweiCode("DLI", "0002"), ProviderErrorKind::NotFound),
    (Matcher::HuaweiCode("DLI", "0023"), ProviderErrorKind::NotFound),
    (Matcher::HuaweiCode("DLI", "0013"), ProviderErrorKind::Auth),
    (Matcher::HuaweiCode("DLI", "0014"), ProviderErrorKind::Auth),
    // A result that has expired says nothing of how its job ended.
    (Matcher::HuaweiCode("DLI", "0100"), ProviderErrorKind::Malformed),
    (Matcher::HuaweiCode("DLF", "6201"), ProviderErrorKind::NotFound),
    (Matcher::HuaweiCode("DLF", "6205"), ProviderErrorKind::NotFound),
    (Matcher::HuaweiCode("DLF", "30137"), ProviderErrorKind::NotFound),
    (Matcher::HuaweiCode("DLF", "6888"), ProviderErrorKind::Auth),
    (Matcher::HuaweiCode("APIGW", "0101"), ProviderErrorKind::Misconfigured),
    (Matcher::HuaweiCode("APIGW", "0201"), ProviderErrorKind::Transient),
    (Matcher::HuaweiCode("APIGW", "0301"), ProviderErrorKind::Auth),
    (Matcher::HuaweiCode("APIGW", "0302"), ProviderErrorKind::Auth),
    (Matcher::HuaweiCode("APIGW", "0307"), ProviderErrorKind::Auth),
    (Matcher::HuaweiCode("APIGW", "0308"), ProviderErrorKind::RateLimited),
    // A 404 in other words comes from a wrong address.
    (Matcher::DuneMessage(404, &["object not found"]), ProviderErrorKind::NotFound),
    (Matcher::DuneMessage(400, &["execution id", "invalid"]), ProviderErrorKind::NotFound),
    (status_range(300, 399), ProviderErrorKind::Misconfigured),
    (status_range(401, 401), ProviderErrorKind::Auth),
    (status_range(402, 402), ProviderErrorKind::QuotaExceeded),
    (status_range(403, 403), ProviderErrorKind::Auth),
    (status_range(404, 404), ProviderErrorKind::Misconfigured),
    (status_range(405, 405), ProviderErrorKind::Misconfigured),
    (status_range(408, 408), ProviderErrorKind::Transient),
    (status_range(409, 409), ProviderErrorKind::Transient),
    (status_range(410, 410), ProviderErrorKind::Misconfigured),
    (status_range(425, 425), ProviderErrorKind::Transient),
    (status_range(429, 429), ProviderErrorKind::RateLimited),
];

const fn status_range(first: u16, last: u16) -> Matcher {
    Matcher::Status(first..=last)
}

/// What a refusal means, with what was told as its text.
pub(super) fn provider_error(response: ErrorResponse<'_>, message: &str) -> ProviderError {
    let row = ERROR_KINDS.iter().find(|(matcher, _)| matcher.matches(response));
    let kind = row.map_or(ProviderErrorKind::Malformed, |(_, kind)| *kind);
    let mut text = format!("HTTP {}", response.status);
    if !message.is_empty() {
        text.push_str(": ");
        text.push_str(message);
    }
    ProviderError::new(kind, text)
}

impl Matcher {
    fn matches(&self, response: ErrorResponse<'_>) -> bool {
        match self {
            Self::Status(range) => range.contains(&response.status),
            Self::HuaweiCode(service, number) => {
                let Some((code_service, code_number)) = response.code.split_once('.') else {
                    return false;
                };
                // Some gateways shorten their name.
                let code_service = if code_service == "APIG" { "APIGW" } else { code_service };
                code_service == *service && code_number == *number
            }
            Self::DuneMessage(status, fragments) => {
                let message = response.dune_message.to_lowercase();
                *status == response.status && fragments.iter().all(|text| message.contains(text))
            }
        }
    }
}
