//! Plans polls again that were planned with another price: a user set the price of a job, or a reload brought
//! another policy. No answer leads to the new time, so the tracker has it recorded.
//!
//! Called for a job that is added again, and by [`super::configure`] for all jobs of a provider. A job with a
//! poll in flight is planned by the answer.

use crate::job::{ClockReading, JobId, MonotonicTime, UtcTime};

use super::account::ProviderAccount;
use super::job::TrackedJob;
use super::message::Action;
use super::provider_queue::{FirstOrRepeat, ProviderQueue};
use super::registry::Tracker;
use super::valuation::NextPoll;

impl Tracker {
    /// Plans the next poll of a job whose price was set. The store forgot the time that was planned before.
    pub(super) fn replan(&mut self, id: JobId, now: ClockReading, actions: &mut Vec<Action>) {
        let Some(tracked) = self.jobs.get_mut(id) else { return };
        let queue = &mut self.queues[tracked.provider_index.position()];
        let account = &self.accounts[queue.account_index.0];
        let by_price = queue.replan(tracked, account, now);
        // After a failed poll the price does not decide.
        let expected = by_price.or(tracked.phase().due().filter(|_| tracked.polls > 0));
        let at = expected.map(|expected| vec![(id, utc_at(expected, now))]);
        actions.extend(at.map(Action::RecordNextPolls));
    }
}

impl ProviderQueue {
    /// Plans the next poll of a job by its present price. Returns when it is expected; none if an answer plans it,
    /// or if the price does not decide.
    pub(super) fn replan(
        &mut self,
        tracked: &mut TrackedJob,
        account: &ProviderAccount,
        now: ClockReading,
    ) -> Option<MonotonicTime> {
        let spare_budget = || account.spare_budget(now.monotonic);
        let policy = self.job_policy().with_spare_budget(tracked.own_price(), spare_budget);
        let NextPoll { due, expected } = tracked.next_poll_by_price(policy, now)?;
        if let Some(pending) = tracked.pending_change_mut() {
            pending.next_due = due;
            if pending.new_state.is_terminal() {
                return None;
            }
            if let Some(record) = &mut pending.poll_record {
                record.next_poll_at = Some(utc_at(expected, now));
            }
            return Some(expected);
        }
        if !self.repeat_polls.contains(tracked.id) {
            return None;
        }
        self.dequeue(tracked.id, tracked.list_time);
        tracked.wait_until(due);
        let list_time = tracked.batchable_list_time();
        self.enqueue(tracked.id, due, FirstOrRepeat::Repeat, list_time, now.monotonic);
        self.enqueue_spare(tracked, due);
        Some(expected)
    }
}

pub(super) fn utc_at(expected: MonotonicTime, now: ClockReading) -> UtcTime {
    now.utc.plus(expected.duration_since(now.monotonic))
}
