//! The scheduler's state as others see it: [`SchedulerSnapshot`], published at least once a second.
//!
//! The `status` route of the control socket, the reload and systemd's watchdog read it. A snapshot
//! is a copy, so that readers never wait for the scheduler's loop.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::job::{MonotonicTime, UtcTime};
use crate::store::StoreHealth;
use crate::tracker::ProviderReport;

#[derive(Debug, Clone)]
pub struct SchedulerSnapshot {
    /// When the snapshot was taken.
    pub taken_at: MonotonicTime,
    pub taken_at_utc: UtcTime,
    /// [`Clock::running_time`](crate::clock::Clock::running_time) of the snapshot; the age shows
    /// whether the scheduler's loop still runs.
    pub running_time: Duration,
    /// Whether the unfinished jobs of the database are loaded.
    pub ready: bool,
    /// Each provider that is configured or has unfinished jobs.
    pub providers: Vec<ProviderSnapshot>,
    /// Changes of jobs that are decided and not committed.
    pub unwritten_changes: u64,
    /// The error of the last write, until a write succeeds.
    pub write_error: Option<String>,
    /// The condition of the store after the last commit.
    pub store_health: StoreHealth,
    /// Whether old jobs are not deleted, because the time is not certain.
    pub prune_waits_for_clock: bool,
}

#[derive(Debug, Clone)]
pub struct ProviderSnapshot {
    pub report: ProviderReport,
    /// The provider's kind; `None` if the provider is not configured.
    pub kind: Option<&'static str>,
}

impl SchedulerSnapshot {
    /// The longest time between two snapshots.
    const MAX_PUBLISH_INTERVAL: Duration = Duration::from_secs(1);

    pub(super) fn initial(clock: &Clock) -> Self {
        Self {
            taken_at: clock.monotonic_now(),
            taken_at_utc: clock.utc_now(),
            running_time: clock.running_time(),
            ready: false,
            providers: Vec::new(),
            unwritten_changes: 0,
            write_error: None,
            store_health: StoreHealth::default(),
            prune_waits_for_clock: false,
        }
    }

    /// Why the daemon should be restarted by the watchdog; `None` while it works. `running_time` is
    /// the reader's, since a loop that stands still cannot tell that it does.
    #[must_use]
    pub fn stall_reason(&self, running_time: Duration) -> Option<String> {
        let age = running_time.saturating_sub(self.running_time);
        if age > Self::MAX_PUBLISH_INTERVAL * 10 {
            return Some(format!("the scheduler has not moved for {} s", age.as_secs()));
        }
        let provider = self.providers.iter().find(|provider| provider.report.has_stuck_poll)?;
        Some(format!("a poll of {} is far past its time-out", provider.report.provider))
    }

    /// Everything that an operator should repair, one line each. `running_time` is the reader's.
    #[must_use]
    pub fn degraded_reasons(&self, running_time: Duration) -> Vec<String> {
        let write_failure = self
            .write_error
            .iter()
            .map(|error| format!("{error}; {} changes wait to be written", self.unwritten_changes));
        write_failure
            .chain(self.store_health.warning.clone())
            .chain(self.prune_waits_for_clock.then(|| {
                "old jobs are not deleted: the clock is not set, or more than a day ahead of the last time in the \
                 database; deletion resumes when a provider's answer confirms the time, or when the \
                 clock has been steady for 24 h"
                    .to_owned()
            }))
            .chain(self.stall_reason(running_time))
            .chain(self.providers.iter().filter_map(not_configured_reason))
            .chain(self.providers.iter().filter_map(outage_reason))
            .collect()
    }
}

/// Publishes snapshots, not more often than readers need them.
#[derive(Debug)]
pub(super) struct SnapshotPublisher {
    sender: watch::Sender<Arc<SchedulerSnapshot>>,
    /// Whether a snapshot waits for the end of the minimum interval.
    is_postponed: bool,
}

impl SnapshotPublisher {
    /// A snapshot costs a pass over all providers; the loop may run thousands of times a second.
    const MIN_INTERVAL: Duration = Duration::from_millis(100);

    pub(super) fn new(initial: SchedulerSnapshot) -> Self {
        Self { sender: watch::Sender::new(Arc::new(initial)), is_postponed: false }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<SchedulerSnapshot>> {
        self.sender.subscribe()
    }

    /// Returns whether a snapshot should be published now; if not, plans it for the end of the minimum
    /// interval. A change of `ready` is published at once.
    pub(super) fn check_due(&mut self, now: MonotonicTime, ready: bool) -> bool {
        let last = self.sender.borrow();
        self.is_postponed =
            last.ready == ready && now.duration_since(last.taken_at) < Self::MIN_INTERVAL;
        !self.is_postponed
    }

    pub(super) fn next_publish_at(&self) -> MonotonicTime {
        let interval = if self.is_postponed {
            Self::MIN_INTERVAL
        } else {
            SchedulerSnapshot::MAX_PUBLISH_INTERVAL
        };
        self.sender.borrow().taken_at.plus(interval)
    }

    /// Wakes those who wait for the scheduler to be ready; all others read a snapshot when they need one.
    pub(super) fn publish(&mut self, snapshot: SchedulerSnapshot) {
        self.sender.send_if_modified(|last| {
            let ready_changed = last.ready != snapshot.ready;
            *last = Arc::new(snapshot);
            ready_changed
        });
    }
}

fn not_configured_reason(provider: &ProviderSnapshot) -> Option<String> {
    let ProviderReport { provider, configured, active_jobs, .. } = &provider.report;
    (!configured).then(|| {
        format!(
            "provider {provider} is not configured; {active_jobs} unfinished jobs are not polled; add \
             [providers.{provider}] and run `jobtrack reload`"
        )
    })
}

fn outage_reason(provider: &ProviderSnapshot) -> Option<String> {
    let ProviderReport { provider, configured, pause, outage_since, .. } = &provider.report;
    let since = outage_since.filter(|_| *configured)?;
    let reason = match pause {
        Some(pause) => {
            format!(" ({})", pause.reason.as_deref().unwrap_or("its rate limit is exhausted"))
        }
        None => String::new(),
    };
    Some(format!(
        "polls of provider {provider} have failed since {since}{reason}; run `jobtrack check \
         {provider}`"
    ))
}
