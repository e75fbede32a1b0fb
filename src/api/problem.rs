//! The body of an error response. Programs depend on its codes.

use serde::{Deserialize, Serialize};

/// The body of every error response, `application/problem+json` of RFC 9457.
#[derive(Debug, Serialize, Deserialize)]
pub struct ProblemDetails {
    /// A fixed name: `bad_request`, `read_only`, `not_found`, `method_not_allowed`, `request_timeout`,
    /// `payload_too_large`, `provider_not_configured`, `provider_paused`, `job_finished`,
    /// `provider_rejected`, `invalid_config`, `busy`, `storage` or `shutting_down`.
    pub code: String,
    /// The reason phrase of `status`.
    pub title: String,
    pub status: u16,
    /// What is wrong and what to do.
    pub detail: String,
}
