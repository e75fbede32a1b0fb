//! The exit code for each fatal error, as in sysexits.h.
//!
//! 65 (database) and 78 (config) mean that a restart does not help, and `jobtrackd.service` does not
//! restart after them. After 74 (disk, socket) a restart may help.

use std::io::Write;
use std::process::ExitCode;

use crate::config::ConfigError;
use crate::control::BindError;
use crate::provider::BuildError;
use crate::scheduler::SchedulerError;
use crate::store::{OpenError, WriteError};

/// An error that ends the process.
#[derive(Debug)]
pub(super) struct ExitError {
    code: u8,
    error: anyhow::Error,
}

impl ExitError {
    pub(super) fn database(error: anyhow::Error) -> Self {
        Self { code: 65, error }
    }

    pub(super) fn io(error: anyhow::Error) -> Self {
        Self { code: 74, error }
    }

    pub(super) fn config(error: anyhow::Error) -> Self {
        Self { code: 78, error }
    }

    /// Prints the error to stderr, because the log may not work.
    pub(super) fn report(self) -> ExitCode {
        let _ = writeln!(std::io::stderr(), "jobtrackd: {:#}", self.error);
        ExitCode::from(self.code)
    }
}

impl From<ConfigError> for ExitError {
    fn from(error: ConfigError) -> Self {
        Self::config(error.into())
    }
}

impl From<BuildError> for ExitError {
    fn from(error: BuildError) -> Self {
        Self::config(error.into())
    }
}

impl From<OpenError> for ExitError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Unusable { .. } => Self::database(error.into()),
            OpenError::CreateDirectory { .. } | OpenError::Io { .. } => Self::io(error.into()),
        }
    }
}

impl From<BindError> for ExitError {
    fn from(error: BindError) -> Self {
        match error {
            BindError::Config(_) => Self::config(error.into()),
            BindError::CreateDirectory { .. } | BindError::Io { .. } => Self::io(error.into()),
        }
    }
}

impl From<SchedulerError> for ExitError {
    fn from(error: SchedulerError) -> Self {
        match error {
            SchedulerError::Write(WriteError::Corrupt(_)) => Self::database(error.into()),
            SchedulerError::Write(
                WriteError::Busy
                | WriteError::NoSpace(_)
                | WriteError::Io(_)
                | WriteError::Rejected(_)
                | WriteError::FileReplaced(_),
            )
            | SchedulerError::Read(_)
            | SchedulerError::Task(_) => Self::io(error.into()),
        }
    }
}
