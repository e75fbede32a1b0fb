//! The commit of a tracked job's change: builds it, applies it once the store has written it, and plans
//! it once more if the store rejected it.
//!
//! Called for answers by [`super::job_answer`] and for results of the store by [`super::commits`].
//! Invariant: a change is planned again at most once; a second rejection is final.

use crate::job::{
    Change, ClockReading, CurrentState, LocalOutcome, MonotonicTime, ObservationEffect, PollRecord,
    Transition, evaluate_observation, local_end_transition,
};

use super::job::TrackedJob;
use super::job_effects::{FollowUp, JobEffects};
use super::pending_change::{ChangeCause, LearnedSample, PendingChange};

impl TrackedJob {
    /// Ends the job by a local decision. None if the job is terminal already, or if a change is being
    /// committed: then the job is untracked after that commit.
    pub(super) fn plan_local_end(
        &mut self,
        outcome: LocalOutcome,
        reason: String,
        poll_record: Option<PollRecord>,
        now: ClockReading,
    ) -> Option<Change> {
        if let Some(pending) = self.pending_change_mut() {
            pending.untrack_reason = Some(reason);
            return None;
        }
        let transition =
            local_end_transition(self.current_state(), outcome, now.utc, reason.clone())?;
        let poll_record = poll_record.map(|record| PollRecord { next_poll_at: None, ..record });
        let cause = ChangeCause::Local { outcome, reason };
        Some(self.start_commit(vec![transition], poll_record, cause, now.monotonic))
    }

    /// Builds a change and marks it as being committed. `due` is when the next poll is due after the
    /// commit.
    pub(super) fn start_commit(
        &mut self,
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
        if let ChangeCause::Observed { request_times, .. } = &cause {
            new_state.last_success_sent_at = Some(request_times.sent_at);
        }
        let duration_sample = cause.learned_sample().map(|sample| sample.duration_sample.clone());
        self.begin_commit(PendingChange {
            cause,
            transitions: transitions.clone(),
            new_state: new_state.state(),
            poll_record: poll_record.clone(),
            next_due: due,
            is_retry: false,
            untrack_reason: None,
        });
        Change {
            job: self.id,
            expected_state: self.current_state().state(),
            expected_provider_state: self.current_state().provider_state.clone(),
            transitions,
            new_state,
            poll_record,
            duration_sample,
            audit: Vec::new(),
        }
    }

    /// The current state with these transitions applied.
    pub(super) fn state_after(&self, transitions: &[Transition]) -> CurrentState {
        let mut state = self.current_state().clone();
        for transition in transitions {
            state.apply(transition);
        }
        state
    }

    /// The duration sample of the change that is being committed.
    pub(super) fn learned_sample(&self) -> Option<&LearnedSample> {
        self.phase().pending_change()?.cause.learned_sample()
    }

    /// The store committed the change: the job is in its new state from now on.
    pub(super) fn on_committed(&mut self, now: ClockReading) -> FollowUp {
        let Some(pending) = self.end_commit(now.monotonic) else {
            return self.poll_or_remove(now.monotonic);
        };
        self.apply_committed(&pending.transitions);
        if let ChangeCause::Observed { request_times, .. } = &pending.cause {
            self.record_success(request_times.sent_at);
        }
        self.resume_after_commit(pending.next_due, pending.untrack_reason, now)
    }

    /// What follows a commit: an untracking that waited for it, or the next poll.
    fn resume_after_commit(
        &mut self,
        due: MonotonicTime,
        untrack_reason: Option<String>,
        now: ClockReading,
    ) -> FollowUp {
        if let Some(reason) = untrack_reason
            && let Some(change) = self.plan_local_end(LocalOutcome::Untracked, reason, None, now)
        {
            return FollowUp::Commit(Box::new(change));
        }
        self.poll_or_remove(due)
    }

    /// The store rejected the change, because it holds `stored_state`. Plans the change once more on
    /// that state; a second rejection is final.
    pub(super) fn on_rejected(
        &mut self,
        stored_state: CurrentState,
        now: ClockReading,
    ) -> JobEffects {
        let anomaly = self.replace_from_store(stored_state);
        let Some(pending) = self.end_commit(now.monotonic) else {
            return self.poll_or_remove(now.monotonic).into();
        };
        let transitions =
            if pending.is_retry { Vec::new() } else { self.plan_again(&pending.cause, now) };
        if transitions.is_empty() {
            // An earlier attempt may have committed this change although its result was not received.
            let is_committed = self.current_state().state() == pending.new_state;
            let follow_up = self.resume_after_commit(pending.next_due, pending.untrack_reason, now);
            let anomaly = (pending.is_retry || !is_committed).then_some(anomaly);
            return JobEffects { follow_up, poll_record: None, anomaly };
        }
        let poll_record = pending
            .poll_record
            .map(|record| PollRecord { expected_state: self.current_state().state(), ..record });
        let change = self.start_commit(transitions, poll_record, pending.cause, pending.next_due);
        if let Some(retry) = self.pending_change_mut() {
            retry.is_retry = true;
            retry.untrack_reason = pending.untrack_reason;
        }
        let follow_up = FollowUp::Commit(Box::new(change));
        JobEffects { follow_up, poll_record: None, anomaly: Some(anomaly) }
    }

    fn plan_again(&self, cause: &ChangeCause, now: ClockReading) -> Vec<Transition> {
        match cause {
            ChangeCause::Observed { observation, request_times, .. } => {
                match evaluate_observation(self.current_state(), observation, *request_times) {
                    ObservationEffect::Transitions(transitions) => transitions,
                    ObservationEffect::Unchanged | ObservationEffect::Contradiction(_) => {
                        Vec::new()
                    }
                }
            }
            ChangeCause::Local { outcome, reason } => {
                local_end_transition(self.current_state(), *outcome, now.utc, reason.clone())
                    .into_iter()
                    .collect()
            }
        }
    }
}
