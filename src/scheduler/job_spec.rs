//! A job that a client asks to track, and its check against the configured providers.
//!
//! The control socket makes a [`JobSpec`] of each valid entry of an add request; the scheduler makes
//! a [`CheckedJob`] of it, with the kind of the provider that is configured at that moment.

use std::time::Duration;

use crate::job::{
    AddedBy, JobPrice, Labels, NewJob, ProviderName, RemoteId, SimilarityKeys, UtcTime,
    placeholder_reason,
};

use super::providers::Providers;

/// A job that a client asks to track. All names in it are well formed.
#[derive(Debug, Clone)]
pub struct JobSpec {
    pub provider: ProviderName,
    /// The job's id at its provider.
    pub remote_id: RemoteId,
    pub labels: Labels,
    /// The job's own limit; `None` means the provider's.
    pub give_up_after: Option<Duration>,
    /// The price; `None` if the user chose none.
    pub price: Option<JobPrice>,
    /// The similarity key that the user gave, if any.
    pub similarity_keys: SimilarityKeys,
    /// The client's user, if the socket reports it.
    pub added_by: Option<AddedBy>,
    /// Whether an earlier job with this id is another run if it has ended.
    pub is_new_run: bool,
}

/// A job to register.
#[derive(Debug)]
pub(super) struct CheckedJob {
    pub(super) job: NewJob,
    /// What all known ids of the service look like, if this one does not.
    pub(super) id_warning: Option<&'static str>,
}

impl JobSpec {
    /// The job to register, or why the provider cannot have such a job.
    pub(super) fn into_checked_job(
        self,
        providers: &Providers,
        registered_at: UtcTime,
    ) -> Result<CheckedJob, String> {
        let configured = providers.get(&self.provider).map_err(|error| error.to_string())?;
        configured.provider.validate_id(&self.remote_id)?;
        if let Some(reason) = placeholder_reason(&self.remote_id) {
            return Err(reason);
        }
        let id_warning = configured.provider.doubt_id(&self.remote_id);
        let job = NewJob {
            kind: configured.kind,
            provider: self.provider,
            remote_id: self.remote_id,
            labels: self.labels,
            give_up_after: self.give_up_after,
            price: self.price,
            similarity_keys: self.similarity_keys,
            added_by: self.added_by,
            registered_at,
            is_new_run: self.is_new_run,
        };
        Ok(CheckedJob { job, id_warning })
    }
}
