//! What follows when the store has committed or rejected a change or a poll record.
//!
//! The store rejects a write if it holds another state of the job than expected. The tracker then
//! takes over the stored state and reports the difference as an anomaly.

use crate::job::{Anomaly, ClockReading, JobId, StoredJob};

use super::job_effects::FollowUp;
use super::message::{Action, FailedRow};
use super::registry::Tracker;

impl Tracker {
    pub(super) fn handle_change_committed(
        &mut self,
        id: JobId,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        let Some(tracked) = self.jobs.get_mut(id).filter(|job| !job.is_finished_during_poll())
        else {
            return;
        };
        if let Some(learned_sample) = tracked.learned_sample() {
            self.queues[tracked.provider_index.position()].add_sample(learned_sample);
        }
        let follow_up = tracked.on_committed(now);
        tracked.share_provider_state(&mut self.shared_values);
        self.apply_effects(id, follow_up.into(), false, now, actions);
    }

    /// `stored_job` is none if the job is not in the database.
    pub(super) fn handle_change_rejected(
        &mut self,
        id: JobId,
        stored_job: Option<Box<StoredJob>>,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        self.dequeue(id);
        let Some(tracked) = self.job_mut(id) else { return };
        let effects = match stored_job {
            Some(stored_job) => tracked.on_rejected(stored_job.current_state, now),
            None => FollowUp::Remove.into(),
        };
        self.apply_effects(id, effects, false, now, actions);
    }

    /// The job is no longer tracked, because each of its polls would end in the same failed write. If only
    /// a poll record failed while a change of the job waits, that change may still be committed.
    pub(super) fn handle_write_failed(
        &mut self,
        id: JobId,
        failed: FailedRow,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        let Some(tracked) = self.job(id) else { return };
        match failed {
            FailedRow::PollRecord if tracked.phase().pending_change().is_some() => {}
            FailedRow::PollRecord | FailedRow::Change => {
                self.dequeue(id);
                self.apply_effects(id, FollowUp::Remove.into(), false, now, actions);
            }
        }
    }

    pub(super) fn handle_poll_record_rejected(
        &mut self,
        id: JobId,
        stored_job: Option<Box<StoredJob>>,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        let Some(tracked) = self.job_mut(id) else { return };
        if tracked.phase().pending_change().is_some() {
            // The store will reject the change for the same reason.
            return;
        }
        let stored_state = stored_job.map(|stored| stored.current_state);
        let is_finished = stored_state.as_ref().is_none_or(|stored| stored.state().is_terminal());
        let known_state = tracked.current_state().state();
        if let Some(stored) = stored_state.filter(|stored| stored.state() != known_state) {
            let description = tracked.replace_from_store(stored);
            actions.push(Action::RecordAnomaly(Anomaly { job: id, at: now.utc, description }));
        }
        if is_finished {
            self.dequeue(id);
            self.apply_effects(id, FollowUp::Remove.into(), false, now, actions);
        }
    }
}
