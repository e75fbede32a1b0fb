//! Plans polls again that were planned with another price: a user set the price of a job, or a reload brought
//! another policy. No answer leads to the new time, so the tracker has it recorded.
//!
//! A job that is added again is planned at once; the jobs that [`super::configure`] names are planned some at a time, so that
//! a million of them do not stop the others. A job with a poll in flight is planned by the answer.

use std::time::Duration;

use crate::job::{ClockReading, JobId, MonotonicTime, UtcTime};

use super::account::ProviderAccount;
use super::job::TrackedJob;
use super::message::Action;
use super::provider_queue::{FirstOrRepeat, ProviderQueue};
use super::registry::Tracker;
use super::valuation::NextPoll;

impl Tracker {
    /// How many jobs are planned in one turn: some ten milliseconds.
    const MAX_REPLANS: usize = 1000;
    /// Other inputs are handled meanwhile.
    const REPLAN_PAUSE: Duration = Duration::from_millis(1);

    /// Plans some of the polls that a reload has put off, and has the new times recorded.
    pub(super) fn replan_some(&mut self, now: ClockReading, actions: &mut Vec<Action>) {
        if self.jobs_to_replan.is_empty() || now.monotonic < self.replans_from {
            return;
        }
        let rest = self.jobs_to_replan.len().saturating_sub(Self::MAX_REPLANS);
        self.replans_from = now.monotonic.plus(Self::REPLAN_PAUSE);
        let mut next_polls = Vec::new();
        let planned = self.jobs_to_replan.split_off(rest);
        if rest == 0 {
            // Of a million jobs, eight megabytes.
            self.jobs_to_replan = Vec::new();
        }
        for id in planned {
            let Some(tracked) = self.jobs.get_mut(id) else { continue };
            let queue = &mut self.queues[tracked.provider_index.position()];
            let account = &self.accounts[queue.account_index.0];
            let due_before = tracked.phase().due();
            let expected = queue.replan(tracked, account, now);
            let due = tracked.phase().due();
            if due.is_none() || due != due_before {
                next_polls.extend(expected.map(|expected| (id, utc_at(expected, now))));
            }
        }
        if !next_polls.is_empty() {
            actions.push(Action::RecordNextPolls(next_polls));
        }
    }

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
