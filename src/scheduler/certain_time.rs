//! The times by which rows are recorded, and old jobs deleted.
//!
//! The maintenance decides by the wall clock when old jobs are to be deleted. The order waits here until the
//! tracker knows a time that is certain ([`crate::job::TrustedClock`]), which the batch then carries.

use crate::store::{BatchTimes, MaintenanceTask};

use super::event_loop::Scheduler;
use super::write::WriteRequest;

impl Scheduler {
    pub(super) fn order_maintenance(&mut self, task: MaintenanceTask) {
        match task {
            MaintenanceTask::Prune(_) => {
                if self.tracker.certain_time(self.clock.read()).is_none()
                    && self.waiting_prune.is_none()
                {
                    tracing::warn!(
                        "old jobs are not deleted yet: the clock is not set, or more than a day ahead of the last \
                         time in the database; deletion resumes when a provider's answer confirms \
                         the time, or when the clock has been steady for 24 h"
                    );
                }
                self.waiting_prune = Some(task);
                self.update_batch_times();
            }
            MaintenanceTask::Optimize | MaintenanceTask::Vacuum | MaintenanceTask::Checkpoint => {
                self.committer.enqueue(WriteRequest::Maintenance(task));
            }
        }
    }

    /// Gives the present to the next batch, and an order that waited for a certain time with it.
    pub(super) fn update_batch_times(&mut self) {
        let now = self.clock.read();
        let times = BatchTimes {
            written_at: self.tracker.record_time(now),
            certain_at: self.tracker.certain_time(now),
            confirmed_at: self.tracker.confirmed_time(now),
            contradicting: self.tracker.contradicting_time(now),
        };
        self.committer.set_times(times);
        if times.certain_at.is_some()
            && let Some(task) = self.waiting_prune.take()
        {
            self.committer.enqueue(WriteRequest::Maintenance(task));
        }
    }
}
