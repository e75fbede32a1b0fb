//! The pause that grows with each rejection of a request.
//!
//! Used by the tracker for providers, jobs, lists and connection checks, and by the Huawei provider for each
//! credential, so that both send the same number of attempts.

use std::time::Duration;

/// The pause after consecutive failures that a short wait does not repair. IAM locks a user for 15 minutes after
/// five wrong passwords in a row, and the gateway a key for five minutes after more than five wrong signatures.
#[must_use]
pub fn escalating_pause(consecutive_failures: u32) -> Duration {
    Duration::from_mins(match consecutive_failures {
        0 | 1 => 1,
        2 => 5,
        3 => 15,
        _ => 30,
    })
}
