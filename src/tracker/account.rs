//! An account of a service: the rate limit and the credentials that its providers share.
//!
//! The service may lock a key after several wrong requests, whichever provider sent them, so a
//! rejected key pauses all providers of the account.

use std::time::Duration;

use crate::job::{MonotonicTime, ProviderError, ProviderErrorKind, ProviderName, RateLimitInfo};
use crate::policy::{RateLimiter, RateLimiterState};

use super::breaker::CircuitBreaker;
use super::message::ProviderSettings;
use super::price_in_force::PriceInForce;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AccountId {
    /// The account of one provider.
    Dedicated(ProviderName),
    /// The account of all providers whose settings name it.
    Shared(String),
}

impl AccountId {
    pub(super) fn from_settings(settings: &ProviderSettings) -> Self {
        let dedicated = || Self::Dedicated(settings.name.clone());
        settings.account.clone().map_or_else(dedicated, Self::Shared)
    }
}

/// What an account knows of the process before this one that used the database.
#[derive(Debug, Clone, Default)]
pub(super) enum EarlierProcess {
    /// The database is new.
    None,
    /// Nothing was loaded. The rate limit begins without credit.
    #[default]
    Unknown,
    /// It may have sent requests until this time.
    EndedAt(MonotonicTime),
    /// It ended in order and left this.
    Left(RateLimiterState),
}

/// What comes next where both first polls and repeat polls are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precedence {
    /// The poll with the highest priority, and among equals the one that was due first.
    Priority,
    /// A first poll.
    FirstPoll,
    /// As `Priority`, but a repeat poll among equals.
    RepeatPollAmongEquals,
}

#[derive(Debug)]
pub(super) struct ProviderAccount {
    pub(super) id: AccountId,
    pub(super) rate_limiter: RateLimiter,
    pub(super) breaker: CircuitBreaker,
    pub(super) price_in_force: PriceInForce,
    /// Whether one of its providers is configured.
    is_configured: bool,
    /// When settings were last applied.
    configured_at: MonotonicTime,
    /// Each request adds one, and each first poll that is sent before repeat polls costs
    /// [`Self::REQUESTS_PER_FIRST_POLL`], which must be left.
    first_poll_allowance: u32,
    /// The first polls that were sent since the last repeat poll while both competed.
    first_polls_in_a_row: u32,
}

impl ProviderAccount {
    /// While first polls and repeat polls compete, at least one request in this many is a first poll.
    const REQUESTS_PER_FIRST_POLL: u32 = 4;
    /// While they compete and no expected delay decides, at least one request in this many is a repeat poll: an add of
    /// many jobs must not stop the polls of the others.
    const REQUESTS_PER_REPEAT_POLL: u32 = 4;
    /// Jobs that a person adds together get their first polls at once. Where many jobs are added all the time, more
    /// would delay the ends of jobs, which repeat polls find.
    const MAX_FIRST_POLLS_IN_A_ROW: u32 = 10;

    pub(super) fn new(id: AccountId, now: MonotonicTime) -> Self {
        // Replaced when a provider is configured; it has nothing to take over.
        let mut rate_limiter = RateLimiter::new(1, now);
        rate_limiter.follow_idle_time(now);
        Self {
            id,
            rate_limiter,
            breaker: CircuitBreaker::default(),
            price_in_force: PriceInForce::default(),
            is_configured: false,
            configured_at: now,
            first_poll_allowance: u32::MAX,
            first_polls_in_a_row: 0,
        }
    }

    /// Applies new settings. `limit` is the lowest limit of its configured providers, in requests
    /// per minute; none if no provider of the account is configured. `connection_changed`: the requests
    /// of one of its providers reach the service in another way.
    pub(super) fn configure(
        &mut self,
        limit: Option<u32>,
        connection_changed: bool,
        earlier_process: EarlierProcess,
        now: MonotonicTime,
    ) {
        match limit {
            // Requests sent before all providers were removed still count when one comes back.
            Some(limit) if !self.is_configured => {
                let previous =
                    std::mem::replace(&mut self.rate_limiter, RateLimiter::new(limit, now));
                match earlier_process {
                    EarlierProcess::None => self.rate_limiter.follow_idle_time(now),
                    EarlierProcess::Unknown => {}
                    EarlierProcess::EndedAt(end) => self.rate_limiter.follow_unknown_requests(end),
                    EarlierProcess::Left(state) => self.rate_limiter.follow_state(&state, now),
                }
                self.rate_limiter.absorb(&previous, previous.in_flight(), now);
            }
            Some(limit) => self.rate_limiter.set_configured_limit(limit, now),
            None => {}
        }
        self.is_configured = limit.is_some();
        self.configured_at = now;
        self.breaker.enter_half_open(connection_changed);
    }

    /// What the rate limiter leaves to the next process; none if the requests of the last minute are not all
    /// known.
    pub(super) fn rate_limiter_state(&self, now: MonotonicTime) -> Option<RateLimiterState> {
        let mut rate_limiter = self.rate_limiter.clone();
        rate_limiter.advance(now);
        // A pause earns no credit.
        let paused_until =
            if self.breaker.is_rate_limited() { now } else { self.breaker.ready_at().min(now) };
        rate_limiter.discard_credit(paused_until);
        rate_limiter.state(now)
    }

