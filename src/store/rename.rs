//! A provider's change of name: the request to the store and its result.
//! The daemon requests it at its start, before any job is loaded.

use std::fmt;

use crate::job::{JobId, ProviderName, counted};

/// A provider and the names that it had before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderRename {
    /// The current name.
    pub to: ProviderName,
    /// The provider's kind; a job of another kind is a conflict.
    pub kind: &'static str,
    /// The previous names.
    pub from: Vec<ProviderName>,
}

/// A previous name that the database contained and no longer contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedRename {
    /// The previous name.
    pub from: ProviderName,
    /// The current name.
    pub to: ProviderName,
    /// The number of jobs that had the previous name.
    pub jobs: u64,
}

impl fmt::Display for AppliedRename {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "renamed provider {} to {} ({})", self.from, self.to, counted(self.jobs, "job"))
    }
}

/// The names that were renamed, or why none was.
pub type RenameOutcome = Result<Vec<AppliedRename>, RenameConflict>;

/// Why no provider was renamed, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenameConflict {
    /// The same remote id is tracked under two of the names.
    #[error(
        "cannot rename the previous names of provider {to}, nothing is renamed: two of the names have \
         jobs with the same id: {}; untrack one job of each pair (`jobtrack untrack`), or, if both are \
         finished, remove the previous name from providers.{to}.previous_names", .duplicates.join(", ")
    )]
    DuplicateJobs {
        /// The current name.
        to: ProviderName,
        /// Some of the ids, each with its jobs.
        duplicates: Vec<String>,
    },
    /// A previous name belonged to a provider of another kind.
    #[error(
        "cannot rename provider {from} to {to}, nothing is renamed: job {job} is of kind {job_kind}, \
         but {to} is of kind {kind}; remove {from} from providers.{to}.previous_names"
    )]
    KindMismatch {
        /// The current name.
        to: ProviderName,
        /// The current provider's kind.
        kind: &'static str,
        /// The previous name.
        from: ProviderName,
        /// A job with the previous name.
        job: JobId,
        /// The kind of that job.
        job_kind: String,
    },
}
