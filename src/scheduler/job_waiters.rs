//! Callers that wait for an event of one job, such as the commit of its change.

use std::collections::HashMap;

use crate::job::JobId;

use super::handle::ReplySender;

#[derive(Debug, Default)]
pub(super) struct JobWaiters(HashMap<JobId, Vec<ReplySender<()>>>);

impl JobWaiters {
    pub(super) fn add(&mut self, job: JobId, reply: ReplySender<()>) {
        self.0.entry(job).or_default().push(reply);
    }

    /// Removes the callers that wait for `job`.
    pub(super) fn remove(&mut self, job: JobId) -> Vec<ReplySender<()>> {
        self.0.remove(&job).unwrap_or_default()
    }

    /// Removes the callers that wait for any job for which `predicate` holds.
    pub(super) fn remove_where(
        &mut self,
        predicate: impl Fn(JobId) -> bool,
    ) -> Vec<ReplySender<()>> {
        self.0.extract_if(|job, _| predicate(*job)).flat_map(|(_, replies)| replies).collect()
    }
}

/// Replies that the event has happened. A caller that stopped waiting is ignored.
pub(super) fn notify(waiters: impl IntoIterator<Item = ReplySender<()>>) {
    for waiter in waiters {
        let _ = waiter.send(Ok(()));
    }
}
