//! The result of a connection check, and the advice to an operator that follows from it.
//!
//! Built by the providers, shown by `jobtrack check`. The check's request asks for a job that cannot
//! exist, so a good result means that address, credentials and permissions are right.

use serde::{Deserialize, Serialize};

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
    /// No answer.
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
}

impl ConnectionCheck {
    /// A smaller clock skew is not reported.
    const CLOCK_TOLERANCE_S: u64 = 5 * 60;
    /// Huawei's gateway rejects signatures with a larger clock skew.
    const SIGNATURE_TOLERANCE_S: u64 = 15 * 60;

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
        let clock = self.significant_clock_skew_s().map(Self::clock_advice);
        let finding = self.finding.kind.advice().map(str::to_owned);
        clock.into_iter().chain(finding).collect()
    }

    fn clock_advice(ahead_s: i64) -> String {
        let skew_s = ahead_s.unsigned_abs();
        let side = if ahead_s > 0 { "ahead of" } else { "behind" };
        let minutes = skew_s / 60;
        let consequence = if skew_s > Self::SIGNATURE_TOLERANCE_S {
            "requests signed with an access key (auth.ak, auth.sk) are rejected beyond 15 minutes"
        } else {
            "times in the history are wrong by as much"
        };
        format!(
            "this machine's clock is {minutes} minutes {side} the service's: {consequence}; synchronize \
             the clock (timedatectl set-ntp true)"
        )
    }
}

impl FindingKind {
    fn advice(self) -> Option<&'static str> {
        match self {
            Self::Ok => None,
            Self::InvalidCredentials => Some(
                "the service rejected the credential: store a valid one where api_key (Dune) or auth \
                 (DLI, DataArts) points, then run `jobtrack reload`; a Huawei token expires after a \
                 day and is valid in one region only, and a key that was rejected several times in \
                 a row is locked for five minutes",
            ),
            Self::PermissionDenied => Some(
                "the credential is valid but lacks permission: give its user the right to read jobs, \
                 check project_id and workspace_id, then run `jobtrack reload`",
            ),
            Self::WrongEndpoint => Some(
                "the response does not come from the service: check base_url and region, and whether \
                 a proxy or a login page intercepts requests; then run `jobtrack reload`",
            ),
            Self::Unreachable => Some(
                "no response: check the host in base_url (or region) and the DNS, network and \
                 firewall of this machine; for a certificate error check ca-certificates",
            ),
            Self::RateLimited => Some(
                "too many requests, possibly by other programs: lower requests_per_minute, or wait \
                 a minute and repeat the check",
            ),
            Self::QuotaExceeded => Some(
                "the quota of the account is exhausted: wait for the next period or raise the quota, \
                 then run `jobtrack reload`",
            ),
            Self::ServiceError => Some(
                "the service reported an internal error: repeat the check later; no setting is wrong",
            ),
            Self::UnrecognizedAnswer => {
                Some("the response was not recognized: check base_url, project_id and workspace_id")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection_check(finding: Finding, clock_ahead_s: Option<i64>) -> ConnectionCheck {
        ConnectionCheck { finding, clock_ahead_s }
    }

    #[test]
    fn each_finding_has_its_own_advice() {
        let cases: [(FindingKind, &[&str]); 8] = [
            (FindingKind::InvalidCredentials, &["api_key", "auth", "jobtrack reload"]),
            (FindingKind::PermissionDenied, &["right", "project_id", "workspace"]),
            (FindingKind::WrongEndpoint, &["base_url", "region", "proxy"]),
            (FindingKind::Unreachable, &["base_url", "DNS", "ca-certificates"]),
            (FindingKind::RateLimited, &["requests_per_minute"]),
            (FindingKind::QuotaExceeded, &["quota"]),
            (FindingKind::ServiceError, &["later"]),
            (FindingKind::UnrecognizedAnswer, &["base_url", "project_id"]),
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
        let cases: [(Option<i64>, &[&str]); 8] = [
            (None, &[]),
            (Some(0), &[]),
            (Some(300), &[]),
            (Some(-300), &[]),
            (Some(301), &["5 minutes ahead of", "history"]),
            (Some(-900), &["15 minutes behind", "history"]),
            (Some(-901), &["15 minutes behind", "signed", "auth.ak"]),
            (Some(7200), &["120 minutes ahead of", "signed"]),
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
