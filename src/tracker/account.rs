//! What the providers of one account share: the budget of a minute, and the key, which the service
//! locks if it is wrong too often, whichever of them shows it.

use crate::job::{MonotonicTime, ProviderError, ProviderErrorKind, ProviderName, RateLimitInfo};
use crate::policy::RateLimiter;

use super::breaker::{ProviderHealth, RequestPause};
use super::provider_queue::{ProviderIndex, ProviderQueue};
use super::{ProviderSettings, Tracker};

/// Whose account it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AccountId {
    /// That of one provider alone.
    Dedicated(ProviderName),
    /// That of all providers that name it.
    Shared(String),
}

impl AccountId {
    fn from_settings(settings: &ProviderSettings) -> Self {
        let dedicated = || Self::Dedicated(settings.name.clone());
        settings.account.clone().map_or_else(dedicated, Self::Shared)
    }
}

/// One account of a service.
#[derive(Debug)]
pub(super) struct ProviderAccount {
    id: AccountId,
    pub(super) rate_limiter: RateLimiter,
    /// Whether one of its providers is configured.
    is_configured: bool,
    /// When its settings were read: an answer to an earlier request tells nothing of the key of now.
    configured_at: MonotonicTime,
    /// Whether one of its providers has answered well since.
    credentials_verified: bool,
    /// Refusals of the key in a row.
    consecutive_rejections: u32,
    pause: Option<RequestPause>,
    /// Turns since the last one that was a first poll's by right.
    pub(super) selections_since_first_poll: u8,
}

impl ProviderAccount {
    pub(super) fn new(id: AccountId, now: MonotonicTime) -> Self {
        Self {
            id,
            rate_limiter: RateLimiter::new(1, now),
            is_configured: false,
            configured_at: now,
            credentials_verified: false,
            consecutive_rejections: 0,
            pause: None,
            selections_since_first_poll: 0,
        }
    }

    /// Settings were read: `limit` is the lowest of its providers', none if it has none any more.
    fn configure(&mut self, limit: Option<u32>, now: MonotonicTime) {
        match limit {
            // A minute that was spent before a provider was taken away counts when it is back.
            Some(limit) if !self.is_configured => {
                let previous =
                    std::mem::replace(&mut self.rate_limiter, RateLimiter::new(limit, now));
                self.rate_limiter.absorb(&previous, previous.in_flight(), now);
            }
            Some(limit) => self.rate_limiter.set_configured_limit(limit),
            None => {}
        }
        self.is_configured = limit.is_some();
        self.configured_at = now;
        self.credentials_verified = false;
        self.pause = None;
    }

    /// When one more request may go; none while only an answer can tell.
    pub(super) fn ready_at(&self) -> Option<MonotonicTime> {
        // A wrong key must not be shown again before we know that it is.
        if self.is_half_open() && self.rate_limiter.in_flight() > 0 {
            return None;
        }
        let ready_at = self.rate_limiter.next_available_at()?;
        Some(self.pause.as_ref().map_or(ready_at, |pause| ready_at.max(pause.until)))
    }

    /// The pause of all its providers, which may be over.
    pub(super) fn pause(&self) -> Option<&RequestPause> {
        self.pause.as_ref()
    }

    fn is_half_open(&self) -> bool {
        !self.credentials_verified || self.consecutive_rejections > 0
    }

    fn is_paused(&self, now: MonotonicTime) -> bool {
        self.pause.as_ref().is_some_and(|pause| pause.until > now)
    }