    /// When the next request may be sent; none if an answer must come first.
    pub(super) fn ready_at(&self) -> Option<MonotonicTime> {
        // A key that may be wrong must not be sent a second time before the answer is known.
        if self.breaker.is_half_open() && self.rate_limiter.in_flight() > 0 {
            return None;
        }
        Some(self.rate_limiter.next_available_at()?.max(self.breaker.ready_at()))
    }

    /// When the rate limit allows the next request, if its even pace would allow more than two before: after a start,
    /// for instance, because requests of the earlier process count.
    pub(super) fn held_until(&self, now: MonotonicTime) -> Option<MonotonicTime> {
        let two_requests = Duration::from_mins(2) / self.rate_limiter.limit_at(now);
        self.rate_limiter.next_available_at().filter(|at| *at > now.plus(two_requests))
    }

    /// Counts a request that is sent now.
    pub(super) fn count_request(&mut self, now: MonotonicTime) {
        // The service asked for fewer requests, so a burst does not follow a pause.
        self.rate_limiter.discard_credit(self.breaker.ready_at().min(now));
        self.rate_limiter.acquire(now);
        self.first_poll_allowance =
            self.first_poll_allowance.saturating_add(1).min(self.max_first_poll_allowance());
    }

    /// Whether a request sent at `sent_at` used the current settings.
    pub(super) fn is_current(&self, sent_at: MonotonicTime) -> bool {
        sent_at >= self.configured_at
    }

    /// Updates the rate limiter with the outcome of a request that was sent at `sent_at`, and pauses for
    /// its `Retry-After`. The breaker combines that of a rejection because of the rate limit with pauses of
    /// its own.
    pub(super) fn complete_request(
        &mut self,
        outcome: Result<(), &ProviderError>,
        rate_limit: RateLimitInfo,
        sent_at: MonotonicTime,
        now: MonotonicTime,
    ) {
        self.rate_limiter.complete(now);
        if self.breaker.is_rate_limited() {
            // Until this answer to a probe, no other request was allowed.
            self.rate_limiter.discard_credit(now);
        }
        if outcome.is_err_and(|error| error.kind == ProviderErrorKind::RateLimited) {
            return self.rate_limiter.record_rejection(sent_at, rate_limit.quota, now);
        }
        if let Some(quota) = rate_limit.quota {
            self.rate_limiter.set_announced_quota(quota, now);
        }
        if let Some(retry_after) = rate_limit.retry_after {
            let reason = outcome.err().map(ToString::to_string);
            self.breaker.pause_for_retry_after(retry_after, reason, now);
        }
    }

    /// Pauses if the answer says that no request is left in the window.
    pub(super) fn pause_for_used_up_window(
        &mut self,
        rate_limit: RateLimitInfo,
        now: MonotonicTime,
    ) {
        if let Some((0, reset)) = rate_limit.remaining {
            self.breaker.pause_for_window(reset, now);
        }
    }

    /// The answer to a request tells nothing about other requests: only its limits count.
    pub(super) fn complete_inconclusive_request(
        &mut self,
        outcome: Result<(), &ProviderError>,
        rate_limit: RateLimitInfo,
        sent_at: MonotonicTime,
        now: MonotonicTime,
    ) {
        self.complete_request(outcome, rate_limit, sent_at, now);
        self.pause_for_used_up_window(rate_limit, now);
    }

    /// Allows a quarter of a minute's requests in a row, but not more than [`Self::MAX_FIRST_POLLS_IN_A_ROW`]: each of
    /// these first polls lowers the allowance by one less than it costs.
    fn max_first_poll_allowance(&self) -> u32 {
        let limit = self.rate_limiter.current_limit();
        let in_a_row = limit.div_ceil(4).min(Self::MAX_FIRST_POLLS_IN_A_ROW);
        in_a_row.saturating_mul(Self::REQUESTS_PER_FIRST_POLL - 1).saturating_add(1)
    }

    /// What comes next while first polls and repeat polls compete. Credit is for first polls: it is earned while
    /// nothing else was due.
    pub(super) fn precedence(&self, now: MonotonicTime) -> Precedence {
        if self.rate_limiter.has_credit(now)
            || self.first_poll_allowance >= Self::REQUESTS_PER_FIRST_POLL
        {
            Precedence::FirstPoll
        } else if self.first_polls_in_a_row >= Self::REQUESTS_PER_REPEAT_POLL - 1 {
            Precedence::RepeatPollAmongEquals
        } else {
            Precedence::Priority
        }
    }

    /// Counts a poll that is sent now while first polls and repeat polls compete.
    pub(super) fn count_competing_poll(&mut self, is_first_poll: bool, precedence: Precedence) {
        if !is_first_poll {
            self.first_polls_in_a_row = 0;
            return;
        }
        self.first_polls_in_a_row = self.first_polls_in_a_row.saturating_add(1);
        if precedence == Precedence::FirstPoll {
            self.first_poll_allowance =
                self.first_poll_allowance.saturating_sub(Self::REQUESTS_PER_FIRST_POLL);
        }
    }
}
