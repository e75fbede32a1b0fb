//! The scheduler's state as others see it: a [`Heartbeat`] once a second, and a [`SchedulerSnapshot`] for whoever
//! asks.
//!
//! The watchdog of systemd reads heartbeats; the `status` route of the control socket and the reload ask for a
//! snapshot. Both are copies. If the loop stands still, readers get the last snapshot, which is at most a minute
//! older, and the heartbeat says so.
//!
//! A snapshot costs time in proportion to the jobs that are due. So the more there are, the longer those who ask
//! wait for the next snapshot, which they share: a snapshot is never older than the request that it answers.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch::error::RecvError;
use tokio::sync::{oneshot, watch};

use crate::clock::Clock;
use crate::job::{MonotonicTime, ProviderName, UtcTime, counted, format_duration};
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
            return Some(format!("the scheduler has not moved for {}", format_duration(age)));
        }
        let provider = self.stuck_provider.as_ref()?;
        Some(format!("a poll of {provider} is far past its time-out"))
    }
}

impl SchedulerSnapshot {
    /// Less than the time for which those who ask wait for a snapshot.
    const MAX_MIN_INTERVAL: Duration = Duration::from_millis(500);

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

    /// The shortest time from this snapshot to the next. 10,000 due jobs are counted in much less than 1 ms.
    fn min_interval(&self) -> Duration {
        let due_jobs: u64 = self.providers.iter().map(|provider| provider.report.due_polls).sum();
        Duration::from_millis(due_jobs / 10_000).min(Self::MAX_MIN_INTERVAL)
    }

    /// Everything that an operator should repair, one line each, but that the loop stands still.
    #[must_use]
    pub fn degraded_reasons(&self) -> Vec<String> {
        let unwritten = counted(self.unwritten_changes, "change");
        let write_failure =
            self.write_error.iter().map(|error| format!("{error}; not written yet: {unwritten}"));
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
    /// Those who asked for a snapshot since the last one.
    snapshot_waiters: Vec<oneshot::Sender<()>>,
}

impl StatusPublisher {
    /// The longest time between two snapshots, if nobody asks for one.
    const MAX_SNAPSHOT_INTERVAL: Duration = Duration::from_mins(1);

    pub(super) fn new(clock: &Clock) -> Self {
        Self {
            heartbeat: watch::Sender::new(Heartbeat::new(clock, false, None)),
            heartbeat_at: clock.monotonic_now(),
            snapshot: watch::Sender::new(Arc::new(SchedulerSnapshot::initial(clock))),
            snapshot_waiters: Vec::new(),
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

    fn next_heartbeat_at(&self) -> MonotonicTime {
        self.heartbeat_at.plus(Heartbeat::INTERVAL)
    }

    /// Sends a reply once a snapshot is published that is taken after this call.
    pub(super) fn request_snapshot(&mut self, reply: oneshot::Sender<()>) {
        self.snapshot_waiters.push(reply);
    }

    pub(super) fn snapshot_is_due(&self, now: MonotonicTime) -> bool {
        self.next_snapshot_at() <= now
    }

    fn next_snapshot_at(&self) -> MonotonicTime {
        let last = self.snapshot.borrow();
        last.taken_at.plus(if self.snapshot_waiters.is_empty() {
            Self::MAX_SNAPSHOT_INTERVAL
        } else {
            last.min_interval()
        })
    }

    /// When to publish next, if `ready` does not change.
    pub(super) fn next_wakeup(&self) -> MonotonicTime {
        self.next_heartbeat_at().min(self.next_snapshot_at())
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
        for reply in self.snapshot_waiters.drain(..) {
            // Fails if the one who asked has stopped waiting.
            let _ = reply.send(());
        }
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
            "provider {provider} is not configured; not polled: {}; add \
             [providers.{provider}] and run `jobtrack reload`",
            counted(*active_jobs, "unfinished job")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot_with_due_jobs(due_polls: u64, taken_at: MonotonicTime) -> SchedulerSnapshot {
        let report = ProviderReport {
            provider: "dune".parse().expect("a name"),
            configured: true,
            active_jobs: due_polls,
            due_polls,
            longest_overdue: Duration::ZERO,
            mean_detection_delay: None,
            in_flight: 0,
            requests_last_minute: 0,
            requests_per_minute: 30,
            held_until: None,
            price: None,
            price_in_force: 0.0,
            consecutive_failures: 0,
            last_failed_poll: None,
            outage_since: None,
            pause: None,
            unknown_states: Vec::new(),
        };
        let providers = vec![ProviderSnapshot { report, kind: Some("dune") }];
        let initial = SchedulerSnapshot::initial(&Clock::start());
        SchedulerSnapshot { taken_at, providers, ..initial }
    }

    #[test]
    fn with_many_due_jobs_those_who_ask_share_a_snapshot_that_is_taken_after_they_asked() {
        let at = MonotonicTime::from_millis;
        let mut publisher = StatusPublisher::new(&Clock::start());
        let ask = |publisher: &mut StatusPublisher| {
            let (reply, response) = oneshot::channel();
            publisher.request_snapshot(reply);
            response
        };
        publisher.publish_snapshot(snapshot_with_due_jobs(9_999, at(1000)));
        assert!(!publisher.snapshot_is_due(at(1000)), "nobody asked");
        let mut first = ask(&mut publisher);
        assert!(publisher.snapshot_is_due(at(1000)), "few jobs are counted at once");
        assert!(first.try_recv().is_err(), "the published snapshot is older than the request");
        publisher.publish_snapshot(snapshot_with_due_jobs(1_000_000, at(1000)));
        assert_eq!(first.try_recv(), Ok(()));

        let (mut second, mut third) = (ask(&mut publisher), ask(&mut publisher));
        assert!(!publisher.snapshot_is_due(at(1099)));
        assert!(publisher.snapshot_is_due(at(1100)));
        assert!(publisher.next_wakeup() <= at(1100));
        publisher.publish_snapshot(snapshot_with_due_jobs(1_000_000, at(1100)));
        assert_eq!((second.try_recv(), third.try_recv()), (Ok(()), Ok(())));
        publisher.publish_snapshot(snapshot_with_due_jobs(1_000_000_000, at(2000)));
        let _fourth = ask(&mut publisher);
        assert!(publisher.snapshot_is_due(at(2500)), "before those who ask give up");
    }
}
