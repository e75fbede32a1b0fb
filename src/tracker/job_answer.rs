//! What the answer to a poll changes about one job: its state, its metadata, its age, its next poll.
//!
//! A failed poll never changes the state of a job, with two exceptions: repeated "not found" answers make
//! the job `lost`, and a job whose polls fail while others succeed is given up after its limit. An outage
//! of a provider ends no job.

use std::time::Duration;

use crate::job::{
    Answer, ClockReading, LocalOutcome, MonotonicTime, NotFoundAnswer, NotFoundStreak, Observation,
    ObservationEffect, PollRecord, ProviderError, ProviderErrorKind, RequestTimes, State,
    Transition, UtcTime, evaluate_observation, local_end_transition,
};

use super::job::TrackedJob;
use super::job_effects::{FollowUp, JobEffects};
use super::job_policy::JobPolicy;
use super::pending_change::{ChangeCause, LearnedSample};
use super::rare_state::PollFailures;
use super::valuation::NextPoll;

impl TrackedJob {
    /// Applies the answer to a poll of this job.
    pub(super) fn apply_answer(
        &mut self,
        answer: Answer,
        request_times: RequestTimes,
        policy: JobPolicy<'_>,
        now: ClockReading,
    ) -> JobEffects {
        self.polls = self.polls.saturating_add(1);
        self.rare.update(|rare| rare.credential_replaced = answer.credential_replaced);
        match answer.result {
            Ok(observation) => {
                self.apply_observation(observation, answer.server_date, request_times, policy, now)
            }
            Err(error) => self.apply_failure(&error, request_times, policy, now),
        }
    }

    fn apply_observation(
        &mut self,
        observation: Observation,
        server_date: Option<UtcTime>,
        request_times: RequestTimes,
        policy: JobPolicy<'_>,
        now: ClockReading,
    ) -> JobEffects {
        let observation = observation.without_contradicted_times(
            self.current_state(),
            request_times,
            server_date,
        );
        let was_reconfigured = self.rare.update(|rare| {
            (rare.not_found_streak, rare.failures) = (None, PollFailures::NONE);
            rare.poll_individually = false;
            std::mem::take(&mut rare.reconfigured_in_flight)
        });
        self.list_time = observation.list_time.or(self.list_time);
        // A terminal job that is polled on demand keeps the metadata of its end.
        let metadata = if self.is_terminal() { None } else { self.metadata.update(&observation) };
        let learned_sample =
            self.update_age(&observation, server_date, request_times, now.monotonic);
        let (transitions, anomaly) =
            match evaluate_observation(self.current_state(), &observation, request_times) {
                ObservationEffect::Unchanged => (Vec::new(), None),
                ObservationEffect::Transitions(transitions) => (transitions, None),
                ObservationEffect::Contradiction(contradiction) => {
                    (Vec::new(), Some(contradiction))
                }
            };
        let resets_backoff = !transitions.is_empty() || policy.learned.is_some();
        self.polls_without_change =
            if resets_backoff { 0 } else { self.polls_without_change.saturating_add(1) };
        let transitions = self.append_give_up(transitions, policy, now);
        let ends = transitions.last().is_some_and(|last| last.to.is_terminal());
        let is_outdated = was_reconfigured && observation.state.to_state() == State::Unknown;
        let NextPoll { due, expected } = if ends || is_outdated {
            NextPoll { due: now.monotonic, expected: now.monotonic }
        } else {
            self.next_poll(policy, now)
        };
        let mut poll_record = PollRecord {
            metadata,
            last_success_sent_at: Some(request_times.sent_at),
            ..self.poll_record(request_times.received_at, expected, now)
        };
        if ends {
            poll_record.next_poll_at = None;
        }
        if transitions.is_empty() {
            self.record_success(request_times.sent_at);
            let follow_up = self.poll_or_remove(due);
            return JobEffects { follow_up, poll_record: Some(poll_record), anomaly };
        }
        let observation = Box::new(observation);
        let cause = ChangeCause::Observed { observation, request_times, learned_sample };
        let change = self.start_commit(transitions, Some(poll_record), cause, due);
        JobEffects { follow_up: FollowUp::Commit(Box::new(change)), poll_record: None, anomaly }
    }

    /// Updates the age. Returns the duration sample if the job has ended.
    fn update_age(
        &mut self,
        observation: &Observation,
        server_date: Option<UtcTime>,
        request_times: RequestTimes,
        now: MonotonicTime,
    ) -> Option<LearnedSample> {
        let previous_age = self.age;
        self.age = previous_age.after_observation(observation, server_date, request_times, now);
        if self.is_terminal() || !observation.state.to_state().is_terminal() {
            return None;
        }
        let was_polled_before = self.current_state().last_success_sent_at.is_some();
        let duration_sample = previous_age.duration_sample(
            &self.age,
            was_polled_before,
            observation,
            &self.similarity_keys,
        )?;
        let detection_delay = self.age.detection_delay(&duration_sample);
        Some(LearnedSample { duration_sample, detection_delay })
    }

