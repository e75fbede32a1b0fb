//! The result of a connection check, and the advice to an operator that follows from it.
//!
//! Built by the providers, shown by `jobtrack check`. The check's request asks for a job that cannot
//! exist, so a good result means that address, credentials and permissions are right.

use serde::{Deserialize, Serialize};

use super::answer::RateLimitInfo;

/// What the request of a connection check showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    #[serde(rename = "finding")]
    pub kind: FindingKind,
    /// The service's or the network's own text; empty for [`FindingKind::Ok`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// The service accepts the credentials and answers.
    Ok,
    /// The service rejects the key, token or signature.
    InvalidCredentials,
    /// The service accepts the credentials but denies the request.
    PermissionDenied,
    /// The answer comes from another server than the service.
    WrongEndpoint,
    /// The host name of the service cannot be resolved.
    NameNotResolved,
    /// The proxy does not open a connection to the service.
    ProxyFailed,
    /// The certificate is not trusted; the credentials were not sent.
    UntrustedCertificate,
    /// No answer arrived for another reason: the network, TLS, or a time-out.
    Unreachable,
    RateLimited,
    /// The account's quota is exhausted.
    QuotaExceeded,
    /// A 5xx, or another error of the service itself.
    ServiceError,
    /// An answer that fits none of the others.
    UnrecognizedAnswer,
}

impl Finding {
    #[must_use]
    pub fn ok() -> Self {
        Self { kind: FindingKind::Ok, detail: String::new() }
    }

    #[must_use]
    pub fn new(kind: FindingKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

/// The result of a connection check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionCheck {
    pub finding: Finding,
    /// Seconds by which the local clock is ahead of the service's; `None` if the answer has no `Date`.
    pub clock_ahead_s: Option<i64>,
    /// What the answer announces; the request counts as any other.
    pub rate_limit: RateLimitInfo,
    /// As [`Answer::credential_replaced`](super::Answer::credential_replaced).
    pub credential_replaced: bool,
    pub hints: ServiceHints,
}

/// The parts of the advice that depend on the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceHints {
    /// The settings that determine where requests go.
    pub address: &'static str,
    /// What to do about a rejected credential.
    pub credential: &'static str,
    /// What to do about a missing permission.
    pub permission: &'static str,
    /// What a wrong clock causes.
    pub clock_skew: &'static str,
}

impl ServiceHints {
    /// For a service of an unknown kind.
    pub const GENERIC: Self = Self {
        address: "base_url",
        credential: "store a valid one",
        permission: "grant it",
        clock_skew: "times in the history are wrong by as much",
    };
}

impl ConnectionCheck {
    /// A smaller clock skew is not reported.
    const CLOCK_TOLERANCE_S: u64 = 5 * 60;

