//! Error codes of Data Lake Insight.
//!
//! Source: DLI API reference, "Error Codes" (`dli_02_0056`), and DLI FAQ for `DLI.10001`. Nearly all come
//! with status 400.

use crate::job::ProviderErrorKind as Kind;
use crate::provider::classify::{ErrorRule, Matcher};

pub(super) const SERVICE: &str = "DLI";

pub(super) const TOKEN_ERRORS: &[&str] = &["0015"];
/// 0013 and 0014 are named authentication errors, and come for a valid token without the right role.
pub(super) const PERMISSION_ERRORS: &[&str] = &["0003", "0011", "0013", "0014", "0016"];

const PROJECT_MISMATCH_ADVICE: &str = "the token is scoped to another project than project_id: check \
     project_id, and auth.project or the project for which the token was issued";

pub(super) const RULES: &[ErrorRule] = &[
    // `urlTenantId is not equal tokenTenantId`.
    ErrorRule::new(Matcher::CodeAndMessage(SERVICE, "0003", &["urltenantid"]), Kind::Misconfigured)
        .with_advice(PROJECT_MISMATCH_ADVICE),
    ErrorRule::new(
        Matcher::CodeAndMessage(SERVICE, "0001", &["job id", "invalid"]),
        Kind::InvalidId,
    ),
    // The object does not exist; no resource was found.
    ErrorRule::new(Matcher::Code(SERVICE, &["0002", "0023"]), Kind::NotFound),
    // Permission denied (0003), file permission (0011), user and service authentication (0013, 0014), token
    // (0015), identity and role (0016).
    ErrorRule::new(
        Matcher::Code(SERVICE, &["0003", "0011", "0013", "0014", "0015", "0016"]),
        Kind::Auth,
    ),
    // Errors of the server: metadata (0008), resource unavailable (0012), data conversion (0018), time-out
    // (0019), and those of no other name (0999, 10001).
    ErrorRule::new(
        Matcher::Code(SERVICE, &["0008", "0012", "0018", "0019", "0999", "10001"]),
        Kind::Transient,
    ),
    // A limit of the system; the quota.
    ErrorRule::new(Matcher::Code(SERVICE, &["0009", "1028"]), Kind::QuotaExceeded),
    // A wrong parameter (0001), SQL syntax and semantics (0004, 0005), the object exists (0006), an operation
    // that is not supported (0007). 0100, the result has expired, does not show how the job ended.
    ErrorRule::new(
        Matcher::Code(SERVICE, &["0001", "0004", "0005", "0006", "0007", "0100"]),
        Kind::Malformed,
    ),
];
