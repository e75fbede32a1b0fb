//! Why a request of the client failed.
//!
//! Returned by [`Client`](super::Client) and [`EventStream`](super::EventStream). The commands print the
//! text and choose the exit code, or retry, by the variant.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use super::problem::ProblemDetails;
use super::socket_search::FailedSearch;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No daemon listens, or this user may not connect.
    #[error("{0}")]
    NoDaemon(FailedSearch),
    /// The daemon accepts no more connections.
    #[error(
        "jobtrackd at {} is busy: too many clients connect at once; try again later", .0.display()
    )]
    Busy(PathBuf),
    /// The HTTP client cannot be built.
    #[error("cannot set up the HTTP client: {0}")]
    Setup(String),
    /// The daemon rejected the request.
    #[error("{}", .0.detail)]
    Rejected(ProblemDetails),
    /// The connection broke, or the response did not arrive in time.
    #[error("lost the connection to jobtrackd: {0}")]
    ConnectionLost(String),
    /// The response is not in the expected form.
    #[error(
        "cannot parse the response of jobtrackd: {0}; check that jobtrack and jobtrackd have the same version"
    )]
    InvalidResponse(String),
}

impl ClientError {
    /// Whether what the request concerns, such as a job, does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Rejected(problem) => problem.code == "not_found",
            Self::NoDaemon(_)
            | Self::Busy(_)
            | Self::Setup(_)
            | Self::ConnectionLost(_)
            | Self::InvalidResponse(_) => false,
        }
    }

    /// Whether a socket exists to which this user may not connect.
    #[must_use]
    pub fn is_permission_denied(&self) -> bool {
        match self {
            Self::NoDaemon(search) => search.is_permission_denied(),
            Self::Busy(_)
            | Self::Setup(_)
            | Self::Rejected(_)
            | Self::ConnectionLost(_)
            | Self::InvalidResponse(_) => false,
        }
    }
}

/// The error of a request that was sent and got no complete response.
pub(super) fn connection_lost(error: &reqwest::Error) -> ClientError {
    if error.is_timeout() {
        return ClientError::ConnectionLost("no response in time".into());
    }
    // The outermost error repeats the URL, whose host is a placeholder.
    ClientError::ConnectionLost(
        error_sources(error).last().map_or_else(|| error.to_string(), ToString::to_string),
    )
}

/// Whether the daemon's queue of new connections is full.
pub(super) fn is_queue_full(error: &reqwest::Error) -> bool {
    const NO_BUFFER_SPACE: i32 = rustix::io::Errno::NOBUFS.raw_os_error();
    error_sources(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|cause| {
        cause.kind() == io::ErrorKind::WouldBlock || cause.raw_os_error() == Some(NO_BUFFER_SPACE)
    })
}

fn error_sources<'a>(error: &'a reqwest::Error) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |&cause| cause.source())
}
