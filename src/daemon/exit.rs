//! Which error ends the process with which code (sysexits.h): 65 and 78 say that a restart does not
//! help, 74 that it may.

use std::io::Write;
use std::process::ExitCode;

use crate::config::ConfigError;
use crate::control::BindError;
use crate::provider::BuildError;
use crate::scheduler::Fatal;
use crate::store::{OpenError, WriteError};

/// The end of the process, badly.
#[derive(Debug)]
pub(super) struct Exit {
    code: u8,
    error: anyhow::Error,
}

impl Exit {
    pub(super) fn database(error: anyhow::Error) -> Self {
        Self { code: 65, error }
    }

    pub(super) fn io(error: anyhow::Error) -> Self {
        Self { code: 74, error }
    }

    pub(super) fn config(error: anyhow::Error) -> Self {
        Self { code: 78, error }
    }

    /// Tells why on stderr, whatever became of the log.
    pub(super) fn report(self) -> ExitCode {
        let _ = writeln!(std::io::stderr(), "jobtrackd: {:#}", self.error);
        ExitCode::from(self.code)
    }
}

impl From<ConfigError> for Exit {
    fn from(error: ConfigError) -> Self {
        Self::config(error.into())
    }
}

impl From<BuildError> for Exit {
    fn from(error: BuildError) -> Self {
        Self::config(error.into())
    }
}

impl From<OpenError> for Exit {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Unusable { .. } => Self::database(error.into()),
            OpenError::Io { .. } => Self::io(error.into()),
        }
    }
}

impl From<BindError> for Exit {
    fn from(error: BindError) -> Self {
        match error {
            BindError::Config(_) => Self::config(error.into()),
            BindError::Io { .. } => Self::io(error.into()),
        }
    }
}

impl From<Fatal> for Exit {
    fn from(error: Fatal) -> Self {
        match error {
            Fatal::Write(WriteError::Damaged(_)) => Self::database(error.into()),
            Fatal::Write(
                WriteError::Busy
                | WriteError::Full(_)
                | WriteError::Io(_)
                | WriteError::Refused(_)
                | WriteError::Moved(_),
            )
            | Fatal::Read(_)
            | Fatal::Task(_) => Self::io(error.into()),
        }
    }
}
