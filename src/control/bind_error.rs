//! Why a control socket cannot be opened. The daemon chooses its exit code by the variant.

use std::io;
use std::path::{Path, PathBuf};

/// Why the control socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The configuration must be changed.
    #[error("{0}")]
    Config(String),
    /// The socket's directory does not exist and cannot be created.
    #[error("cannot create {}: {}; set XDG_RUNTIME_DIR or control.socket", path.display(), kind)]
    CreateDirectory {
        path: PathBuf,
        /// What `mkdir` reports.
        kind: io::ErrorKind,
    },
    /// The socket cannot be bound, or another process uses its path.
    #[error("control socket {}: {reason}", path.display())]
    Io {
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
}

impl BindError {
    /// A failure of the socket at `path`.
    pub(super) fn failed(path: &Path, error: &io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            reason: format!("{error}; check the owner of its directory, or set control.socket"),
        }
    }
}
