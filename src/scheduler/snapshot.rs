//! What only the scheduler knows, published a few times a second for everybody who looks: the
//! `status` of the control room, the watchdog of systemd.

use std::time::Duration;

use crate::job::{MonotonicTime, ProviderName, UtcTime};
use crate::store::StoreHealth;
use crate::tracker::ProviderReport;

/// How the scheduler is doing.
#[derive(Debug, Clone)]
pub struct SchedulerSnapshot {
    /// When it was made, by the stopwatch: how long ago the loop last went round.
    pub taken_at: MonotonicTime,
    /// The same, by the calendar.
    pub taken_at_utc: UtcTime,
    /// Whether the jobs of an earlier life are loaded, so that polling goes on.
    pub ready: bool,
    /// One for each provider that has jobs or is configured.
    pub providers: Vec<ProviderSnapshot>,
    /// Changes that are decided and not yet committed.
    pub unwritten_changes: u64,
    /// Why nothing can be written at present.
    pub write_error: Option<String>,
    /// The condition of the store after the last commit.
    pub store_health: StoreHealth,
}

/// How one provider is doing.
#[derive(Debug, Clone)]
pub struct ProviderSnapshot {
    /// The tracker's own account.
    pub report: ProviderReport,
    /// The provider's kind; none if it is not configured.
    pub kind: Option<&'static str>,
}

impl SchedulerSnapshot {
    /// The loop goes round at least this often.
    pub const MAX_PUBLISH_INTERVAL: Duration = Duration::from_secs(1);

    pub(super) fn initial(taken_at: MonotonicTime, taken_at_utc: UtcTime) -> Self {
        Self {
            taken_at,
            taken_at_utc,
            ready: false,
            providers: Vec::new(),
            unwritten_changes: 0,
            write_error: None,
            store_health: StoreHealth::default(),
        }
    }

    /// Why the process should be taken for hung; none if polls that are due are being done.
    #[must_use]
    pub fn stall_reason(&self, now: MonotonicTime) -> Option<String> {
        let age = now.duration_since(self.taken_at);
        if age > Self::MAX_PUBLISH_INTERVAL * 10 {
            return Some(format!("the scheduler has not moved for {} s", age.as_secs()));
        }
        let provider = self.providers.iter().find(|lane| lane.report.has_stuck_poll)?;
        Some(format!("a poll of {} should have ended long ago", provider.report.provider))
    }

    /// Whether this provider refuses us and is left alone: its name, why, and how long still.
    #[must_use]
    pub fn rejection_pause(
        &self,
        provider: &ProviderName,
    ) -> Option<(&ProviderName, &str, Duration)> {
        let report = self
            .providers
            .iter()
            .map(|lane| &lane.report)
            .find(|report| report.provider == *provider)?;
        let pause = report.pause.as_ref()?;
        Some((
            &report.provider,
            pause.reason.as_deref()?,
            pause.until.duration_since(self.taken_at),
        ))
    }

    /// What an operator should mend, a line each.
    #[must_use]
    pub fn degraded_reasons(&self) -> Vec<String> {
        let write_failure = self
            .write_error
            .iter()
            .map(|why| format!("{why}; {} changes wait to be written", self.unwritten_changes));
        let store_warning = self.store_health.warning.clone();
        let stalled = self.stall_reason(self.taken_at);
        let not_configured =
            self.providers.iter().filter(|lane| !lane.report.configured).map(|lane| {
                let jobs = lane.report.active_jobs;
                format!(
                    "provider {} is not configured; {jobs} jobs of it wait",
                    lane.report.provider
                )
            });
        let in_outage = self.providers.iter().filter_map(|lane| {
            let (name, outage_since) = (&lane.report.provider, lane.report.outage_since?);
            let reason = match &lane.report.pause {
                Some(pause) => pause.reason.as_deref().unwrap_or("its limit is used up"),
                None => "polls fail",
            };
            Some(format!("provider {name} gives no answers since {outage_since}: {reason}"))
        });
        write_failure
            .chain(store_warning)
            .chain(stalled)
            .chain(not_configured)
            .chain(in_outage)
            .collect()
    }
}
