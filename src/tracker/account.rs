//! What the providers of one account share: the budget of a minute, and the key, which the service
//! locks if it is wrong too often, whichever of them shows it.

use crate::job::{Mono, Pace, ProviderError, ProviderName};
use crate::policy::Budget;

use super::health::{Health, Pause};
use super::lane::{Lane, LaneId};
use super::{LaneSettings, Tracker};

/// Whose account it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holder {
    /// That of one provider alone.
    Own(ProviderName),
    /// That of all providers that name it.
    Shared(String),
}

impl Holder {
    fn of(settings: &LaneSettings) -> Self {
        let own = || Self::Own(settings.name.clone());
        settings.account.clone().map_or_else(own, Self::Shared)
    }
}

/// One account of a service.
#[derive(Debug)]
pub(super) struct Account {
    holder: Holder,
    pub(super) budget: Budget,
    /// Whether one of its providers is configured.
    in_use: bool,
    /// When its settings were read: an answer to an earlier request tells nothing of the key of now.
    read_at: Mono,
    /// Whether one of its providers has answered well since.
    proven: bool,
    /// Refusals of the key in a row.
    strikes: u32,
    pause: Option<Pause>,
    /// Turns since the last one that was a first poll's by right.
    pub(super) turns_since_first: u8,
}

impl Account {
    pub(super) fn new(holder: Holder, now: Mono) -> Self {
        Self {
            holder,
            budget: Budget::new(1, now),
            in_use: false,
            read_at: now,
            proven: false,
            strikes: 0,
            pause: None,
            turns_since_first: 0,
        }
    }

    /// Settings were read: `limit` is the lowest of its providers', none if it has none any more.
    fn configure(&mut self, limit: Option<u32>, now: Mono) {
        match limit {
            // A minute that was spent before a provider was taken away counts when it is back.
            Some(limit) if !self.in_use => {
                let before = std::mem::replace(&mut self.budget, Budget::new(limit, now));
                self.budget.take_over(&before, before.under_way(), now);
            }
            Some(limit) => self.budget.set_limit(limit),
            None => {}
        }
        self.in_use = limit.is_some();
        self.read_at = now;
        self.proven = false;
        self.pause = None;
    }

    /// When one more request may go; none while only an answer can tell.
    pub(super) fn opens_at(&self) -> Option<Mono> {
        // A wrong key must not be shown again before we know that it is.
        if self.is_on_trial() && self.budget.under_way() > 0 {
            return None;
        }
        let opens = self.budget.opens_at()?;
        Some(self.pause.as_ref().map_or(opens, |pause| opens.max(pause.until)))
    }

    /// The pause of all its providers, which may be over.
    pub(super) fn pause(&self) -> Option<&Pause> {
        self.pause.as_ref()
    }

    fn is_on_trial(&self) -> bool {
        !self.proven || self.strikes > 0
    }

    fn is_closed(&self, now: Mono) -> bool {
        self.pause.as_ref().is_some_and(|pause| pause.until > now)
    }

    /// Takes in an answer to a request of the time `sent`; `teach` lets the provider's health learn
    /// from it, with what the account knows of the key.
    pub(super) fn learn(
        &mut self,
        health: &mut Health,
        outcome: Result<(), &ProviderError>,
        pace: Pace,
        sent: Mono,
        now: Mono,
        teach: impl FnOnce(&mut Health),
    ) {
        self.budget.end(now);
        let is_refused = matches!(outcome, Err(ProviderError::RateLimited(_)));
        if let Some(quota) = pace.quota.filter(|_| !is_refused) {
            self.budget.announce(quota, now);
        }
        let strikes = health.strikes();
        match outcome {
            Ok(()) | Err(ProviderError::NotFound(_)) => {
                if sent >= self.read_at {
                    health.prove();
                    self.prove(now);
                }
                teach(health);
            }
            Err(ProviderError::Auth(_)) => {
                let pause = self.pause.clone().filter(|_| self.is_closed(now));
                health.join(self.strikes, pause);
                teach(health);
                // One that is refused again while others are answered has no part in their key.
                if health.strikes() > strikes && (strikes == 0 || self.is_on_trial()) {
                    self.strikes = health.strikes();
                    self.pause = health.pause().cloned();
                }
            }
            Err(ProviderError::RateLimited(_)) => {
                self.budget.refuse(sent, pace.quota, now);
                teach(health);
            }
            Err(
                ProviderError::Quota(_)
                | ProviderError::Misconfigured(_)
                | ProviderError::Transient(_)
                | ProviderError::Malformed(_),
            ) => teach(health),
        }
    }

    /// A good answer: the key is right. One that comes in a pause was asked for before.
    fn prove(&mut self, now: Mono) {
        self.proven = true;
        if !self.is_closed(now) {
            self.strikes = 0;
            self.pause = None;
        }
    }
}

impl Tracker {
    /// These are the providers from now on, and these their accounts.
    pub(super) fn configure(&mut self, settings: Vec<LaneSettings>, now: Mono) {
        for lane in &mut self.lanes {
            if !settings.iter().any(|settings| settings.name == lane.name) {
                lane.configure(None);
            }
        }
        for settings in settings {
            let lane = self.lane_of(&settings.name, now);
            let account = self.account_of(Holder::of(&settings), now);
            self.move_to(lane, account, now);
            self.lanes[lane.0].configure(Some(settings));
        }
        for (index, account) in self.accounts.iter_mut().enumerate() {
            let lanes = self.lanes.iter().filter(|lane| lane.account == index);
            let limits = lanes.filter_map(|lane| Some(lane.settings.as_ref()?.requests_per_minute));
            account.configure(limits.min(), now);
        }
        for (id, record) in &mut self.jobs {
            record.reconsider(*id, &mut self.lanes[record.lane.0], now);
        }
    }

    /// The lane of this name; a new one is alone on its account until its settings say otherwise.
    pub(super) fn lane_of(&mut self, name: &ProviderName, now: Mono) -> LaneId {
        if let Some(found) = self.lane_named(name) {
            return found;
        }
        let account = self.account_of(Holder::Own(name.clone()), now);
        self.lanes.push(Lane::new(name.clone(), account));
        LaneId(self.lanes.len() - 1)
    }

    fn account_of(&mut self, holder: Holder, now: Mono) -> usize {
        let found = self.accounts.iter().position(|account| account.holder == holder);
        found.unwrap_or_else(|| {
            self.accounts.push(Account::new(holder, now));
            self.accounts.len() - 1
        })
    }

    /// What was spent goes with the provider, so that no minute of the new account holds too much.
    pub(super) fn move_to(&mut self, lane: LaneId, account: usize, now: Mono) {
        let lane = &mut self.lanes[lane.0];
        let before = std::mem::replace(&mut lane.account, account);
        if before == account {
            return;
        }
        let under_way = lane.under_way();
        let spent = self.accounts[before].budget.clone();
        self.accounts[account].budget.take_over(&spent, under_way, now);
        (0..under_way).for_each(|_| self.accounts[before].budget.end(now));
    }

    /// Time has come to `now`, for all limits.
    pub(super) fn see(&mut self, now: Mono) {
        self.accounts.iter_mut().for_each(|account| account.budget.see(now));
    }
}
