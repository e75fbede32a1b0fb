//! Error codes of DataArts Studio's data development (DLF).
//!
//! Source: DataArts Studio API reference, "DLF Error Codes" (`dataartsstudio_02_0313`); the examples of the
//! single requests for 1001 and 3051; Huawei Cloud's Terraform provider for 0819 and 20819. All come with
//! status 400. Most codes belong to requests that jobtrack does not send.

use crate::job::ProviderErrorKind as Kind;
use crate::provider::classify::{ErrorRule, Matcher};

pub(super) const SERVICE: &str = "DLF";

pub(super) const PERMISSION_ERRORS: &[&str] = &["6888"];

pub(super) const RULES: &[ErrorRule] = &[
    ErrorRule::new(Matcher::CodeAndMessage(SERVICE, "3051", &["instance id"]), Kind::InvalidId),
    // The script (6201), its instance (6205) or a job's instance (0137, 30137) does not exist.
    ErrorRule::new(Matcher::Code(SERVICE, &["0137", "6201", "6205", "30137"]), Kind::NotFound),
    // The account has no permission.
    ErrorRule::new(Matcher::Code(SERVICE, &["6888"]), Kind::Auth),
    // The workspace does not exist.
    ErrorRule::new(Matcher::Code(SERVICE, &["0819", "20819"]), Kind::Misconfigured)
        .with_advice("check workspace_id"),
    // The quota of jobs, of scripts.
    ErrorRule::new(Matcher::Code(SERVICE, &["0101", "6253"]), Kind::QuotaExceeded),
    // Wrong parameters, names in use, and missing objects other than scripts and instances: a DLF job (0100, 1001) is a
    // workflow.
    ErrorRule::new(
        Matcher::Code(
            SERVICE,
            &[
                "0100", "0102", "0136", "0201", "0202", "0203", "0802", "0803", "0810", "0815",
                "1001", "1006", "1242", "3004", "3018", "3025", "3050", "3051", "6241", "6247",
                "6258", "6259", "6263", "6264", "6265", "6271", "6309", "6322", "6323", "6416",
                "6418",
            ],
        ),
        Kind::Malformed,
    ),
];