    fn apply_failure(
        &mut self,
        error: &ProviderError,
        request_times: RequestTimes,
        policy: JobPolicy<'_>,
        now: ClockReading,
    ) -> JobEffects {
        self.failed_polls = self.failed_polls.saturating_add(1);
        let due = match error.kind {
            ProviderErrorKind::Transient
            | ProviderErrorKind::Malformed
            | ProviderErrorKind::NotFound
            | ProviderErrorKind::InvalidId
            | ProviderErrorKind::Auth
            | ProviderErrorKind::QuotaExceeded
            | ProviderErrorKind::Misconfigured => {
                self.polls_without_change = self.polls_without_change.saturating_add(1);
                now.monotonic.plus(
                    policy.backoff.next_interval(self.polls_without_change.into(), now.jitter),
                )
            }
            // The provider pauses; the job stays due.
            ProviderErrorKind::RateLimited => now.monotonic,
        };
        let poll_record = PollRecord {
            last_poll_error: Some(error.to_string()),
            ..self.poll_record(request_times.received_at, due, now)
        };
        if let Some((outcome, reason)) = self.end_after_failure(error, policy, now.monotonic) {
            let record = Some(poll_record.clone());
            if let Some(change) = self.plan_local_end(outcome, reason, record, now) {
                return FollowUp::Commit(Box::new(change)).into();
            }
        }
        let follow_up = self.poll_or_remove(due);
        JobEffects { follow_up, poll_record: Some(poll_record), anomaly: None }
    }

    /// Counts a failed poll. Returns how the job ends because of it, and the reason.
    fn end_after_failure(
        &mut self,
        error: &ProviderError,
        policy: JobPolicy<'_>,
        now: MonotonicTime,
    ) -> Option<(LocalOutcome, String)> {
        match error.kind {
            ProviderErrorKind::NotFound | ProviderErrorKind::InvalidId => {
                Some((LocalOutcome::Lost, self.lost_reason(error, policy, now)?))
            }
            ProviderErrorKind::RateLimited => None,
            ProviderErrorKind::Transient
            | ProviderErrorKind::Malformed
            | ProviderErrorKind::Auth
            | ProviderErrorKind::QuotaExceeded
            | ProviderErrorKind::Misconfigured => {
                let answered_at = policy.last_answered_at;
                if !self.rare.update(|rare| rare.failures.extend(answered_at, now)) {
                    return None;
                }
                let reason = self.give_up_reason(policy, now)?;
                let reason = format!("{reason}; its polls fail while others succeed: {error}");
                Some((LocalOutcome::Untracked, reason))
            }
        }
    }

    /// Counts a "not found" answer. Returns the reason if the job is lost.
    fn lost_reason(
        &mut self,
        error: &ProviderError,
        policy: JobPolicy<'_>,
        now: MonotonicTime,
    ) -> Option<String> {
        let answer = NotFoundAnswer {
            at: now,
            id_is_invalid: error.kind == ProviderErrorKind::InvalidId,
            previously_seen: self.current_state().last_success_sent_at.is_some(),
        };
        let previous = self.rare.get().not_found_streak;
        let streak = NotFoundStreak::extend(previous, answer, policy.lost_after);
        self.rare.update(|rare| rare.not_found_streak = Some(streak));
        let what = if streak.id_is_invalid() { "invalid id in" } else { "not found in" };
        streak.is_confirmed().then(|| format!("{what} {} polls: {}", streak.count(), error.message))
    }

    /// Adds the transition that gives up a job which is unfinished after its limit.
    fn append_give_up(
        &self,
        mut transitions: Vec<Transition>,
        policy: JobPolicy<'_>,
        now: ClockReading,
    ) -> Vec<Transition> {
        if let Some(reason) = self.give_up_reason(policy, now.monotonic) {
            let state = self.state_after(&transitions);
            transitions.extend(local_end_transition(
                &state,
                LocalOutcome::Untracked,
                now.utc,
                reason,
            ));
        }
        transitions
    }

    /// The reason for giving up the job; none if its limit has not passed.
    fn give_up_reason(&self, policy: JobPolicy<'_>, now: MonotonicTime) -> Option<String> {
        let measured_age = self.age.since_registration(now);
        let limit = policy.exceeded_give_up_limit(
            self.age.registered_at(),
            measured_age,
            self.rare.get().give_up_after,
        )?;
        let duration = humantime::format_duration(Duration::from_secs(limit.as_secs()));
        Some(format!("given up: unfinished {duration} after registration"))
    }

    fn poll_record(
        &self,
        polled_at: UtcTime,
        next_poll: MonotonicTime,
        now: ClockReading,
    ) -> PollRecord {
        let next_poll_at = now.utc.plus(next_poll.duration_since(now.monotonic));
        PollRecord {
            job: self.id,
            expected_state: self.current_state().state(),
            last_polled_at: polled_at,
            next_poll_at: (!self.is_terminal()).then_some(next_poll_at),
            last_success_sent_at: self.current_state().last_success_sent_at,
            polls: self.polls,
            failed_polls: self.failed_polls,
            last_poll_error: None,
            metadata: None,
        }
    }
}
