//! The state of each provider, for the status of the daemon and its metrics.

use std::time::Duration;

use crate::job::{MonotonicTime, ProviderName, UtcTime};
use crate::policy::PollPrice;

use super::account::ProviderAccount;
use super::breaker::RequestPause;
use super::outage::FailedPoll;
use super::provider_queue::ProviderQueue;
use super::registry::Tracker;

#[derive(Debug, Clone)]
pub struct ProviderReport {
    pub provider: ProviderName,
    pub configured: bool,
    /// Jobs that need polls: unfinished ones, and finished ones that are polled on demand.
    pub active_jobs: u64,
    /// Jobs that are due and wait for a request.
    pub due_polls: u64,
    /// How long the first of them has been due.
    pub longest_overdue: Duration,
    /// The moving average of the time from a job's end to its observation; none before the first.
    pub mean_detection_delay: Option<Duration>,
    /// Requests in flight, including cancel requests and connection checks.
    pub in_flight: u32,
    /// Requests of all providers that share the account.
    pub requests_last_minute: u32,
    /// The limit that applies now to all providers that share the account.
    pub requests_per_minute: u32,
    /// When the rate limit allows the next request; none if that is as soon as its even pace lets expect.
    pub held_until: Option<MonotonicTime>,
    /// None if jobs are polled at growing intervals.
    pub price: Option<PollPrice>,
    /// The staleness index, in seconds, that a job without a price of its own has lately needed to be polled; zero
    /// while no job had to wait.
    pub price_in_force: f64,
    pub consecutive_failures: u32,
    /// None once the same job, or a list, is answered.
    pub last_failed_poll: Option<FailedPoll>,
    /// When the current outage began; none if there is no outage.
    pub outage_since: Option<UtcTime>,
    /// The pause that ends last, of the provider and of its account. Jobs whose last request was rejected
    /// may have to wait longer.
    pub pause: Option<RequestPause>,
    /// Reported states that are missing from the state map, since the last configuration.
    pub unknown_states: Vec<String>,
}

impl Tracker {
    /// A provider with a poll in flight for much longer than its time-out.
    #[must_use]
    pub fn stuck_provider(&self, now: MonotonicTime) -> Option<ProviderName> {
        let stuck = self.queues.iter().find(|queue| queue.has_stuck_poll(now));
        stuck.map(|queue| queue.name.clone())
    }

    /// A report for each provider that is configured or has jobs or requests, sorted by name. Takes time in
    /// proportion to the due jobs.
    #[must_use]
    pub fn report(&self, now: MonotonicTime) -> Vec<ProviderReport> {
        let report = |queue: &ProviderQueue| {
            queue.provider_report(&self.accounts[queue.account_index.0], now)
        };
        let is_used = |report: &ProviderReport| {
            report.configured || report.active_jobs > 0 || report.in_flight > 0
        };
        let mut reports: Vec<_> = self.queues.iter().map(report).filter(is_used).collect();
        reports.sort_by(|a, b| a.provider.cmp(&b.provider));
        reports
    }
}

impl ProviderQueue {
    fn provider_report(&self, account: &ProviderAccount, now: MonotonicTime) -> ProviderReport {
        let (due_polls, longest_overdue) = self.due_backlog(now);
        let price = self.job_policy().learned.map(|learned| learned.rule.price);
        ProviderReport {
            provider: self.name.clone(),
            configured: self.settings.is_some(),
            active_jobs: self.active_jobs,
            due_polls,
            longest_overdue,
            mean_detection_delay: self.mean_detection_delay,
            in_flight: self.in_flight_requests(),
            requests_last_minute: account.rate_limiter.requests_last_minute(now),
            requests_per_minute: account.rate_limiter.limit_at(now),
            held_until: account.held_until(now),
            price,
            price_in_force: account.price_in_force_at(now)
                * price.unwrap_or(PollPrice::Auto).of_due_polls().as_secs_f64(),
            consecutive_failures: self.outages.consecutive_failures(),
            last_failed_poll: self.last_failed_poll.clone(),
            outage_since: self.outages.outage_since(),
            pause: self.pause(account, now),
            unknown_states: self.unknown_states.iter().cloned().collect(),
        }
    }
}
