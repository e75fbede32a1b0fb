//! What the rate limiters take over from the process before, and what they leave to the next one.
//!
//! Called by [`super::configure`] with the first settings, and by the scheduler at the end. What is left belongs to
//! the providers of an account, not to its name, because only their requests are known. Invariant: providers that
//! have no state of their own have the state [`OTHER_PROVIDERS`] only if none of them can have sent a request that
//! counts.

use std::time::Duration;

use crate::job::MonotonicTime;
use crate::policy::{RateLimiterState, RateLimiterStates};

use super::account::EarlierProcess;
use super::message::{AccountIndex, ProviderSettings};
use super::registry::Tracker;

/// In place of the names of providers: all that are not named.
const OTHER_PROVIDERS: &str = "";

const IDLE: RateLimiterState =
    RateLimiterState { next_slot: Duration::ZERO, completed: Vec::new() };

impl Tracker {
    /// What each account knows of the process before, in the order of the accounts.
    pub(super) fn take_earlier_processes(&mut self) -> Vec<EarlierProcess> {
        let mut left = std::mem::take(&mut self.left_states);
        let others = left.remove(OTHER_PROVIDERS);
        let accounts = 0..self.accounts.len();
        let names: Vec<_> = accounts.map(|account| self.provider_names(account)).collect();
        // A provider that is missing now may have another name, or share another account.
        let others = others.filter(|_| left.keys().all(|providers| names.contains(providers)));
        if others.is_some() {
            self.others_known_from = MonotonicTime::default();
        }
        let of_account = |providers| {
            let state = left.remove(providers).or_else(|| others.clone());
            state.map_or_else(|| self.earlier_process.clone(), EarlierProcess::Left)
        };
        names.iter().map(of_account).collect()
    }

    /// What the rate limiters leave to the next process if no more requests are sent. An account is missing if its
    /// requests are not all known.
    #[must_use]
    pub fn rate_limiter_states(&self, now: MonotonicTime) -> RateLimiterStates {
        let mut states = RateLimiterStates::new();
        let mut others_are_idle = now >= self.others_known_from;
        for (index, account) in self.accounts.iter().enumerate() {
            let state = account.rate_limiter_state(now);
            let providers = self.provider_names(index);
            if providers.is_empty() {
                others_are_idle &= state.is_some_and(|state| state.completed.is_empty());
            } else if let Some(state) = state {
                states.insert(providers, state);
            } else {
                others_are_idle = false;
            }
        }
        if others_are_idle {
            states.insert(OTHER_PROVIDERS.to_owned(), IDLE);
        }
        states
    }

    pub(super) fn configured_providers(
        &self,
        account: usize,
    ) -> impl Iterator<Item = &ProviderSettings> {
        let queues = self.queues.iter();
        let queues = queues.filter(move |queue| queue.account_index == AccountIndex(account));
        queues.filter_map(|queue| queue.settings.as_ref())
    }

    /// The names of the configured providers of an account, in alphabetical order.
    fn provider_names(&self, account: usize) -> String {
        let names = self.configured_providers(account).map(|own| own.name.as_str());
        let mut names = names.collect::<Vec<_>>();
        names.sort_unstable();
        names.join(", ")
    }
}
