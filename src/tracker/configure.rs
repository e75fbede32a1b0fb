//! Applies a new list of providers: settings, accounts, and the due times of waiting jobs.
//!
//! Called at a start and at a reload. A provider that is missing from the list keeps its jobs, which
//! wait until the provider is configured again.

use std::collections::HashSet;

use crate::job::{ClockReading, MonotonicTime};

use super::account::AccountId;
use super::message::{AccountIndex, Action, ProviderIndex, ProviderSettings};
use super::registry::Tracker;
use super::replan::utc_at;

impl Tracker {
    /// Replaces the settings of all providers.
    pub(super) fn configure(
        &mut self,
        settings: Vec<ProviderSettings>,
        reading: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        let now = reading.monotonic;
        for queue in &mut self.queues {
            if !settings.iter().any(|settings| settings.name == queue.name) {
                queue.configure(None);
            }
        }
        let mut changed_accounts = HashSet::new();
        let mut changed_policies = HashSet::new();
        for settings in settings {
            let provider_index = self.find_or_add_provider(&settings.name, now);
            let account_index = self.find_or_add_account(AccountId::from_settings(&settings), now);
            self.move_to_account(provider_index, account_index, now);
            let queue = &mut self.queues[provider_index.position()];
            if queue.settings.as_ref().is_none_or(|before| before.policy != settings.policy) {
                changed_policies.insert(provider_index);
            }
            if queue.configure(Some(settings)) {
                changed_accounts.insert(account_index.0);
            }
        }
        let earlier_processes = self.take_earlier_processes();
        for (index, earlier_process) in earlier_processes.into_iter().enumerate() {
            let limits = self.configured_providers(index).map(|own| own.requests_per_minute);
            let limit = limits.min();
            let connection_changed = changed_accounts.contains(&index);
            self.accounts[index].configure(limit, connection_changed, earlier_process, now);
        }
        self.reschedule_jobs(&changed_policies, reading, actions);
    }

    /// Requests that were sent move with the provider, so that the new account sends no more requests
    /// per minute than its limit.
    fn move_to_account(
        &mut self,
        provider_index: ProviderIndex,
        account_index: AccountIndex,
        now: MonotonicTime,
    ) {
        let queue = &mut self.queues[provider_index.position()];
        let previous_index = std::mem::replace(&mut queue.account_index, account_index);
        if previous_index == account_index {
            return;
        }
        let in_flight = queue.in_flight_requests();
        let previous_limiter = self.accounts[previous_index.0].rate_limiter.clone();
        self.accounts[account_index.0].rate_limiter.absorb(&previous_limiter, in_flight, now);
        (0..in_flight).for_each(|_| self.accounts[previous_index.0].rate_limiter.complete(now));
    }

    /// Plans polls by the new settings, and has the new times recorded.
    fn reschedule_jobs(
        &mut self,
        changed_policies: &HashSet<ProviderIndex>,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        let mut next_polls = Vec::new();
        for tracked in self.jobs.iter_mut() {
            if changed_policies.contains(&tracked.provider_index) {
                self.jobs_to_replan.push(tracked.id);
            }
            let queue = &mut self.queues[tracked.provider_index.position()];
            let max_interval = queue.settings.as_ref().map(ProviderSettings::max_poll_interval);
            if let Some(due) = tracked.on_reconfigured(max_interval, now.monotonic)
                && queue.reschedule(tracked.id, tracked.batchable_list_time(), due)
            {
                tracked.wait_until(due);
                next_polls.push((tracked.id, utc_at(due, now)));
            }
            if let Some(due) = tracked.phase().due()
                && !queue.spare_polls.contains(tracked.id)
            {
                queue.enqueue_spare(tracked, due);
            }
        }
        if !next_polls.is_empty() {
            actions.push(Action::RecordNextPolls(next_polls));
        }
    }
}
