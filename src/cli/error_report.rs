//! Prints errors and chooses exit codes: the same code and exit code for the same trouble in every command.
//!
//! With `--json` each error is one JSON object on standard error with the fields of the API's problem details;
//! `status` is absent if the error does not come from the daemon. Used by `mod` for the error that ends a command, and
//! by commands with several jobs for the error of each.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io;
use std::process::ExitCode;

use serde::Serialize;

use super::{EXIT_NO_SUCH_JOB, EXIT_REJECTED, EXIT_TIMED_OUT, EXIT_UNAVAILABLE, EXIT_USAGE, stdio};
use crate::api::{ClientError, ProblemDetails};

/// The code of a remote ID that jobs of several providers have.
pub(super) const AMBIGUOUS_JOB: &str = "ambiguous_job";

/// A job that a command names does not exist.
#[derive(Debug, thiserror::Error)]
#[error("no such job: {0}; `jobtrack list --all` shows all jobs")]
pub(super) struct NoSuchJob(pub(super) String);

/// An error as it is printed.
#[derive(Debug, Serialize)]
pub(super) struct ErrorReport {
    code: String,
    title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    detail: String,
    #[serde(skip)]
    exit_code: u8,
}

impl ErrorReport {
    fn new(code: &str, title: &str, detail: String, exit_code: u8) -> Self {
        Self { code: code.to_owned(), title: title.to_owned(), status: None, detail, exit_code }
    }

    pub(super) fn usage(detail: String) -> Self {
        Self::new("usage", "Usage Error", detail, EXIT_USAGE)
    }

    pub(super) fn no_such_job(detail: impl Display) -> Self {
        Self::new("not_found", "Not Found", detail.to_string(), EXIT_NO_SUCH_JOB)
    }

    /// The provider did not answer the poll with the job's state.
    pub(super) fn poll_failed(detail: String) -> Self {
        Self::new("poll_failed", "Poll Failed", detail, EXIT_REJECTED)
    }

    /// A line of standard input is malformed.
    pub(super) fn invalid_line(detail: String) -> Self {
        Self::new("invalid_line", "Invalid Line", detail, EXIT_REJECTED)
    }

    pub(super) fn timed_out(detail: &str) -> Self {
        Self::new("timeout", "Timeout", detail.to_owned(), EXIT_TIMED_OUT)
    }

    /// The report of an error that ends a command.
    pub(super) fn of(error: &anyhow::Error) -> Self {
        let detail = format!("{error:#}");
        if error.downcast_ref::<NoSuchJob>().is_some() {
            return Self::no_such_job(detail);
        }
        if error.downcast_ref::<io::Error>().is_some() {
            return Self::new("io", "I/O Error", detail, EXIT_REJECTED);
        }
        match error.downcast_ref::<ClientError>() {
            Some(ClientError::Rejected(problem)) => Self { detail, ..Self::from(problem) },
            Some(error @ ClientError::NoDaemon(_)) if error.is_permission_denied() => {
                Self::new("permission_denied", "Permission Denied", detail, EXIT_UNAVAILABLE)
            }
            Some(ClientError::NoDaemon(_)) => {
                Self::new("no_daemon", "No Daemon", detail, EXIT_UNAVAILABLE)
            }
            Some(ClientError::Busy(_)) => Self::new("busy", "Busy", detail, EXIT_UNAVAILABLE),
            Some(ClientError::ConnectionLost(_)) => {
                Self::new("connection_lost", "Connection Lost", detail, EXIT_UNAVAILABLE)
            }
            Some(ClientError::InvalidResponse(_)) => {
                Self::new("invalid_response", "Invalid Response", detail, EXIT_REJECTED)
            }
            Some(ClientError::Setup(_)) | None => {
                Self::new("error", "Error", detail, EXIT_REJECTED)
            }
        }
    }

    /// Prints the error; returns its exit code.
    pub(super) fn print(&self, json: bool) -> u8 {
        if json {
            stdio::print_stderr_json(self);
        } else if self.exit_code == EXIT_USAGE && self.status.is_none() {
            self.detail.lines().for_each(stdio::print_stderr_line);
        } else {
            stdio::print_stderr_line(format!("jobtrack: {}", self.detail));
        }
        self.exit_code
    }

    /// Prints the error of one job or line of several; returns its exit code.
    pub(super) fn print_line(&self, json: bool) -> u8 {
        if json {
            stdio::print_stderr_json(self);
        } else {
            stdio::print_stderr_line(&self.detail);
        }
        self.exit_code
    }
}

impl From<&ProblemDetails> for ErrorReport {
    fn from(problem: &ProblemDetails) -> Self {
        Self {
            code: problem.code.clone(),
            title: problem.title.clone(),
            status: Some(problem.status),
            detail: problem.detail.clone(),
            exit_code: match problem.code.as_str() {
                "not_found" => EXIT_NO_SUCH_JOB,
                // The daemon parses some options.
                "bad_request" | AMBIGUOUS_JOB => EXIT_USAGE,
                _ => EXIT_REJECTED,
            },
        }
    }
}

/// The errors of single jobs in a command with several, which do not stop the others.
#[derive(Debug)]
pub(super) struct JobErrors {
    json: bool,
    exit_codes: BTreeSet<u8>,
}

impl JobErrors {
    pub(super) fn new(json: bool) -> Self {
        Self { json, exit_codes: BTreeSet::new() }
    }

    /// Prints the error of a job that does not exist.
    pub(super) fn report_missing(&mut self, job: impl Display) {
        self.print(&ErrorReport::no_such_job(format!("no such job: {job}")));
    }

    /// Prints an error that concerns this job only; returns any other.
    pub(super) fn report(
        &mut self,
        job: impl Display,
        error: ClientError,
    ) -> Result<(), ClientError> {
        match error {
            error if error.is_not_found() => self.report_missing(job),
            ClientError::Rejected(problem) => {
                let detail = format!("{job}: {}", problem.detail);
                self.print(&ErrorReport { detail, ..ErrorReport::from(&problem) });
            }
            error @ (ClientError::NoDaemon(_)
            | ClientError::Busy(_)
            | ClientError::Setup(_)
            | ClientError::ConnectionLost(_)
            | ClientError::InvalidResponse(_)) => return Err(error),
        }
        Ok(())
    }

    fn print(&mut self, report: &ErrorReport) {
        self.exit_codes.insert(report.print_line(self.json));
    }

    /// A rejected request outweighs an ambiguous name, and that a job that does not exist.
    pub(super) fn exit_code(&self) -> ExitCode {
        self.exit_codes.first().map_or(ExitCode::SUCCESS, |code| ExitCode::from(*code))
    }
}
