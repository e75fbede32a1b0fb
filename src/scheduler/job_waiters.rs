//! Callers that wait for an event of one job, such as the commit of its change.
//!
//! The write queue keeps the callers that wait for a row of a job; the scheduler keeps those that
//! wait until a job is no longer tracked.

use std::collections::BTreeMap;

use crate::job::JobId;

use super::error::CommandError;
use super::handle::ReplySender;

#[derive(Debug, Default)]
pub(super) struct JobWaiters(BTreeMap<JobId, Vec<ReplySender<()>>>);

impl JobWaiters {
    pub(super) fn add(&mut self, job: JobId, reply: ReplySender<()>) {
        let waiters = self.0.entry(job).or_default();
        // While the database is locked, every caller stops waiting after a while.
        waiters.retain(|waiter| !waiter.is_closed());
        waiters.push(reply);
    }

    pub(super) fn contains(&self, job: JobId) -> bool {
        self.0.contains_key(&job)
    }

    /// Moves the callers that wait for `job` to `target`.
    pub(super) fn move_to(&mut self, target: &mut Self, job: JobId) {
        for reply in self.0.remove(&job).unwrap_or_default() {
            target.add(job, reply);
        }
    }

    /// Adds all callers of `other`.
    pub(super) fn append(&mut self, mut other: Self) {
        let jobs: Vec<JobId> = other.0.keys().copied().collect();
        for job in jobs {
            other.move_to(self, job);
        }
    }

    /// Sends `result` to all callers and removes them.
    pub(super) fn reply_to_all(&mut self, result: &Result<(), CommandError>) {
        self.reply_where(|_| true, result);
    }

    /// Sends `result` to the callers that wait for any job for which `predicate` holds, and removes
    /// them. A caller that stopped waiting is ignored.
    pub(super) fn reply_where(
        &mut self,
        predicate: impl Fn(JobId) -> bool,
        result: &Result<(), CommandError>,
    ) {
        for (_, waiters) in self.0.extract_if(.., |job, _| predicate(*job)) {
            for waiter in waiters {
                let _ = waiter.send(result.clone());
            }
        }
    }
}
