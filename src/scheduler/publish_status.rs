//! Publishes the heartbeat of the scheduler's loop and the snapshot that `status` shows. Called by the loop in
//! each turn; [`StatusPublisher`](super::status::StatusPublisher) knows what is due.

use super::event_loop::Scheduler;
use super::status::{Heartbeat, ProviderSnapshot, SchedulerSnapshot};

impl Scheduler {
    pub(super) fn publish_status_if_due(&mut self) {
        let now = self.clock.monotonic_now();
        if self.status.heartbeat_is_due(now, self.ready) {
            let stuck_provider = self.tracker.stuck_provider(now);
            let heartbeat = Heartbeat::new(&self.clock, self.ready, stuck_provider);
            self.status.publish_heartbeat(heartbeat, now);
        }
        if self.status.snapshot_is_due(now) {
            self.publish_snapshot();
        }
    }

    fn publish_snapshot(&mut self) {
        let now = self.clock.monotonic_now();
        let reports = self.tracker.report(now).into_iter();
        let providers = reports.map(|report| {
            let kind = self.providers.kind(&report.provider);
            ProviderSnapshot { report, kind }
        });
        self.status.publish_snapshot(SchedulerSnapshot {
            taken_at: now,
            taken_at_utc: self.clock.utc_now(),
            providers: providers.collect(),
            unwritten_changes: self.committer.unwritten_changes() as u64,
            write_error: self.committer.write_error().map(str::to_owned),
            store_health: self.committer.store_health().clone(),
            prune_waits_for_clock: self.waiting_prune.is_some(),
        });
    }
}
