//! What an answer that is no state means: one table for all kinds, of statuses, of the services' own
//! codes and of their words. `README.md` shows the same to operators; a test compares the two.

use std::ops::RangeInclusive;

use crate::job::ProviderError;

/// What a refusal says of the provider or of the job: a [`ProviderError`] without its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Meaning {
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
pub enum Sign {
    /// Its status.
    Status(RangeInclusive<u16>),
    /// A code of Huawei's: the service and the number, whatever the status.
    Code(&'static str, &'static str),
    /// A status with each of these texts, in small letters, in Dune's own words.
    Dune(u16, &'static [&'static str]),
}

/// An answer that is no state, taken apart.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Refusal<'a> {
    /// Its status.
    pub(super) status: u16,
    /// The code, where the service has codes.
    pub(super) code: &'a str,
    /// Dune's own words; none of another service's.
    pub(super) dune: &'a str,
}

/// The first row that fits is meant; what none fits is [`Meaning::Malformed`].
pub const TABLE: &[(Sign, Meaning)] = &[
    // What a server in trouble says of a job is not to be believed.
    (status(500, 599), Meaning::Transient),
    (Sign::Code("DLI", "0999"), Meaning::Transient),
    (Sign::Code("DLI", "0012"), Meaning::Transient),
    (Sign::Code("DLI", "0002"), Meaning::NotFound),
    (Sign::Code("DLI", "0023"), Meaning::NotFound),
    (Sign::Code("DLI", "0013"), Meaning::Auth),
    (Sign::Code("DLI", "0014"), Meaning::Auth),
    // A result that has expired says nothing of how its job ended.
    (Sign::Code("DLI", "0100"), Meaning::Malformed),
    (Sign::Code("DLF", "6201"), Meaning::NotFound),
    (Sign::Code("DLF", "6205"), Meaning::NotFound),
    (Sign::Code("DLF", "30137"), Meaning::NotFound),
    (Sign::Code("DLF", "6888"), Meaning::Auth),
    (Sign::Code("APIGW", "0101"), Meaning::Misconfigured),
    (Sign::Code("APIGW", "0201"), Meaning::Transient),
    (Sign::Code("APIGW", "0301"), Meaning::Auth),
    (Sign::Code("APIGW", "0302"), Meaning::Auth),
    (Sign::Code("APIGW", "0307"), Meaning::Auth),
    (Sign::Code("APIGW", "0308"), Meaning::RateLimited),
    // A 404 in other words comes from a wrong address.
    (Sign::Dune(404, &["object not found"]), Meaning::NotFound),
    (Sign::Dune(400, &["execution id", "invalid"]), Meaning::NotFound),
    (status(300, 399), Meaning::Misconfigured),
    (status(401, 401), Meaning::Auth),
    (status(402, 402), Meaning::Quota),
    (status(403, 403), Meaning::Auth),
    (status(404, 404), Meaning::Misconfigured),
    (status(405, 405), Meaning::Misconfigured),
    (status(408, 408), Meaning::Transient),
    (status(409, 409), Meaning::Transient),
    (status(410, 410), Meaning::Misconfigured),
    (status(425, 425), Meaning::Transient),
    (status(429, 429), Meaning::RateLimited),
];

const fn status(first: u16, last: u16) -> Sign {
    Sign::Status(first..=last)
}

/// What a refusal means, with what was told as its text.
pub(super) fn read(refusal: Refusal<'_>, told: &str) -> ProviderError {
    let row = TABLE.iter().find(|(sign, _)| sign.fits(refusal));
    let meaning = row.map_or(Meaning::Malformed, |(_, meaning)| *meaning);
    let mut text = format!("HTTP {}", refusal.status);
    if !told.is_empty() {
        text.push_str(": ");
        text.push_str(told);
    }
    meaning.error(text)
}

impl Sign {
    fn fits(&self, refusal: Refusal<'_>) -> bool {
        match self {
            Self::Status(range) => range.contains(&refusal.status),
            Self::Code(service, number) => {
                let Some((found, rest)) = refusal.code.split_once('.') else { return false };
                // Some gateways shorten their name.
                let found = if found == "APIG" { "APIGW" } else { found };
                found == *service && rest == *number
            }
            Self::Dune(status, texts) => {
                let told = refusal.dune.to_lowercase();
                *status == refusal.status && texts.iter().all(|text| told.contains(text))
            }
        }
    }
}

impl Meaning {
    fn error(self, text: String) -> ProviderError {
        match self {
            Self::Transient => ProviderError::Transient(text),
            Self::RateLimited => ProviderError::RateLimited(text),
            Self::Quota => ProviderError::Quota(text),
            Self::Auth => ProviderError::Auth(text),
            Self::NotFound => ProviderError::NotFound(text),
            Self::Misconfigured => ProviderError::Misconfigured(text),
            Self::Malformed => ProviderError::Malformed(text),
        }
    }
}
