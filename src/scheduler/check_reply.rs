//! The reply to a connection check, which may be the result of an earlier one.
//!
//! Built by [`super::cancel_and_check`]; the control socket turns it into advice for the user.

use std::time::Duration;

use crate::job::ConnectionCheck;

/// The reply to a connection check that was ordered.
#[derive(Debug, Clone)]
pub struct CheckReply {
    pub check: ConnectionCheck,
    /// None if a request was sent for this check; else the time until the next one may be sent.
    pub next_check_in: Option<Duration>,
}
