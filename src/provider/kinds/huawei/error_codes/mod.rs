//! The published error codes of Huawei's services, one file each, with the class of each code.
//!
//! Used by [`error`](super::error). Each list is complete as of the revision that its file names; a code
//! that is not listed is classified by its status. Where one code has several meanings, the rules for the
//! messages come first.

pub(super) mod dlf;
pub(super) mod dli;
pub(super) mod gateway;
pub(super) mod iam;

use crate::job::ProviderErrorKind;
use crate::provider::classify::{ErrorRule, Matcher};

/// All rules for the answers of DLI and DataArts. IAM's codes may come through the gateway.
pub(super) const ERROR_RULES: &[&[ErrorRule]] =
    &[dli::RULES, dlf::RULES, gateway::RULES, iam::RULES, MESSAGE_RULES];

/// The rules for the token requests to IAM.
pub(super) const IAM_RULES: &[&[ErrorRule]] =
    &[iam::LOCKED_RULES, iam::RULES, iam::NUMERIC_RULES, gateway::RULES];

/// For codes that are not published: a service that reports an error of its own is retried.
const MESSAGE_RULES: &[ErrorRule] = &[
    ErrorRule::new(Matcher::Message(400, &["internal error"]), ProviderErrorKind::Transient),
    ErrorRule::new(Matcher::Message(400, &["internal server error"]), ProviderErrorKind::Transient),
];

/// Whether a code rejects the token, so that a new one may help.
pub(super) fn is_token_error(service: &str, number: &str) -> bool {
    match service {
        gateway::SERVICE => gateway::TOKEN_ERRORS.contains(&number),
        iam::SERVICE => iam::TOKEN_ERRORS.contains(&number),
        dli::SERVICE => dli::TOKEN_ERRORS.contains(&number),
        _ => false,
    }
}

/// Whether a code denies a permission, rather than rejecting the credentials; `None` for other codes.
pub(super) fn is_permission_error(service: &str, number: &str) -> Option<bool> {
    let (permission_errors, rules) = match service {
        gateway::SERVICE => (gateway::PERMISSION_ERRORS, gateway::RULES),
        iam::SERVICE => (iam::PERMISSION_ERRORS, iam::RULES),
        dli::SERVICE => (dli::PERMISSION_ERRORS, dli::RULES),
        dlf::SERVICE => (dlf::PERMISSION_ERRORS, dlf::RULES),
        _ => return None,
    };
    let is_listed = |rule: &ErrorRule| matches!(rule.matcher, Matcher::Code(_, numbers) if numbers.contains(&number));
    let rejects_access =
        rules.iter().any(|rule| rule.kind == ProviderErrorKind::Auth && is_listed(rule));
    rejects_access.then(|| permission_errors.contains(&number))
}
