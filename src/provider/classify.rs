//! What an answer that is no state means: one table for all kinds, of statuses, of the services' own
//! codes and of their words. `README.md` shows the same to operators; a test compares the two.

use std::ops::RangeInclusive;

use crate::job::ProviderError;

/// What a refusal says of the provider or of the job: a [`ProviderError`] without its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorClass {
    /// It may well work next time.
    Transient,
    /// Too many requests.
    RateLimited,
    /// The allowance is used up.
    Quota,
    /// The credential is refused.
    Auth,
    /// There is no such job.
    NotFound,
    /// Wrong host or path: somebody else answers, or nobody of that name.
    Misconfigured,
    /// Nothing that we could act on.
    Malformed,
}

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

/// The first row that fits is meant; what none fits is [`Meaning::Malformed`].
pub const ERROR_CLASSES: &[(Matcher, ErrorClass)] = &[
    // What a server in trouble says of a job is not to be believed.
    (status_range(500, 599), ErrorClass::Transient),
    (Matcher::HuaweiCode("DLI", "0999"), ErrorClass::Transient),
    (Matcher::HuaweiCode("DLI", "0012"), ErrorClass::Transient),
    (Matcher::HuaweiCode("DLI", "0002"), ErrorClass::NotFound),
    (Matcher::HuaweiCode("DLI", "0023"), ErrorClass::NotFound),
    (Matcher::HuaweiCode("DLI", "0013"), ErrorClass::Auth),
    (Matcher::HuaweiCode("DLI", "0014"), ErrorClass::Auth),
    // A result that has expired says nothing of how its job ended.
    (Matcher::HuaweiCode("DLI", "0100"), ErrorClass::Malformed),
    (Matcher::HuaweiCode("DLF", "6201"), ErrorClass::NotFound),
    (Matcher::HuaweiCode("DLF", "6205"), ErrorClass::NotFound),
    (Matcher::HuaweiCode("DLF", "30137"), ErrorClass::NotFound),
    (Matcher::HuaweiCode("DLF", "6888"), ErrorClass::Auth),
    (Matcher::HuaweiCode("APIGW", "0101"), ErrorClass::Misconfigured),
    (Matcher::HuaweiCode("APIGW", "0201"), ErrorClass::Transient),
    (Matcher::HuaweiCode("APIGW", "0301"), ErrorClass::Auth),
    (Matcher::HuaweiCode("APIGW", "0302"), ErrorClass::Auth),
    (Matcher::HuaweiCode("APIGW", "0307"), ErrorClass::Auth),
    (Matcher::HuaweiCode("APIGW", "0308"), ErrorClass::RateLimited),
    // A 404 in other words comes from a wrong address.
    (Matcher::DuneMessage(404, &["object not found"]), ErrorClass::NotFound),
    (Matcher::DuneMessage(400, &["execution id", "invalid"]), ErrorClass::NotFound),
    (status_range(300, 399), ErrorClass::Misconfigured),
    (status_range(401, 401), ErrorClass::Auth),
    (status_range(402, 402), ErrorClass::Quota),
    (status_range(403, 403), ErrorClass::Auth),
    (status_range(404, 404), ErrorClass::Misconfigured),
    (status_range(405, 405), ErrorClass::Misconfigured),
    (status_range(408, 408), ErrorClass::Transient),
    (status_range(409, 409), ErrorClass::Transient),
    (status_range(410, 410), ErrorClass::Misconfigured),
    (status_range(425, 425), ErrorClass::Transient),
    (status_range(429, 429), ErrorClass::RateLimited),
];

const fn status_range(first: u16, last: u16) -> Matcher {
    Matcher::Status(first..=last)
}

/// What a refusal means, with what was told as its text.
pub(super) fn provider_error(response: ErrorResponse<'_>, message: &str) -> ProviderError {
    let row = ERROR_CLASSES.iter().find(|(matcher, _)| matcher.matches(response));
    let class = row.map_or(ErrorClass::Malformed, |(_, class)| *class);
    let mut text = format!("HTTP {}", response.status);
    if !message.is_empty() {
        text.push_str(": ");
        text.push_str(message);
    }
    class.into_error(text)
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

impl ErrorClass {
    fn into_error(self, text: String) -> ProviderError {
        match self {
            Self::Transient => ProviderError::Transient(text),
            Self::RateLimited => ProviderError::RateLimited(text),
            Self::Quota => ProviderError::QuotaExceeded(text),
            Self::Auth => ProviderError::Auth(text),
            Self::NotFound => ProviderError::NotFound(text),
            Self::Misconfigured => ProviderError::Misconfigured(text),
            Self::Malformed => ProviderError::Malformed(text),
        }
    }
}
