//! The audit: which user gave which command, and what came of it.
//!
//! The control server and the daemon make an entry for each command that changes something and is not
//! in the history; the scheduler passes it to the store, with the change that the command causes if
//! there is one.

use std::fmt::Display;
use std::num::NonZeroU32;

use super::id::{JobId, ProviderName, RemoteId};
use super::time::UtcTime;

/// One command, or several with the same outcome, as the table `audit_event` records them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    pub requested_at: UtcTime,
    pub requester: Requester,
    pub command: AuditedCommand,
    pub target: AuditTarget,
    pub outcome: AuditOutcome,
    /// What the command did, or why it was refused or failed.
    pub detail: Option<String>,
    /// The number of commands; the other fields are those of the first.
    pub count: NonZeroU32,
}

/// Who gave a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requester {
    /// A client of the control socket, as the kernel reports it.
    Client {
        uid: Option<u32>,
        /// `None` if the user database does not have the uid.
        user: Option<String>,
        pid: Option<i32>,
    },
    /// SIGHUP, whose sender is not known.
    Signal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuditedCommand {
    Cancel,
    Untrack,
    Check,
    Forget,
    Reload,
    Backup,
    Pin,
    Unpin,
}

impl AuditedCommand {
    /// The name in the database and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Untrack => "untrack",
            Self::Check => "check",
            Self::Forget => "forget",
            Self::Reload => "reload",
            Self::Backup => "backup",
            Self::Pin => "pin",
            Self::Unpin => "unpin",
        }
    }
}

/// What a command concerns: the daemon as a whole, if it names no provider or job that could exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditTarget {
    Daemon,
    Provider(ProviderName),
    Job { id: JobId, provider: ProviderName, remote_id: RemoteId },
}

/// What came of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuditOutcome {
    Done,
    /// There was nothing to do.
    Unchanged,
    /// The daemon did not try.
    Refused,
    Failed,
}

impl AuditOutcome {
    /// The name in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

impl AuditEntry {
    /// Longer details are cut; those of refusals, which repeat what a client sent, even more.
    const MAX_DETAIL_CHARS: usize = 1000;
    const MAX_REFUSAL_CHARS: usize = 200;

    /// An entry with the outcome `done`; [`Self::with_result`] sets another one.
    #[must_use]
    pub fn new(
        requested_at: UtcTime,
        requester: Requester,
        command: AuditedCommand,
        target: AuditTarget,
    ) -> Self {
        Self {
            requested_at,
            requester,
            command,
            target,
            outcome: AuditOutcome::Done,
            detail: None,
            count: NonZeroU32::MIN,
        }
    }

    /// This entry with what a command has returned.
    #[must_use]
    pub fn with_result_of(self, result: Result<impl Display, impl Display>) -> Self {
        match result {
            Ok(detail) => self.with_result(AuditOutcome::Done, &detail.to_string()),
            Err(error) => self.with_result(AuditOutcome::Failed, &error.to_string()),
        }
    }

    /// This entry with its result.
    #[must_use]
    pub fn with_result(self, outcome: AuditOutcome, detail: &str) -> Self {
        let max_chars = match outcome {
            AuditOutcome::Refused => Self::MAX_REFUSAL_CHARS,
            AuditOutcome::Done | AuditOutcome::Unchanged | AuditOutcome::Failed => {
                Self::MAX_DETAIL_CHARS
            }
        };
        let detail: String = detail.chars().take(max_chars).collect();
        Self { outcome, detail: Some(detail).filter(|detail| !detail.is_empty()), ..self }
    }
}