    /// Whether there is nothing to correct.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.finding.kind == FindingKind::Ok && self.significant_clock_skew_s().is_none()
    }

    fn significant_clock_skew_s(&self) -> Option<i64> {
        self.clock_ahead_s.filter(|ahead| ahead.unsigned_abs() > Self::CLOCK_TOLERANCE_S)
    }

    /// What to check and to do, the most probable cause first; empty if the result is ok.
    #[must_use]
    pub fn advice(&self) -> Vec<String> {
        let clock = self.significant_clock_skew_s().map(|ahead_s| self.clock_advice(ahead_s));
        clock.into_iter().chain(self.finding_advice()).collect()
    }

    fn clock_advice(&self, ahead_s: i64) -> String {
        let side = if ahead_s > 0 { "ahead of" } else { "behind" };
        let minutes = ahead_s.unsigned_abs() / 60;
        let consequence = self.hints.clock_skew;
        format!(
            "this machine's clock is {minutes} minutes {side} the service's: {consequence}; synchronize \
             the clock (timedatectl set-ntp true)"
        )
    }

    fn finding_advice(&self) -> Option<String> {
        let ServiceHints { address, credential, permission, .. } = self.hints;
        Some(match self.finding.kind {
            FindingKind::Ok => return None,
            FindingKind::InvalidCredentials => format!(
                "the service rejected the credential: {credential}; then run `jobtrack reload`"
            ),
            FindingKind::PermissionDenied => format!(
                "the credential is valid but lacks a permission: {permission}; then repeat \
                 this check"
            ),
            FindingKind::WrongEndpoint => format!(
                "the response does not come from the service: check {address}, and whether a proxy or \
                 a login page intercepts requests; then run `jobtrack reload`"
            ),
            FindingKind::NameNotResolved => format!(
                "check the host in {address} and the DNS of this machine (getent hosts NAME); where \
                 only a proxy resolves names, set proxy or HTTPS_PROXY; then run `jobtrack reload`, or \
                 restart jobtrackd after a change of the variable"
            ),
            FindingKind::ProxyFailed => "check the setting proxy of the provider, or HTTPS_PROXY or \
                ALL_PROXY in the environment of jobtrackd (`jobtrackd --check` shows which applies); \
                proxy = \"none\" uses no proxy; then run `jobtrack reload`, or restart jobtrackd after a \
                change of a variable"
                .to_owned(),
            FindingKind::UntrustedCertificate => format!(
                "UnknownIssuer, as with an internal CA or a proxy that decrypts TLS: set ca_file to the PEM \
                 file of that CA, or install ca-certificates; another reason: check the host in {address} \
                 and the clock of this machine; then run `jobtrack reload`"
            ),
            FindingKind::Unreachable => format!(
                "no response: check the host in {address}, and the network and firewall of this machine; \
                 where only a proxy reaches the service, set proxy or HTTPS_PROXY"
            ),
            FindingKind::RateLimited => "too many requests, possibly by other programs: lower \
                requests_per_minute, or wait a minute and repeat the check"
                .to_owned(),
            FindingKind::QuotaExceeded => {
                "the quota of the account is exhausted: wait for the next \
                period or raise the quota, then repeat this check"
                    .to_owned()
            }
            FindingKind::ServiceError => {
                "the service reported an internal error: repeat the check \
                later; no setting is wrong"
                    .to_owned()
            }
            FindingKind::UnrecognizedAnswer => {
                format!(
                    "the response was not recognized: check {address} and the provider's other settings"
                )
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HINTS: ServiceHints = ServiceHints {
        address: "the address",
        credential: "renew the key",
        permission: "grant the right",
        clock_skew: "signatures fail",
    };

    fn connection_check(finding: Finding, clock_ahead_s: Option<i64>) -> ConnectionCheck {
        ConnectionCheck {
            finding,
            clock_ahead_s,
            rate_limit: RateLimitInfo::default(),
            credential_replaced: false,
            hints: HINTS,
        }
    }

    #[test]
    fn each_finding_has_its_own_advice() {
        let cases: [(FindingKind, &[&str]); 11] = [
            (FindingKind::InvalidCredentials, &["renew the key", "jobtrack reload"]),
            (FindingKind::PermissionDenied, &["grant the right", "repeat"]),
            (FindingKind::WrongEndpoint, &["the address", "proxy"]),
            (FindingKind::NameNotResolved, &["the address", "DNS", "proxy"]),
            (FindingKind::ProxyFailed, &["HTTPS_PROXY", "proxy = \"none\""]),
            (FindingKind::UntrustedCertificate, &["ca_file", "the address", "clock"]),
            (FindingKind::Unreachable, &["the address", "firewall", "proxy"]),
            (FindingKind::RateLimited, &["requests_per_minute"]),
            (FindingKind::QuotaExceeded, &["quota"]),
            (FindingKind::ServiceError, &["later"]),
            (FindingKind::UnrecognizedAnswer, &["the address"]),
        ];
        for (kind, words) in cases {
            let check = connection_check(Finding::new(kind, "HTTP 4xx"), Some(0));
            let advice = check.advice();
            assert!(!check.is_ok(), "{check:?}");
            assert_eq!(advice.len(), 1, "{check:?}");
            for word in words {
                assert!(advice[0].contains(word), "{word}: {advice:?}");
            }
        }
    }

    #[test]
    fn a_clock_skew_is_reported_with_its_consequence() {
        let cases: [(Option<i64>, &[&str]); 7] = [
            (None, &[]),
            (Some(0), &[]),
            (Some(300), &[]),
            (Some(-300), &[]),
            (Some(301), &["5 minutes ahead of", "signatures fail"]),
            (Some(-901), &["15 minutes behind", "signatures fail"]),
            (Some(7200), &["120 minutes ahead of", "signatures fail"]),
        ];
        for (ahead, words) in cases {
            let check = connection_check(Finding::ok(), ahead);
            let advice = check.advice();
            assert_eq!(check.is_ok(), words.is_empty(), "{ahead:?}");
            assert_eq!(advice.is_empty(), words.is_empty(), "{ahead:?}: {advice:?}");
            for word in words {
                assert!(advice[0].contains(word), "{word}: {advice:?}");
            }
        }
    }

    #[test]
    fn clock_skew_is_listed_before_invalid_credentials() {
        let advice =
            connection_check(Finding::new(FindingKind::InvalidCredentials, "HTTP 401"), Some(1200))
                .advice();
        assert_eq!(advice.len(), 2);
        assert!(advice[0].contains("clock") && advice[1].contains("credential"), "{advice:?}");
    }
}
