//! How much each user may have in the database, set once at the start of the daemon.

/// The limits of each user; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UserLimits {
    /// Unfinished jobs that the user added.
    pub max_jobs: Option<u64>,
    /// The bytes of the labels of these jobs together, as JSON.
    pub max_label_bytes: Option<u64>,
}

impl UserLimits {
    /// Why a user may not have so much; `None` if the user may.
    pub(super) fn exceeded(&self, uid: u32, jobs: u64, label_bytes: u64) -> Option<String> {
        if let Some(max) = self.max_jobs.filter(|max| jobs > *max) {
            return Some(format!(
                "uid {uid} has {max} unfinished jobs, the limit control.max_jobs_per_user; untrack some, \
                 or add this one again when others have ended"
            ));
        }
        let max = self.max_label_bytes.filter(|max| label_bytes > *max)?;
        Some(format!(
            "the labels of the unfinished jobs of uid {uid} would exceed {max} bytes, the limit \
             control.max_label_bytes_per_user; use fewer or shorter labels, or untrack jobs"
        ))
    }
}
