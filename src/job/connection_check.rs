//! What a check-up of a provider found, and what an operator can do about it.

use serde::{Deserialize, Serialize};

/// What the one request of a check-up came to, with the words that tell why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "finding", content = "detail", rename_all = "snake_case")]
pub enum Finding {
    /// The service knows us and answers.
    Ok,
    /// It does not take our key, token or signature.
    InvalidCredentials(String),
    /// It knows us, and does not let us look.
    PermissionDenied(String),
    /// Somebody else answers at that address.
    WrongEndpoint(String),
    /// Nobody answers there.
    Unreachable(String),
    /// Too many requests.
    RateLimited(String),
    /// The account's allowance is used up.
    QuotaExceeded(String),
    /// The service is in trouble of its own.
    ServiceError(String),
    /// An answer that is none of these.
    UnrecognizedAnswer(String),
}

/// What a check-up found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionCheck {
    /// What came of its request.
    pub finding: Finding,
    /// By how many seconds our clock is ahead of the service's; none if that told no time.
    pub clock_ahead_s: Option<i64>,
}

impl ConnectionCheck {
    /// A clock that is off by more is named.
    const CLOCK_TOLERANCE_S: u64 = 5 * 60;
    /// Signatures with a date further off are refused.
    const SIGNATURE_TOLERANCE_S: u64 = 15 * 60;

    /// Whether there is nothing to mend.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.finding == Finding::Ok && self.significant_clock_skew_s().is_none()
    }

    /// How wrong the clock is, if that is worth a word.
    fn significant_clock_skew_s(&self) -> Option<i64> {
        self.clock_ahead_s.filter(|ahead| ahead.unsigned_abs() > Self::CLOCK_TOLERANCE_S)
    }

    /// What to look at and what to do, the likeliest first; empty if all is well.
    #[must_use]
    pub fn advice(&self) -> Vec<String> {
        let clock_advice = self.significant_clock_skew_s().map(|ahead| {
            let (off, side) = (ahead.unsigned_abs(), if ahead > 0 { "ahead of" } else { "behind" });
            let minutes = off / 60;
            let consequence = if off > Self::SIGNATURE_TOLERANCE_S {
                "requests signed with an access key (auth.ak, auth.sk) are refused beyond 15"
            } else {
                "times in the history are off by as much"
            };
            format!(
                "this machine's clock is {minutes} minutes {side} the service's: {consequence}; set it, \
                 and have it kept (timedatectl set-ntp true)"
            )
        });
        let finding_advice = match &self.finding {
            Finding::Ok => None,
            Finding::InvalidCredentials(_) => Some(
                "the credential is refused: put a valid one where api_key (Dune) or auth (DLI, \
                 DataArts) points to, then `jobtrack reload`; a Huawei token ends after a day and \
                 holds for its own region only, and a key that was refused several times in a row \
                 is locked for five minutes",
            ),
            Finding::PermissionDenied(_) => Some(
                "the credential is known and may not do this: give its user the right to read jobs, \
                 and check project_id and workspace; then `jobtrack reload`",
            ),
            Finding::WrongEndpoint(_) => Some(
                "somebody else answers at that address: check base_url and region, and whether a \
                 proxy or a login page stands in between; then `jobtrack reload`",
            ),
            Finding::Unreachable(_) => Some(
                "nobody answers there: check the host in base_url (or region), this machine's DNS, \
                 network and firewall, and, if it speaks of a certificate, ca-certificates",
            ),
            Finding::RateLimited(_) => Some(
                "too many requests, perhaps another program's: lower requests_per_minute, or wait \
                 a minute and check again",
            ),
            Finding::QuotaExceeded(_) => Some(
                "the account's allowance is used up: wait for its next period, or enlarge it; then \
                 `jobtrack reload`",
            ),
            Finding::ServiceError(_) => Some(
                "the service is in trouble of its own: nothing is to be set here; check again later",
            ),
            Finding::UnrecognizedAnswer(_) => Some(
                "the service answers in a way that is not known: check base_url, project_id and \
                 workspace",
            ),
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
            (Finding::QuotaExceeded(detail()), &["allowance"]),
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