    /// Takes in an answer to a request of the time `sent`; `teach` lets the provider's health learn
    /// from it, with what the account knows of the key.
    pub(super) fn record_outcome(
        &mut self,
        health: &mut ProviderHealth,
        outcome: Result<(), &ProviderError>,
        rate_limit: RateLimitInfo,
        sent_at: MonotonicTime,
        now: MonotonicTime,
        update_health: impl FnOnce(&mut ProviderHealth),
    ) {
        self.rate_limiter.complete(now);
        let kind = outcome.map_err(|error| error.kind);
        let is_rate_limited = kind == Err(ProviderErrorKind::RateLimited);
        if let Some(quota) = rate_limit.quota.filter(|_| !is_rate_limited) {
            self.rate_limiter.set_announced_quota(quota, now);
        }
        let rejections_before = health.consecutive_rejections();
        match kind {
            Ok(()) | Err(ProviderErrorKind::NotFound) => {
                if sent_at >= self.configured_at {
                    health.mark_verified();
                    self.record_success(now);
                }
                update_health(health);
            }
            Err(ProviderErrorKind::Auth) => {
                let pause = self.pause.clone().filter(|_| self.is_paused(now));
                health.merge_account_rejections(self.consecutive_rejections, pause);
                update_health(health);
                // One that is refused again while others are answered has no part in their key.
                if health.consecutive_rejections() > rejections_before
                    && (rejections_before == 0 || self.is_half_open())
                {
                    self.consecutive_rejections = health.consecutive_rejections();
                    self.pause = health.pause().cloned();
                }
            }
            Err(ProviderErrorKind::RateLimited) => {
                self.rate_limiter.record_rejection(sent_at, rate_limit.quota, now);
                update_health(health);
            }
            Err(
                ProviderErrorKind::QuotaExceeded
                | ProviderErrorKind::Misconfigured
                | ProviderErrorKind::Transient
                | ProviderErrorKind::Malformed,
            ) => update_health(health),
        }
    }

    /// A good answer: the key is right. One that comes in a pause was asked for before.
    fn record_success(&mut self, now: MonotonicTime) {
        self.credentials_verified = true;
        if !self.is_paused(now) {
            self.consecutive_rejections = 0;
            self.pause = None;
        }
    }
}

impl Tracker {
    /// These are the providers from now on, and these their accounts.
    pub(super) fn configure(&mut self, settings: Vec<ProviderSettings>, now: MonotonicTime) {
        for queue in &mut self.queues {
            if !settings.iter().any(|settings| settings.name == queue.name) {
                queue.configure(None);
            }
        }
        for settings in settings {
            let provider_index = self.find_or_add_provider(&settings.name, now);
            let account_index = self.find_or_add_account(AccountId::from_settings(&settings), now);
            self.move_to_account(provider_index, account_index, now);
            self.queues[provider_index.0].configure(Some(settings));
        }
        for (index, account) in self.accounts.iter_mut().enumerate() {
            let queues = self.queues.iter().filter(|queue| queue.account_index == index);
            let limits =
                queues.filter_map(|queue| Some(queue.settings.as_ref()?.requests_per_minute));
            account.configure(limits.min(), now);
        }
        for (id, tracked) in &mut self.jobs {
            tracked.apply_provider_settings(*id, &mut self.queues[tracked.provider_index.0], now);
        }
    }

    /// The lane of this name; a new one is alone on its account until its settings say otherwise.
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
        ProviderIndex(self.queues.len() - 1)
    }

    fn find_or_add_account(&mut self, id: AccountId, now: MonotonicTime) -> usize {
        let found = self.accounts.iter().position(|account| account.id == id);
        found.unwrap_or_else(|| {
            self.accounts.push(ProviderAccount::new(id, now));
            self.accounts.len() - 1
        })
    }

    /// What was spent goes with the provider, so that no minute of the new account holds too much.
    pub(super) fn move_to_account(
        &mut self,
        provider_index: ProviderIndex,
        account_index: usize,
        now: MonotonicTime,
    ) {
        let queue = &mut self.queues[provider_index.0];
        let previous_index = std::mem::replace(&mut queue.account_index, account_index);
        if previous_index == account_index {
            return;
        }
        let in_flight = queue.in_flight_requests();
        let previous_limiter = self.accounts[previous_index].rate_limiter.clone();
        self.accounts[account_index].rate_limiter.absorb(&previous_limiter, in_flight, now);
        (0..in_flight).for_each(|_| self.accounts[previous_index].rate_limiter.complete(now));
    }

    /// Time has come to `now`, for all limits.
    pub(super) fn advance_rate_limiters(&mut self, now: MonotonicTime) {
        self.accounts.iter_mut().for_each(|account| account.rate_limiter.advance(now));
    }
}
