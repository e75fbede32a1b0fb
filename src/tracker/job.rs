//! A tracked job: a few hundred bytes of what is known about it, and the commits of its changes.
//!
//! The current state of a job changes only when the store has committed a change
//! ([`TrackedJob::on_committed`]) or reports a different stored state. State and phase are private to
//! this file. A job knows nothing of queues and rate limits: it returns what to do next.

use std::time::Duration;

use crate::job::{
    Change, ClockReading, CurrentState, JobId, LocalOutcome, MonotonicTime, NotFoundStreak,
    ObservationEffect, PollRecord, RemoteId, SimilarityKeys, State, StoredJob, Transition, UtcTime,
    evaluate_observation, local_end_transition,
};

use super::age::JobAge;
use super::message::ProviderIndex;
use super::metadata::MetadataChangeDetector;
use super::phase::{
    AnswerUse, ChangeCause, FollowUp, JobEffects, LearnedSample, PendingChange, PollPhase,
};

/// An unfinished job, or a terminal one that is polled once more on demand.
#[derive(Debug)]
pub(super) struct TrackedJob {
    pub(super) provider_index: ProviderIndex,
    pub(super) remote_id: RemoteId,
    current_state: CurrentState,
    phase: PollPhase,
    pub(super) polls: u32,
    pub(super) failed_polls: u32,
    /// The job's position in the provider's list.
    pub(super) listed_at: Option<UtcTime>,
    /// A list page did not show the job: it is polled individually.
    pub(super) poll_individually: bool,
    pub(super) similarity_keys: SimilarityKeys,
    pub(super) age: JobAge,
    pub(super) registered_at: UtcTime,
    pub(super) give_up_after: Option<Duration>,
    /// Consecutive polls that changed nothing: the exponent of the backoff.
    pub(super) polls_without_change: u32,
    pub(super) not_found_streak: Option<NotFoundStreak>,
    /// The provider rejected the last poll of this job.
    pub(super) last_poll_rejected: bool,
    /// The provider was configured while a poll was in flight: its answer may have been read with the
    /// old state map.
    pub(super) reconfigured_in_flight: bool,
    pub(super) metadata: MetadataChangeDetector,
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
            listed_at: job.list_time,
            poll_individually: false,
            registered_at: job.registered_at,
            give_up_after: job.give_up_after,
            polls_without_change: 0,
            not_found_streak: None,
            last_poll_rejected: false,
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

