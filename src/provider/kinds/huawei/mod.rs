//! Huawei Cloud and Open Telekom Cloud: what their services have in common.
//!
//! [`dli`] and [`dataarts`] are the kinds. Each parses its account with `settings` and sends its requests
//! through the `HuaweiClient` that `settings` builds.

mod auth;
mod client;
mod credential_gate;
pub(super) mod dataarts;
pub(super) mod dli;
mod error;
mod error_codes;
mod iam_user;
mod rate_limit_text;
mod region;
mod sdk_credentials;
mod settings;
mod shared_credentials;
pub mod sign;
mod token;

pub use shared_credentials::SharedCredentials;
