//! The two ways in which the scheduler fails: a command that is not carried out, and the loop's end.
//!
//! A [`CommandError`] is the reply to one caller and leaves the scheduler running; a
//! [`SchedulerError`] ends it, and with it the daemon.

use std::time::Duration;

use tokio::task::JoinError;

use crate::job::{MonotonicTime, ProviderError, ProviderErrorKind, ProviderName, format_duration};
use crate::store::{ReadError, WriteError};
use crate::tracker::{RequestPause, RequestRefusal};

/// A command that was not carried out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommandError {
    /// No reply in time. The command may still be carried out later; repeating it is safe.
    #[error(
        "jobtrackd did not complete the request in time; repeating it is safe; `jobtrack status` \
         shows whether the database can be written"
    )]
    TimedOut,
    /// The database did not store what the command requires.
    #[error("{0}")]
    Storage(String),
    /// The requested provider, and the names of the configured ones.
    #[error("provider {0} is not configured; configured: {1}")]
    ProviderNotConfigured(ProviderName, String),
    /// No request is sent to the provider at the moment.
    #[error("{0}")]
    ProviderPaused(String),
    /// Too many requests that people ordered wait for the provider.
    #[error("too many requests wait for provider {0}; try again later")]
    TooManyRequests(ProviderName),
    /// The request to the provider failed or was rejected.
    #[error("{0}")]
    Upstream(ProviderError),
    #[error("jobtrackd is shutting down")]
    ShuttingDown,
}

impl CommandError {
    pub(super) fn from_refusal(
        provider: &ProviderName,
        refusal: &RequestRefusal,
        now: MonotonicTime,
    ) -> Self {
        match refusal {
            RequestRefusal::Paused(pause) => {
                Self::paused(&format!("polling of {provider}"), provider, pause, now)
            }
            RequestRefusal::JobPaused(pause) => {
                Self::paused("polling of this job", provider, pause, now)
            }
            RequestRefusal::QueueFull => Self::TooManyRequests(provider.clone()),
            RequestRefusal::ProviderRemoved => {
                Self::ProviderNotConfigured(provider.clone(), "others".to_owned())
            }
        }
    }

    /// `what` is paused.
    fn paused(
        what: &str,
        provider: &ProviderName,
        pause: &RequestPause,
        now: MonotonicTime,
    ) -> Self {
        let seconds = pause.until.duration_since(now).as_secs();
        let remaining = format_duration(Duration::from_secs(seconds.max(1)));
        Self::ProviderPaused(match &pause.reason {
            Some(reason) => format!(
                "{what} is paused for another {remaining}: {reason}; when the cause is corrected, \
                 run `jobtrack check {provider}`, or `jobtrack reload` after a change of the credential"
            ),
            None => format!(
                "the rate limit of {provider} allows the next request in {remaining}; try again then"
            ),
        })
    }

    /// Whether the provider rejected the account or its configuration, not this one request.
    #[must_use]
    pub fn is_account_level(&self) -> bool {
        matches!(
            self,
            Self::Upstream(ProviderError {
                kind: ProviderErrorKind::Auth
                    | ProviderErrorKind::RateLimited
                    | ProviderErrorKind::QuotaExceeded
                    | ProviderErrorKind::Misconfigured,
                ..
            })
        )
    }
}

/// An error after which the scheduler cannot continue.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    /// The database cannot be written, and a retry does not help.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The unfinished jobs or the duration samples cannot be loaded at the start.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The task that writes or loads panicked.
    #[error("a task of the scheduler failed: {0}")]
    Task(#[from] JoinError),
}