    /// The job's position in the provider's list, if a list page may answer for the job.
    pub(super) fn list_position(&self) -> Option<UtcTime> {
        self.listed_at.filter(|_| !self.poll_individually)
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

    /// Tracks a job again whose earlier poll is still in flight, from what the store holds.
    pub(super) fn resume_during_poll(&mut self, job: StoredJob, now: ClockReading) {
        *self = Self::new(job, self.provider_index, now.monotonic, now);
        self.phase.start_poll(true);
    }

    /// A poll succeeded; the request was sent at `sent_at`.
    pub(super) fn record_success(&mut self, sent_at: UtcTime) {
        self.current_state.last_success_sent_at = Some(sent_at);
    }

    /// The provider was configured. Returns an earlier due time for a waiting job: at once if the new
    /// state map may know the job's unknown state, and never later than `max_interval` from now.
    pub(super) fn reconsider(
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

    /// Ends the job by a local decision. None if the job is terminal already, or if a change is being
    /// committed: then the job is untracked after that commit.
    pub(super) fn plan_local_end(
        &mut self,
        id: JobId,
        outcome: LocalOutcome,
        reason: String,
        poll_record: Option<PollRecord>,
        now: ClockReading,
    ) -> Option<Change> {
        if let Some(pending) = self.phase.pending_change_mut() {
            pending.untrack_reason = Some(reason);
            return None;
        }
        let transition =
            local_end_transition(&self.current_state, outcome, now.utc, reason.clone())?;
        let poll_record = poll_record.map(|record| PollRecord { next_poll_at: None, ..record });
        let cause = ChangeCause::Local(outcome, reason);
        Some(self.start_commit(id, vec![transition], poll_record, cause, now.monotonic))
    }

    /// Hands a change to the store. `due` is when the next poll is due after the commit.
    pub(super) fn start_commit(
        &mut self,
        id: JobId,
        transitions: Vec<Transition>,
        mut poll_record: Option<PollRecord>,
        cause: ChangeCause,
        due: MonotonicTime,
    ) -> Change {
        // The message of the last transition explains the job's state and must not be replaced by the
        // message of the observation.
        if let Some(metadata) = poll_record.as_mut().and_then(|record| record.metadata.as_mut())
            && let Some(Transition { message: Some(reason), .. }) = transitions.last()
        {
            metadata.message = Some(reason.clone());
        }
        let mut new_state = self.state_after(&transitions);
        if let ChangeCause::Observed(_, request_times, _) = &cause {
            new_state.last_success_sent_at = Some(request_times.sent_at);
        }
        let duration_sample = cause.learned_sample().map(|sample| sample.duration_sample.clone());
        self.phase.begin_commit(PendingChange {
            cause,
            transitions: transitions.clone(),
            new_state: new_state.state(),
            poll_record: poll_record.clone(),
            next_due: due,
            is_retry: false,
            untrack_reason: None,
        });
        Change {
            job: id,
            expected_state: self.current_state.state(),
            expected_provider_state: self.current_state.provider_state.clone(),
            transitions,
            new_state,
            poll_record,
            duration_sample,
        }
    }

    /// The current state with these transitions applied.
    pub(super) fn state_after(&self, transitions: &[Transition]) -> CurrentState {
        let mut state = self.current_state.clone();
        for transition in transitions {
            state.apply(transition);
        }
        state
    }

    /// The duration sample of the change that is being committed.
    pub(super) fn learned_sample(&self) -> Option<&LearnedSample> {
        self.phase.pending_change()?.cause.learned_sample()
    }

    /// The store committed the change: the job is in its new state from now on.
    pub(super) fn on_committed(&mut self, id: JobId, now: ClockReading) -> FollowUp {
        let Some(pending) = self.phase.end_commit(now.monotonic) else {
            return self.poll_or_remove(now.monotonic);
        };
        for transition in &pending.transitions {
            self.current_state.apply(transition);
        }
        if let ChangeCause::Observed(_, request_times, _) = &pending.cause {
            self.record_success(request_times.sent_at);
        }
        self.resume_after_commit(id, pending.next_due, pending.untrack_reason, now)
    }

    /// What follows a commit: an untracking that waited for it, or the next poll.
    fn resume_after_commit(
        &mut self,
        id: JobId,
        due: MonotonicTime,
        untrack_reason: Option<String>,
        now: ClockReading,
    ) -> FollowUp {
        if let Some(reason) = untrack_reason
            && let Some(change) =
                self.plan_local_end(id, LocalOutcome::Untracked, reason, None, now)
        {
            return FollowUp::Commit(Box::new(change));
        }
        self.poll_or_remove(due)
    }

    /// Replaces the current state by the one that the store holds. Returns the text of an anomaly.
    pub(super) fn replace_from_store(&mut self, stored: CurrentState) -> String {
        let expected = self.current_state.state();
        self.current_state = stored;
        format!("the database holds {}; expected {expected}", self.current_state.state())
    }

    /// The store rejected the change, because it holds `stored_state`. Plans the change once more on
    /// that state; a second rejection is final.
    pub(super) fn on_rejected(
        &mut self,
        id: JobId,
        stored_state: CurrentState,
        now: ClockReading,
    ) -> JobEffects {
        let anomaly = self.replace_from_store(stored_state);
        let Some(pending) = self.phase.end_commit(now.monotonic) else {
            return self.poll_or_remove(now.monotonic).into();
        };
        let transitions =
            if pending.is_retry { Vec::new() } else { self.plan_again(&pending.cause, now) };
        if transitions.is_empty() {
            // An earlier attempt may have committed this very change without our learning of it.
            let is_committed = self.current_state.state() == pending.new_state;
            let follow_up =
                self.resume_after_commit(id, pending.next_due, pending.untrack_reason, now);
            let anomaly = (pending.is_retry || !is_committed).then_some(anomaly);
            return JobEffects { follow_up, poll_record: None, anomaly };
        }
        let poll_record = pending
            .poll_record
            .map(|record| PollRecord { expected_state: self.current_state.state(), ..record });
        let change =
            self.start_commit(id, transitions, poll_record, pending.cause, pending.next_due);
        if let Some(retry) = self.phase.pending_change_mut() {
            retry.is_retry = true;
            retry.untrack_reason = pending.untrack_reason;
        }
        let follow_up = FollowUp::Commit(Box::new(change));
        JobEffects { follow_up, poll_record: None, anomaly: Some(anomaly) }
    }

    fn plan_again(&self, cause: &ChangeCause, now: ClockReading) -> Vec<Transition> {
        match cause {
            ChangeCause::Observed(observation, request_times, _) => {
                match evaluate_observation(&self.current_state, observation, *request_times) {
                    ObservationEffect::Transitions(transitions) => transitions,
                    ObservationEffect::Unchanged | ObservationEffect::Contradiction(_) => {
                        Vec::new()
                    }
                }
            }
            ChangeCause::Local(outcome, reason) => {
                local_end_transition(&self.current_state, *outcome, now.utc, reason.clone())
                    .into_iter()
                    .collect()
            }
        }
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
