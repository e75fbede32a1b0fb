//! Deletes old jobs only by a time that is certain.
//!
//! The maintenance decides by the wall clock when old jobs are to be deleted. The order waits here until the
//! tracker knows a time that is certain ([`crate::job::TrustedClock`]), which the batch then carries.

use crate::store::MaintenanceTask;

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
                        "old jobs are not deleted yet: the clock is more than a day ahead of the last \
                         time in the database; deletion resumes when a provider's answer confirms \
                         the time, or when the clock has been steady for 24 h"
                    );
                }
                self.waiting_prune = Some(task);
                self.update_certain_time();
            }
            MaintenanceTask::Optimize | MaintenanceTask::Vacuum | MaintenanceTask::Checkpoint => {
                self.committer.enqueue(WriteRequest::Maintenance(task));
            }
        }
    }

    /// Gives the certain time to the next batch, and a waiting order with it.
    pub(super) fn update_certain_time(&mut self) {
        let certain_time = self.tracker.certain_time(self.clock.read());
        self.committer.set_certain_time(certain_time);
        if certain_time.is_some()
            && let Some(task) = self.waiting_prune.take()
        {
            self.committer.enqueue(WriteRequest::Maintenance(task));
        }
    }
}
