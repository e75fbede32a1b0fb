//! How a lane is doing, for the snapshot.

use crate::job::Mono;

use super::account::Account;
use super::lane::Lane;
use super::{LaneReport, Tracker};

impl Tracker {
    /// How each lane is doing that is configured or has jobs, by name.
    #[must_use]
    pub fn report(&self, now: Mono) -> Vec<LaneReport> {
        let report = |lane: &Lane| lane.report(&self.accounts[lane.account], now);
        let is_used = |report: &LaneReport| {
            report.configured || report.active_jobs > 0 || report.in_flight > 0
        };
        let mut reports: Vec<_> = self.lanes.iter().map(report).filter(is_used).collect();
        reports.sort_by(|a, b| a.name.cmp(&b.name));
        reports
    }
}

impl Lane {
    fn report(&self, account: &Account, now: Mono) -> LaneReport {
        let (due_polls, late) = self.backlog(now);
        let pauses = self.health.pause().into_iter().chain(account.pause());
        LaneReport {
            name: self.name.clone(),
            configured: self.settings.is_some(),
            active_jobs: self.active_jobs,
            due_polls,
            late,
            lateness: self.lateness(),
            in_flight: self.under_way(),
            stuck: self.is_stuck(now),
            sent_last_minute: account.budget.spent_last_minute(now),
            requests_per_minute: account.budget.limit_at(now),
            failures: self.health.failures(),
            outage_since: self.health.outage_since(),
            pause: pauses
                .filter(|pause| pause.until > now)
                .max_by_key(|pause| pause.until)
                .cloned(),
            unknown_words: self.unknown_words().iter().cloned().collect(),
        }
    }
}
