//! The tracked jobs, the providers and the accounts, with the look-ups that all handlers need.
//!
//! Providers and accounts are added when their name first occurs and are never removed, so their
//! indices stay valid. Jobs are removed once they need no more polls.

use crate::job::{
    Anomaly, ClockReading, JobId, MonotonicTime, ProviderName, RecordClock, TrustedClock,
};
use crate::policy::RateLimiterStates;

use super::account::{AccountId, EarlierProcess, ProviderAccount};
use super::job::TrackedJob;
use super::job_effects::{FollowUp, JobEffects};
use super::job_table::JobTable;
use super::message::{AccountIndex, Action, ProviderIndex};
use super::provider_queue::{FirstOrRepeat, ProviderQueue};
use super::shared_values::SharedValues;

/// Decides when each unfinished job is polled and what the answers lead to.
#[derive(Debug, Default)]
pub struct Tracker {
    pub(super) jobs: JobTable,
    pub(super) shared_values: SharedValues,
    pub(super) queues: Vec<ProviderQueue>,
    pub(super) accounts: Vec<ProviderAccount>,
    pub(super) trusted_clock: TrustedClock,
    pub(super) record_clock: RecordClock,
    /// For accounts that are not in `left_states`.
    pub(super) earlier_process: EarlierProcess,
    /// From then on no provider that is not configured can have sent a request that counts, but in this process.
    pub(super) others_known_from: MonotonicTime,
    /// What the earlier process left, until the first settings are applied.
    pub(super) left_states: RateLimiterStates,
    /// Of which a reload has changed the policy.
    pub(super) jobs_to_replan: Vec<JobId>,
    /// When the next of them are planned.
    pub(super) replans_from: MonotonicTime,
    /// The number of selections so far.
    pub(super) selection_count: u64,
}

impl Tracker {
    /// The job, unless it is kept only until a poll in flight is answered.
    pub(super) fn job(&self, id: JobId) -> Option<&TrackedJob> {
        self.jobs.get(id).filter(|tracked| !tracked.is_finished_during_poll())
    }

    /// The job, unless it is kept only until a poll in flight is answered.
    pub(super) fn job_mut(&mut self, id: JobId) -> Option<&mut TrackedJob> {
        self.jobs.get_mut(id).filter(|tracked| !tracked.is_finished_during_poll())
    }

    pub(super) fn find_provider(&self, name: &ProviderName) -> Option<ProviderIndex> {
        self.queues.iter().position(|queue| queue.name == *name).map(ProviderIndex::new)
    }

    /// The provider of this name. A new provider has an account of its own until it is configured.
    pub(super) fn find_or_add_provider(
        &mut self,
        name: &ProviderName,
        now: MonotonicTime,
    ) -> ProviderIndex {
        if let Some(found) = self.find_provider(name) {
            return found;
        }
        let account_index = self.find_or_add_account(AccountId::Dedicated(name.clone()), now);
        self.queues.push(ProviderQueue::new(name.clone(), account_index));
        ProviderIndex::new(self.queues.len() - 1)
    }

    pub(super) fn find_or_add_account(
        &mut self,
        id: AccountId,
        now: MonotonicTime,
    ) -> AccountIndex {
        let found = self.accounts.iter().position(|account| account.id == id);
        AccountIndex(found.unwrap_or_else(|| {
            self.accounts.push(ProviderAccount::new(id, now));
            self.accounts.len() - 1
        }))
    }

    /// Removes a waiting job from its provider's queue; has no effect on a job in another phase.
    pub(super) fn dequeue(&mut self, id: JobId) {
        if let Some(tracked) = self.jobs.get(id)
            && tracked.phase().due().is_some()
        {
            self.queues[tracked.provider_index.position()].dequeue(id, tracked.list_time);
        }
    }

    /// Carries out what follows an answer or a commit. `urgent`: a person waits for the poll record.
    pub(super) fn apply_effects(
        &mut self,
        id: JobId,
        effects: JobEffects,
        urgent: bool,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        let JobEffects { follow_up, poll_record, anomaly } = effects;
        actions.extend(poll_record.map(|poll_record| Action::RecordPoll { poll_record, urgent }));
        actions.extend(anomaly.map(|description| {
            Action::RecordAnomaly(Anomaly { job: id, at: now.utc, description })
        }));
        let Some(tracked) = self.jobs.get_mut(id) else { return };
        let queue = &mut self.queues[tracked.provider_index.position()];
        match follow_up {
            FollowUp::PollAt(due) => {
                queue.enqueue(
                    id,
                    due,
                    FirstOrRepeat::Repeat,
                    tracked.batchable_list_time(),
                    now.monotonic,
                );
                queue.enqueue_spare(tracked, due);
            }
            FollowUp::AwaitAnswer => {}
            FollowUp::Commit(change) => actions.push(Action::Commit(*change)),
            FollowUp::Remove => {
                queue.remove_job(tracked);
                if !tracked.finish() {
                    self.remove_job(id);
                }
            }
        }
    }

    /// Removes a job that is in no queue and has no poll in flight.
    pub(super) fn remove_job(&mut self, id: JobId) {
        self.jobs.remove(id);
        self.shared_values.job_removed(self.jobs.len());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::job::{DurationSample, SimilarityKeys, StoredJob, UtcTime};

    fn stored_job(id: i64) -> StoredJob {
        let similarity_keys = SimilarityKeys::from_provider([format!("query {id}")]);
        StoredJob { similarity_keys, ..StoredJob::for_test(id) }
    }

    #[test]
    fn the_memory_of_finished_jobs_is_given_back() {
        let utc = UtcTime::from_millis(2_000_000);
        let now = ClockReading { monotonic: MonotonicTime::default(), utc, jitter: 0.5 };
        let mut tracker = Tracker::default();
        for id in 1..=2990 {
            let StoredJob { provider, similarity_keys, .. } = stored_job(id);
            let total = Some(Duration::from_mins(1));
            let sample = DurationSample { similarity_keys, total, ..DurationSample::default() };
            let provider_index = tracker.find_or_add_provider(&provider, now.monotonic);
            tracker.queues[provider_index.position()].duration_history.record(&sample);
        }
        (1..=3000).for_each(|id| tracker.track(stored_job(id), now, &mut Vec::new()));
        let remembers_unfinished_runs = |tracker: &Tracker| {
            format!("{:?}", tracker.queues[0].duration_history).contains("UnfinishedRun")
        };
        assert!(remembers_unfinished_runs(&tracker));
        let keys = Arc::downgrade(&tracker.job(JobId(1)).expect("tracked").similarity_keys);
        for id in (1..=2990).map(JobId) {
            tracker.untrack(id, "not needed".to_owned(), now, &mut Vec::new());
            tracker.handle_change_committed(id, now, &mut Vec::new());
        }
        assert!((1..=2990).all(|id| !tracker.contains(JobId(id))));
        assert!((2991..=3000).all(|id| tracker.contains(JobId(id))));
        assert!(keys.upgrade().is_none(), "the keys of a finished job are kept");
        assert!(!remembers_unfinished_runs(&tracker));
    }
}
