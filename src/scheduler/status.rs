//! The scheduler's state as others see it: a [`Heartbeat`] once a second, and a [`SchedulerSnapshot`] for whoever
//! asks.
//!
//! The watchdog of systemd reads heartbeats; the `status` route of the control socket and the reload ask for a
//! snapshot. Both are copies. If the loop stands still, readers get the last snapshot, which is at most a minute
//! older, and the heartbeat says so.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::sync::watch::error::RecvError;

use crate::clock::Clock;
use crate::job::{MonotonicTime, ProviderName, UtcTime};
use crate::store::StoreHealth;
use crate::tracker::ProviderReport;

#[derive(Debug, Clone)]
pub struct SchedulerSnapshot {
    /// When the snapshot was taken.
    pub taken_at: MonotonicTime,
    pub taken_at_utc: UtcTime,
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

/// Shows that the scheduler's loop runs.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    /// [`Clock::running_time`] of this heartbeat.
    running_time: Duration,
    /// Whether the unfinished jobs of the database are loaded.
    ready: bool,
    /// A provider with a poll in flight for much longer than its time-out.
    stuck_provider: Option<ProviderName>,
}

impl Heartbeat {
    const INTERVAL: Duration = Duration::from_secs(1);

    pub(super) fn new(clock: &Clock, ready: bool, stuck_provider: Option<ProviderName>) -> Self {
        Self { running_time: clock.running_time(), ready, stuck_provider }
    }

    /// Why the daemon should be restarted by the watchdog; `None` while it works. `running_time` is
    /// the reader's, since a loop that stands still cannot tell that it does.
    #[must_use]
    pub fn stall_reason(&self, running_time: Duration) -> Option<String> {
        let age = running_time.saturating_sub(self.running_time);
        if age > Self::INTERVAL * 10 {
            return Some(format!("the scheduler has not moved for {} s", age.as_secs()));
        }
        let provider = self.stuck_provider.as_ref()?;
        Some(format!("a poll of {provider} is far past its time-out"))
    }
}

impl SchedulerSnapshot {
    pub(super) fn initial(clock: &Clock) -> Self {
        Self {
            taken_at: clock.monotonic_now(),
            taken_at_utc: clock.utc_now(),
            providers: Vec::new(),
            unwritten_changes: 0,
            write_error: None,
            store_health: StoreHealth::default(),
            prune_waits_for_clock: false,
        }
    }

    /// Everything that an operator should repair, one line each, but that the loop stands still.
    #[must_use]
    pub fn degraded_reasons(&self) -> Vec<String> {
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
            .chain(self.providers.iter().filter_map(not_configured_reason))
            .chain(self.providers.iter().filter_map(outage_reason))
            .collect()
    }
}

/// Publishes heartbeats and snapshots.
#[derive(Debug)]
pub(super) struct StatusPublisher {
    heartbeat: watch::Sender<Heartbeat>,
    heartbeat_at: MonotonicTime,
    snapshot: watch::Sender<Arc<SchedulerSnapshot>>,
}

impl StatusPublisher {
    /// The longest time between two snapshots: taking one costs time in proportion to the jobs that are due.
    const MAX_SNAPSHOT_INTERVAL: Duration = Duration::from_mins(1);

    pub(super) fn new(clock: &Clock) -> Self {
        Self {
            heartbeat: watch::Sender::new(Heartbeat::new(clock, false, None)),
            heartbeat_at: clock.monotonic_now(),
            snapshot: watch::Sender::new(Arc::new(SchedulerSnapshot::initial(clock))),
        }
    }

    pub(super) fn subscribe(&self) -> StatusReader {
        let (heartbeat, snapshot) = (self.heartbeat.subscribe(), self.snapshot.subscribe());
        StatusReader { heartbeat, snapshot }
    }

    /// Whether a heartbeat should be published now. A change of `ready` is published at once.
    pub(super) fn heartbeat_is_due(&self, now: MonotonicTime, ready: bool) -> bool {
        self.next_heartbeat_at() <= now || self.heartbeat.borrow().ready != ready
    }

    pub(super) fn next_heartbeat_at(&self) -> MonotonicTime {
        self.heartbeat_at.plus(Heartbeat::INTERVAL)
    }

    pub(super) fn snapshot_is_due(&self, now: MonotonicTime) -> bool {
        now.duration_since(self.snapshot.borrow().taken_at) >= Self::MAX_SNAPSHOT_INTERVAL
    }

    /// Wakes those who wait for the scheduler to be ready; all others read a heartbeat when they need one.
    pub(super) fn publish_heartbeat(&mut self, heartbeat: Heartbeat, now: MonotonicTime) {
        self.heartbeat_at = now;
        self.heartbeat.send_if_modified(|last| {
            let ready_changed = last.ready != heartbeat.ready;
            *last = heartbeat;
            ready_changed
        });
    }

    pub(super) fn publish_snapshot(&mut self, snapshot: SchedulerSnapshot) {
        self.snapshot.send_replace(Arc::new(snapshot));
    }
}

/// Reads what was published last.
#[derive(Debug, Clone)]
pub(super) struct StatusReader {
    heartbeat: watch::Receiver<Heartbeat>,
    snapshot: watch::Receiver<Arc<SchedulerSnapshot>>,
}

impl StatusReader {
    pub(super) fn heartbeat(&self) -> Heartbeat {
        self.heartbeat.borrow().clone()
    }

    pub(super) fn snapshot(&self) -> Arc<SchedulerSnapshot> {
        self.snapshot.borrow().clone()
    }

    /// # Errors
    /// If the scheduler ends first.
    pub(super) async fn wait_until_ready(&mut self) -> Result<(), RecvError> {
        self.heartbeat.wait_for(|heartbeat| heartbeat.ready).await.map(drop)
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
