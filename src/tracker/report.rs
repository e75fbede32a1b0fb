//! How a lane is doing, for the snapshot.

use crate::job::MonotonicTime;

use super::account::ProviderAccount;
use super::provider_queue::ProviderQueue;
use super::{ProviderReport, Tracker};

impl Tracker {
    /// How each lane is doing that is configured or has jobs, by name.
    #[must_use]
    pub fn report(&self, now: MonotonicTime) -> Vec<ProviderReport> {
        let report =
            |queue: &ProviderQueue| queue.provider_report(&self.accounts[queue.account_index], now);
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
        let pauses = self.health.pause().into_iter().chain(account.pause());
        ProviderReport {
            provider: self.name.clone(),
            configured: self.settings.is_some(),
            active_jobs: self.active_jobs,
            due_polls,
            longest_overdue,
            mean_detection_delay: self.mean_detection_delay(),
            in_flight: self.in_flight_requests(),
            has_stuck_poll: self.has_stuck_poll(now),
            requests_last_minute: account.rate_limiter.requests_last_minute(now),
            requests_per_minute: account.rate_limiter.limit_at(now),
            consecutive_failures: self.health.consecutive_failures(),
            outage_since: self.health.outage_since(),
            pause: pauses
                .filter(|pause| pause.until > now)
                .max_by_key(|pause| pause.until)
                .cloned(),
            unknown_states: self.unknown_states().iter().cloned().collect(),
        }
    }
}
