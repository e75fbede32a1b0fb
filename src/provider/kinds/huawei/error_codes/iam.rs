//! Error codes of Identity and Access Management (IAM).
//!
//! Source: IAM API reference, "Error Codes" (`iam_02_0006`), and the FAQ "What Should I Do If My Account Is
//! Locked?". A token request mostly fails with `{"error": {"code": 401, …}}` instead, where the status
//! decides. The services pass some of these codes on, such as those of an access key.

use crate::job::ProviderErrorKind as Kind;
use crate::provider::classify::{ErrorRule, Matcher};

pub(super) const SERVICE: &str = "IAM";

pub(super) const TOKEN_ERRORS: &[&str] = &["0063", "0066", "0067"];
pub(super) const PERMISSION_ERRORS: &[&str] =
    &["0002", "0003", "0064", "0065", "0080", "0081", "0082", "0083"];

const LOCKED_ADVICE: &str = "IAM has locked the user after too many wrong passwords, for 15 minutes as a rule; \
     correct the password where auth.password points";

/// A locked user, whose token requests fail whatever the password. A blocked request is none.
pub(super) const LOCKED_RULES: &[ErrorRule] = &[
    locked_rule(401, &["is locked"]),
    locked_rule(401, &["been locked"]),
    locked_rule(401, &["account locked"]),
    locked_rule(403, &["is locked"]),
    locked_rule(403, &["been locked"]),
    locked_rule(403, &["account locked"]),
];

const fn locked_rule(status: u16, fragments: &'static [&'static str]) -> ErrorRule {
    ErrorRule::new(Matcher::Message(status, fragments), Kind::Auth).with_advice(LOCKED_ADVICE)
}

pub(super) const RULES: &[ErrorRule] = &[
    ErrorRule::new(Matcher::Code(SERVICE, &["0061"]), Kind::Auth).with_advice(LOCKED_ADVICE),
    // Wrong credentials (0001, 0062, 0063, 0066, 0067) or access key (1104 to 1108); no permission (0002, 0003,
    // 0064, 0065, 0083); a user who is disabled (0080, 0082) or may use the console only (0081).
    ErrorRule::new(
        Matcher::Code(
            SERVICE,
            &[
                "0001", "0002", "0003", "0062", "0063", "0064", "0065", "0066", "0067", "0080",
                "0081", "0082", "0083", "1104", "1105", "1106", "1107", "1108",
            ],
        ),
        Kind::Auth,
    ),
    ErrorRule::new(Matcher::Code(SERVICE, &["0012"]), Kind::RateLimited),
    // A conflict (0005), an error of the server (0006), a fail-over to another region (0020).
    ErrorRule::new(Matcher::Code(SERVICE, &["0005", "0006", "0020"]), Kind::Transient),
    // An unknown user, domain or project (0004, 1109), and wrong parameters.
    ErrorRule::new(
        Matcher::Code(
            SERVICE,
            &[
                "0004", "0007", "0008", "0009", "0010", "0011", "0072", "0073", "0077", "1000",
                "1001", "1002", "1003", "1004", "1005", "1006", "1007", "1008", "1009", "1010",
                "1011", "1012", "1013", "1014", "1015", "1016", "1017", "1018", "1019", "1020",
                "1021", "1022", "1023", "1024", "1025", "1026", "1027", "1028", "1029", "1030",
                "1031", "1032", "1033", "1034", "1035", "1036", "1037", "1038", "1039", "1040",
                "1041", "1042", "1043", "1044", "1045", "1046", "1047", "1048", "1049", "1050",
                "1051", "1052", "1053", "1054", "1055", "1056", "1057", "1058", "1059", "1060",
                "1061", "1062", "1101", "1102", "1103", "1109",
            ],
        ),
        Kind::Misconfigured,
    ),
];

/// Codes without the name of the service: wrong parameters.
pub(super) const NUMERIC_RULES: &[ErrorRule] = &[ErrorRule::new(
    Matcher::Code(
        "",
        &[
            "1100", "1101", "1102", "1103", "1104", "1105", "1106", "1107", "1108", "1109", "1110",
            "1111", "1113", "1115", "1117", "1118",
        ],
    ),
    Kind::Misconfigured,
)];
