//! A tracked job: its state, its phase, its age and its poll counters.
//!
//! State and phase are private to this file. The state and the provider's state change in two places:
//! [`TrackedJob::apply_committed`] applies committed transitions, and [`TrackedJob::replace_from_store`]
//! takes over a different stored state. Only the time of the last successful request
//! ([`TrackedJob::record_success`]) changes before a commit. A job has no access to queues and rate
//! limits: its methods return what to do next.

use std::sync::Arc;
use std::time::Duration;

use crate::job::{
    ClockReading, CompactRemoteId, CurrentState, JobId, MonotonicTime, PollPrice, RemoteId,
    SimilarityKeys, State, StoredJob, Transition, UtcTime,
};

use super::age::JobAge;
use super::compact_price::CompactPrice;
use super::job_effects::FollowUp;
use super::message::ProviderIndex;
use super::metadata::MetadataChangeDetector;
use super::pending_change::PendingChange;
use super::phase::{AnswerUse, PollPhase};
use super::rare_state::RareStateCell;
use super::shared_values::SharedValues;

/// An unfinished job, or a terminal one that is polled once more on demand. There may be millions: each field
/// takes memory for every one of them.
#[derive(Debug)]
pub(super) struct TrackedJob {
    pub(super) id: JobId,
    remote_id: CompactRemoteId,
    current_state: CurrentState,
    phase: PollPhase,
    pub(super) provider_index: ProviderIndex,
    pub(super) polls: u32,
    pub(super) failed_polls: u32,
    /// Consecutive polls that changed nothing, up to the greatest number: the exponent of the backoff.
    pub(super) polls_without_change: u8,
    price: CompactPrice,
    /// The job's position in the provider's list; see [`crate::job::Observation::list_time`].
    pub(super) list_time: Option<UtcTime>,
    /// Shared with other jobs.
    pub(super) similarity_keys: Arc<SimilarityKeys>,
    pub(super) age: JobAge,
    pub(super) metadata: MetadataChangeDetector,
    pub(super) rare: RareStateCell,
}

impl TrackedJob {
    pub(super) fn new(
        job: StoredJob,
        provider_index: ProviderIndex,
        due: MonotonicTime,
        shared_values: &mut SharedValues,
        now: ClockReading,
    ) -> Self {
        let age = JobAge::new(&job, now);
        let mut rare = RareStateCell::default();
        rare.update(|rare| rare.give_up_after = job.give_up_after);
        let mut current_state = job.current_state;
        shared_values.share_provider_state(&mut current_state);
        Self {
            id: job.id,
            remote_id: job.remote_id.into(),
            current_state,
            phase: PollPhase::Waiting { due },
            provider_index,
            polls: job.polls,
            failed_polls: job.failed_polls,
            polls_without_change: 0,
            price: job.price.into(),
            list_time: job.list_time,
            similarity_keys: shared_values.share_keys(job.similarity_keys),
            age,
            metadata: MetadataChangeDetector::default(),
            rare,
        }
    }

    pub(super) fn remote_id(&self) -> RemoteId {
        (&self.remote_id).into()
    }

    pub(super) fn current_state(&self) -> &CurrentState {
        &self.current_state
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.current_state.state().is_terminal()
    }

    /// The job's own price, which replaces that of the provider.
    pub(super) fn own_price(&self) -> Option<PollPrice> {
        self.price.get()
    }

    /// Returns whether the price has changed.
    pub(super) fn set_price(&mut self, price: Option<PollPrice>) -> bool {
        let price = CompactPrice::from(price);
        std::mem::replace(&mut self.price, price) != price
    }

    pub(super) fn phase(&self) -> &PollPhase {
        &self.phase
    }

    /// Whether the tracker keeps this job only until a poll in flight is answered.
    pub(super) fn is_finished_during_poll(&self) -> bool {
        matches!(self.phase, PollPhase::FinishedDuringPoll)
    }

    /// The list time of the job, if a list page may answer for the job.
    pub(super) fn batchable_list_time(&self) -> Option<UtcTime> {
        self.list_time.filter(|_| !self.rare.get().poll_individually)
    }

    pub(super) fn can_start_poll(&self) -> bool {
        self.phase.can_start_poll()
    }

    pub(super) fn start_poll(&mut self, on_demand: bool) {
        self.phase.start_poll(on_demand);
    }

