//! The exit code for each fatal error, as in sysexits.h.
//!
//! 65 (database) and 78 (config) mean that a restart does not help, and `jobtrackd.service` does not
//! restart after them. After 74 (disk, socket, threads) a restart may help.

use std::process::ExitCode;

use crate::config::ConfigError;
use crate::control::BindError;
use crate::escape::{escape_unprintable, usage_error_lines};
use crate::logging;
use crate::provider::BuildError;
use crate::scheduler::SchedulerError;
use crate::store::{OpenError, WriteError};

use super::providers::ReadTimeout;

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
        let message = format!("jobtrackd: {:#}", self.error);
        let lines = message.lines().map(|line| escape_unprintable(line) + "\n");
        logging::write_to_stderr(lines.collect());
        ExitCode::from(self.code)
    }
}

/// Prints `--help` and `--version` to stdout, and what is wrong with the arguments to stderr.
pub(super) fn report_usage(usage: &clap::Error) -> ExitCode {
    if usage.use_stderr() {
        let arguments = std::env::args_os().map(|text| text.to_string_lossy().into_owned());
        let lines = usage_error_lines(usage, arguments).into_iter().map(|line| line + "\n");
        logging::write_to_stderr(lines.collect());
    } else {
        // Nothing can report a failure.
        let _ = usage.print();
    }
    ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2))
}

impl From<ConfigError> for ExitError {
    fn from(error: ConfigError) -> Self {
        Self::config(error.into())
    }
}

impl From<ReadTimeout> for ExitError {
    fn from(error: ReadTimeout) -> Self {
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
            OpenError::Unusable { .. } | OpenError::Damaged { .. } => Self::database(error.into()),
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
                | WriteError::FileReplaced { .. },
            )
            | SchedulerError::Read(_)
            | SchedulerError::Task(_) => Self::io(error.into()),
        }
    }
}
