//! Error codes of the API gateway before all services. Some gateways print `APIG.` for `APIGW.`; the numbers
//! mean the same.
//!
//! Source: "API Request Signing Guide", "Error Codes" (`api-sign-errorcode`); "API Gateway", "API error
//! codes" (`apig_03_0048`) for 0107, 0108, 0202 and 0203.

use crate::job::ProviderErrorKind as Kind;
use crate::provider::classify::{ErrorRule, Matcher};

pub(in crate::provider::kinds::huawei) const SERVICE: &str = "APIGW";

pub(super) const TOKEN_ERRORS: &[&str] = &["0301", "0305", "0307"];
pub(super) const PERMISSION_ERRORS: &[&str] = &["0302", "0304", "0306", "0401", "0402", "0802"];

pub(super) const RULES: &[ErrorRule] = &[
    // No such path or method (0101), an unknown protocol (0607).
    ErrorRule::new(Matcher::Code(SERVICE, &["0101", "0607"]), Kind::Misconfigured),
    ErrorRule::new(Matcher::Code(SERVICE, &["0310"]), Kind::Misconfigured)
        .with_advice("the project is not available: check project_id and the account's balance"),
    ErrorRule::new(Matcher::Code(SERVICE, &["0801"]), Kind::Misconfigured)
        .with_advice("the service is not available in this region: check region"),
    // The token or the signature (0301), app (0303), other (0305) and debugging (0311) authentication.
    ErrorRule::new(Matcher::Code(SERVICE, &["0301", "0303", "0305", "0311"]), Kind::Auth),
    ErrorRule::new(Matcher::Code(SERVICE, &["0307"]), Kind::Auth)
        .with_advice("the token has expired or belongs to another region"),
    // The user (0302), the app (0304), the access (0306) or the address (0401, 0402) is not allowed; the user
    // is not allowed in this region (0802).
    ErrorRule::new(
        Matcher::Code(SERVICE, &["0302", "0304", "0306", "0401", "0402", "0802"]),
        Kind::Auth,
    ),
    ErrorRule::new(Matcher::Code(SERVICE, &["0308"]), Kind::RateLimited),
    // The quota is used up (0501); the app is frozen (0502).
    ErrorRule::new(Matcher::Code(SERVICE, &["0501", "0502"]), Kind::QuotaExceeded),
    // The service behind the gateway, or the gateway itself.
    ErrorRule::new(
        Matcher::Code(
            SERVICE,
            &[
                "0103", "0104", "0105", "0107", "0108", "0201", "0202", "0203", "0404", "0601",
                "0605", "0606", "0608", "0609", "0610", "0611", "0612", "0613", "0705",
            ],
        ),
        Kind::Transient,
    ),
    // A request that the gateway does not accept.
    ErrorRule::new(Matcher::Code(SERVICE, &["0106", "0602"]), Kind::Malformed),
];