    pub(super) fn end_poll(&mut self, now: MonotonicTime) -> AnswerUse {
        self.phase.end_poll(now)
    }

    pub(super) fn wait_until(&mut self, due: MonotonicTime) {
        self.phase.wait_until(due);
    }

    pub(super) fn mark_on_demand(&mut self) {
        self.phase.mark_on_demand();
    }

    /// The job needs no more polls. Returns whether the tracker must keep the job for a poll in flight.
    pub(super) fn finish(&mut self) -> bool {
        self.phase.finish()
    }

    /// Tracks a finished job again while its earlier poll is still in flight. The job starts anew from
    /// what the store holds, in the phase of a poll on demand.
    pub(super) fn resume_during_poll(
        &mut self,
        job: StoredJob,
        shared_values: &mut SharedValues,
        now: ClockReading,
    ) {
        *self = Self::new(job, self.provider_index, now.monotonic, shared_values, now);
        self.phase.start_poll(true);
    }

    /// A poll succeeded; the request was sent at `sent_at`.
    pub(super) fn record_success(&mut self, sent_at: UtcTime) {
        self.current_state.last_success_sent_at = Some(sent_at);
    }

    /// The provider was configured. Returns the due time of a waiting job if it is now earlier: at once
    /// if the job's state was unknown, because the new state map may contain it, and otherwise
    /// `max_interval` from now.
    pub(super) fn on_reconfigured(
        &mut self,
        max_interval: Option<Duration>,
        now: MonotonicTime,
    ) -> Option<MonotonicTime> {
        match &mut self.phase {
            PollPhase::Waiting { .. } if self.current_state.state() == State::Unknown => Some(now),
            PollPhase::Waiting { due } => {
                let latest = max_interval.map_or(*due, |max_interval| now.plus(max_interval));
                (latest < *due).then_some(latest)
            }
            PollPhase::InFlight { .. } => {
                self.rare.update(|rare| rare.reconfigured_in_flight = true);
                None
            }
            PollPhase::Committing(pending) | PollPhase::CommittingDuringPoll(pending) => {
                if pending.new_state == State::Unknown {
                    pending.next_due = now;
                }
                None
            }
            PollPhase::FinishedDuringPoll => None,
        }
    }

    /// Enters the phase of a commit.
    pub(super) fn begin_commit(&mut self, pending: PendingChange) {
        self.phase.begin_commit(pending);
    }

    /// Leaves the phase of a commit and returns the change; none if no change was being committed.
    pub(super) fn end_commit(&mut self, now: MonotonicTime) -> Option<PendingChange> {
        self.phase.end_commit(now)
    }

    pub(super) fn pending_change_mut(&mut self) -> Option<&mut PendingChange> {
        self.phase.pending_change_mut()
    }

    /// Applies transitions that the store has committed.
    pub(super) fn apply_committed(&mut self, transitions: &[Transition]) {
        for transition in transitions {
            self.current_state.apply(transition);
        }
    }

    pub(super) fn share_provider_state(&mut self, shared_values: &mut SharedValues) {
        shared_values.share_provider_state(&mut self.current_state);
    }

    /// Takes over the similarity keys of an answer, unless the user provided one or nothing is reported.
    pub(super) fn update_keys(
        &mut self,
        reported: &SimilarityKeys,
        shared_values: &mut SharedValues,
    ) {
        if self.similarity_keys.is_replaced_by(reported) {
            self.similarity_keys = shared_values.share_keys(reported.clone());
        }
    }

    /// Replaces the current state by the state that the store holds, which another process may have
    /// changed. Returns the text of an anomaly.
    pub(super) fn replace_from_store(&mut self, stored: CurrentState) -> String {
        let expected = self.current_state.state();
        self.current_state = stored;
        format!("the database holds {}; expected {expected}", self.current_state.state())
    }

    /// The next poll of an unfinished job; a terminal job needs none.
    pub(super) fn poll_or_remove(&mut self, due: MonotonicTime) -> FollowUp {
        if self.is_terminal() {
            FollowUp::Remove
        } else if self.phase.wait_until(due) {
            FollowUp::PollAt(due)
        } else {
            FollowUp::AwaitAnswer
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tracked_job_stays_small() {
        // Every 8 bytes are 8 MB for a million jobs.
        assert_eq!(size_of::<TrackedJob>(), 168);
        assert_eq!(size_of::<Option<UtcTime>>(), 8);
    }
}
