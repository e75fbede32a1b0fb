//! The result of a connection check of a provider, with advice for an operator.
//!
//! A provider produces the finding from one request; the command line prints the advice.

use serde::{Deserialize, Serialize};

/// The outcome of the request, with the text of the error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "finding", content = "detail", rename_all = "snake_case")]
pub enum Finding {
    /// The service accepted the credentials and answered.
    Ok,
    /// The service rejected the key, the token or the signature.
    InvalidCredentials(String),
    /// The credentials are valid but lack a permission.
    PermissionDenied(String),
    /// The response does not come from the service.
    WrongEndpoint(String),
    /// No connection, or no response.
    Unreachable(String),
    RateLimited(String),
    /// The account's quota is exhausted.
    QuotaExceeded(String),
    /// The service reported an internal error.
    ServiceError(String),
    /// A response that matches none of the above.
    UnrecognizedAnswer(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionCheck {
    pub finding: Finding,
    /// How many seconds the local clock is ahead of the service's clock; none if the response had no
    /// date.
    pub clock_ahead_s: Option<i64>,
}

impl ConnectionCheck {
    /// A larger clock difference is reported.
    const CLOCK_TOLERANCE_S: u64 = 5 * 60;
    /// Huawei Cloud rejects signatures whose date differs by more.
    const SIGNATURE_TOLERANCE_S: u64 = 15 * 60;

    /// Whether the check found no problem.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.finding == Finding::Ok && self.significant_clock_skew_s().is_none()
    }

    /// The clock difference, if it is above the tolerance.
    fn significant_clock_skew_s(&self) -> Option<i64> {
        self.clock_ahead_s.filter(|ahead| ahead.unsigned_abs() > Self::CLOCK_TOLERANCE_S)
    }

    /// What to check and what to change, the likeliest cause first; empty if the check found no problem.
    #[must_use]
    pub fn advice(&self) -> Vec<String> {
        let clock_advice = self.significant_clock_skew_s().map(|ahead| {
            let (off, side) = (ahead.unsigned_abs(), if ahead > 0 { "ahead of" } else { "behind" });
            let minutes = off / 60;
            let consequence = if off > Self::SIGNATURE_TOLERANCE_S {
                "requests signed with an access key (auth.ak, auth.sk) are rejected beyond 15 minutes"
            } else {
                "times in the history are wrong by as much"
            };
            format!(
                "the clock of this machine is {minutes} minutes {side} the service's clock: \
                 {consequence}; synchronize the clock (timedatectl set-ntp true)"
            )
        });
        let finding_advice = match &self.finding {
            Finding::Ok => None,
            Finding::InvalidCredentials(_) => Some(
                "the service rejected the credential: store a valid one where api_key (Dune) or auth \
                 (DLI, DataArts) points, then run `jobtrack reload`; a Huawei token expires after a \
                 day and is valid in one region only, and a key that was rejected several times in \
                 a row is locked for five minutes",
            ),
            Finding::PermissionDenied(_) => Some(
                "the credential is valid but lacks permission: give its user the right to read jobs, \
                 check project_id and workspace, then run `jobtrack reload`",
            ),
            Finding::WrongEndpoint(_) => Some(
                "the response does not come from the service: check base_url and region, and whether \
                 a proxy or a login page intercepts requests; then run `jobtrack reload`",
            ),
            Finding::Unreachable(_) => Some(
                "no response: check the host in base_url (or region) and the DNS, network and \
                 firewall of this machine; for a certificate error check ca-certificates",
            ),
            Finding::RateLimited(_) => Some(
                "too many requests, possibly by other programs: lower requests_per_minute, or wait \
                 a minute and repeat the check",
            ),
            Finding::QuotaExceeded(_) => Some(
                "the quota of the account is exhausted: wait for the next period or raise the quota, \
                 then run `jobtrack reload`",
            ),
            Finding::ServiceError(_) => Some(
                "the service reported an internal error: repeat the check later; no setting is wrong",
            ),
            Finding::UnrecognizedAnswer(_) => {
                Some("the response was not recognized: check base_url, project_id and workspace")
            }
        };
        clock_advice.into_iter().chain(finding_advice.map(str::to_owned)).collect()
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
        let detail = || "HTTP 4xx".to_owned();
        let cases: [(Finding, &[&str]); 8] = [
            (Finding::InvalidCredentials(detail()), &["api_key", "auth", "jobtrack reload"]),
            (Finding::PermissionDenied(detail()), &["right", "project_id", "workspace"]),
            (Finding::WrongEndpoint(detail()), &["base_url", "region", "proxy"]),
            (Finding::Unreachable(detail()), &["base_url", "DNS", "ca-certificates"]),
            (Finding::RateLimited(detail()), &["requests_per_minute"]),
            (Finding::QuotaExceeded(detail()), &["quota"]),
            (Finding::ServiceError(detail()), &["later"]),
            (Finding::UnrecognizedAnswer(detail()), &["base_url", "project_id"]),
        ];
        for (finding, words) in cases {
            let check = connection_check(finding, Some(0));
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
            let check = connection_check(Finding::Ok, ahead);
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
            connection_check(Finding::InvalidCredentials("HTTP 401".into()), Some(1200)).advice();
        assert_eq!(advice.len(), 2);
        assert!(advice[0].contains("clock") && advice[1].contains("credential"), "{advice:?}");
    }
}
