//! A tracked job: its state, its phase, its age and its poll counters.
//!
//! State and phase are private to this file. The state and the provider's state change in two places:
//! [`TrackedJob::apply_committed`] applies committed transitions, and [`TrackedJob::replace_from_store`]
//! takes over a different stored state. Only the time of the last successful request
//! ([`TrackedJob::record_success`]) changes before a commit. A job has no access to queues and rate
//! limits: its methods return what to do next.

use std::time::Duration;

use crate::job::{
    ClockReading, CurrentState, MonotonicTime, NotFoundStreak, RemoteId, SimilarityKeys, State,
    StoredJob, Transition, UtcTime,
};

use super::age::JobAge;
use super::job_effects::FollowUp;
use super::message::ProviderIndex;
use super::metadata::MetadataChangeDetector;
use super::pending_change::PendingChange;
use super::phase::{AnswerUse, PollPhase};

/// An unfinished job, or a terminal one that is polled once more on demand.
#[derive(Debug)]
pub(super) struct TrackedJob {
    pub(super) provider_index: ProviderIndex,
    pub(super) remote_id: RemoteId,
    current_state: CurrentState,
    phase: PollPhase,
    pub(super) polls: u32,
    pub(super) failed_polls: u32,
    /// The job's position in the provider's list; see [`crate::job::Observation::list_time`].
    pub(super) list_time: Option<UtcTime>,
    /// A list page did not show the job: no list page is requested for it until a poll succeeds.
    pub(super) poll_individually: bool,
    pub(super) similarity_keys: SimilarityKeys,
    pub(super) age: JobAge,
    pub(super) registered_at: UtcTime,
    pub(super) give_up_after: Option<Duration>,
    /// Consecutive polls that changed nothing: the exponent of the backoff.
    pub(super) polls_without_change: u32,
    pub(super) not_found_streak: Option<NotFoundStreak>,
    /// Whether the last answer rejected a credential that has been replaced since.
    pub(super) credential_replaced: bool,
    /// The failed polls since the last answer that could be read.
    pub(super) failures: PollFailures,
    /// The provider was configured while a poll was in flight: its answer may have been
    /// interpreted with the old state map.
    pub(super) reconfigured_in_flight: bool,
    pub(super) metadata: MetadataChangeDetector,
}

/// Failed polls of one job. While a provider is down, the polls of all its jobs fail; if other jobs are
/// answered between two failed polls of this one, the cause is the job.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PollFailures {
    last_failed_at: Option<MonotonicTime>,
    /// The failures before which, since the previous failure, another job was answered.
    amid_other_answers: u32,
}

impl PollFailures {
    /// Failures from which the job itself is the cause.
    const REQUIRED: u32 = 3;

    /// Counts a failed poll; returns whether the job itself is the cause. `last_answered_at`: when an
    /// answer about any job of the provider was last read.
    pub(super) fn extend(
        &mut self,
        last_answered_at: Option<MonotonicTime>,
        now: MonotonicTime,
    ) -> bool {
        let previous = self.last_failed_at.replace(now);
        let others_are_answered = previous
            .zip(last_answered_at)
            .is_some_and(|(previous, answered_at)| answered_at > previous);
        self.amid_other_answers += u32::from(others_are_answered);
        others_are_answered && self.amid_other_answers >= Self::REQUIRED
    }
}

impl TrackedJob {
    pub(super) fn new(
        job: StoredJob,
        provider_index: ProviderIndex,
        due: MonotonicTime,
        now: ClockReading,
    ) -> Self {
        Self {
            age: JobAge::new(&job, now),
            similarity_keys: job.similarity_keys,
            provider_index,
            remote_id: job.remote_id,
            current_state: job.current_state,
            phase: PollPhase::Waiting { due },
            polls: job.polls,
            failed_polls: job.failed_polls,
            list_time: job.list_time,
            poll_individually: false,
            registered_at: job.registered_at,
            give_up_after: job.give_up_after,
            polls_without_change: 0,
            not_found_streak: None,
            credential_replaced: false,
            failures: PollFailures::default(),
            reconfigured_in_flight: false,
            metadata: MetadataChangeDetector::default(),
        }
    }

    pub(super) fn current_state(&self) -> &CurrentState {
        &self.current_state
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.current_state.state().is_terminal()
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
        self.list_time.filter(|_| !self.poll_individually)
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
    pub(super) fn resume_during_poll(&mut self, job: StoredJob, now: ClockReading) {
        *self = Self::new(job, self.provider_index, now.monotonic, now);
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
                self.reconfigured_in_flight = true;
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
