//! What the tracker holds of one job, a few hundred bytes, and what one answer makes of it.
//!
//! [`Record::hear`] and [`Record::plan`] decide; they know nothing of queues and budgets. The
//! standing moves when the store has the change ([`Record::written`]), or says what it has instead.

use std::time::Duration;

use crate::job::{
    Answer, Change, ClockReading, CurrentState, JobId, LocalOutcome, MonotonicTime, NotFoundStreak,
    Observation, PollRecord, ProviderError, ProviderErrorKind, RemoteId, RequestTimes,
    SimilarityKeys, State, StoredJob, Transition, UtcTime, Verdict, evaluate_observation,
    local_end_transition,
};

use super::ProviderSettings;
use super::age::JobAge;
use super::limits::JobLimits;
use super::metadata::MetadataChangeDetector;
use super::phase::{ChangeCause, FollowUp, LearnedSample, PendingChange, PollOutcome, PollPhase};
use super::provider_queue::{ProviderIndex, ProviderQueue};

/// A job that is not over, or one that is and is asked once more by hand.
#[derive(Debug)]
pub(super) struct TrackedJob {
    pub(super) provider_index: ProviderIndex,
    pub(super) remote_id: RemoteId,
    pub(super) current_state: CurrentState,
    pub(super) phase: PollPhase,
    pub(super) polls: u32,
    /// Its place in the provider's list.
    pub(super) listed_at: Option<UtcTime>,
    pub(super) similarity_keys: SimilarityKeys,
    pub(super) age: JobAge,
    /// A page did not show it: it is asked by itself.
    poll_individually: bool,
    registered_at: UtcTime,
    give_up_after: Option<Duration>,
    failed_polls: u32,
    /// Polls in a row without news: how far the backoff has grown.
    pub(super) polls_without_change: u32,
    not_found_streak: Option<NotFoundStreak>,
    /// The last answer was that we may not ask for it.
    last_poll_rejected: bool,
    /// The provider was configured anew while it was asked: the answer may be read as of old.
    reconfigured_in_flight: bool,
    metadata: MetadataChangeDetector,
    /// Somebody wants it untracked, once the change that is being written is in.
    pending_untrack_reason: Option<String>,
}

impl TrackedJob {
    /// Whether the last answer was that we may not ask for it.
    pub(super) fn was_rejected(&self) -> bool {
        self.last_poll_rejected
    }

    /// Where it stands in the provider's list, if a page may answer for it.
    pub(super) fn list_position(&self) -> Option<UtcTime> {
        self.listed_at.filter(|_| !self.poll_individually)
    }

    /// A page answered, and not for this job: it is asked by itself when it is due.
    pub(super) fn mark_missing_from_list(&mut self) {
        self.poll_individually = true;
    }

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
            phase: PollPhase::Waiting(due),
            polls: job.polls,
            listed_at: job.list_time,
            poll_individually: false,
            registered_at: job.registered_at,
            give_up_after: job.give_up_after,
            failed_polls: job.failed_polls,
            polls_without_change: 0,
            not_found_streak: None,
            last_poll_rejected: false,
            reconfigured_in_flight: false,
            metadata: MetadataChangeDetector::default(),
            pending_untrack_reason: None,
        }
    }

    /// Its provider is configured anew, and may know the word by which the job stands unknown: it is
    /// asked at once, or once more if it is being asked. Nobody waits for longer than the new rule has it.
    pub(super) fn apply_provider_settings(
        &mut self,
        id: JobId,
        queue: &mut ProviderQueue,
        now: MonotonicTime,
    ) {
        let list_position = self.list_position();
        match &mut self.phase {
            PollPhase::Waiting(due) if self.current_state.state == State::Unknown => {
                if queue.reschedule(id, list_position, now) {
                    *due = now;
                }
            }
            PollPhase::Waiting(due) => {
                let max_interval = queue.settings.as_ref().map(ProviderSettings::max_poll_interval);
                let latest = max_interval.map_or(*due, |max_interval| now.plus(max_interval));
                if latest < *due && queue.reschedule(id, list_position, latest) {
                    *due = latest;
                }
            }
            PollPhase::Polling { .. } => self.reconfigured_in_flight = true,
            PollPhase::Committing(pending) if pending.new_state.state == State::Unknown => {
                pending.next_due = now;
            }
            PollPhase::Committing(_) => {}
        }
    }

    /// Takes in the outcome of a poll.
    pub(super) fn apply_answer(
        &mut self,
        id: JobId,
        answer: Answer,
        request_times: RequestTimes,
        limits: JobLimits<'_>,
        now: ClockReading,
    ) -> PollOutcome {
        self.polls = self.polls.saturating_add(1);
        self.last_poll_rejected = answer.result.as_ref().is_err_and(|error| {
            matches!(error.kind, ProviderErrorKind::Auth | ProviderErrorKind::Misconfigured)
        });
        match answer.result {
            Ok(observation) => {
                let server_date = answer.server_date;
                let limits = limits.with_clock_check(server_date, now.utc);
                self.apply_observation(id, observation, server_date, request_times, limits, now)
            }
            Err(error) => self.apply_failure(id, &error, request_times, limits, now),
        }
    }

    fn apply_observation(
        &mut self,
        id: JobId,
        observation: Observation,
        server_date: Option<UtcTime>,
        request_times: RequestTimes,
        limits: JobLimits<'_>,
        now: ClockReading,
    ) -> PollOutcome {
        self.not_found_streak = None;
        self.poll_individually = false;
        self.listed_at = observation.list_time.or(self.listed_at);
        // By hand, after the end: what was told then stays.
        let finished = self.current_state.state.is_terminal();
        let metadata = if finished { None } else { self.metadata.update(&observation) };
        let learned_sample =
            self.update_age(&observation, server_date, request_times, now.monotonic);
        let (transitions, anomaly) =
            match evaluate_observation(&self.current_state, &observation, request_times) {
                Verdict::Unchanged => (Vec::new(), None),
                Verdict::Transitions(transitions) => (transitions, None),
                Verdict::Contradiction(contradiction) => (Vec::new(), Some(contradiction)),
            };
        let has_changed = !transitions.is_empty() || limits.learned.is_some();
        self.polls_without_change =
            if has_changed { 0 } else { self.polls_without_change.saturating_add(1) };
        let is_outdated = std::mem::take(&mut self.reconfigured_in_flight)
            && observation.state.to_state() == State::Unknown;
        let due = if is_outdated { now.monotonic } else { self.next_due(limits, now) };
        let mut poll_record = self.make_poll_record(id, request_times.received_at, due, now);
        poll_record.metadata = metadata;
        poll_record.last_success_sent_at = Some(request_times.sent_at);

        let mut new_state = self.current_state.clone();
        for transition in &transitions {
            new_state.apply(transition);
        }
        new_state.last_success_sent_at = Some(request_times.sent_at);
        let cause = ChangeCause::Observed(Box::new(observation), request_times, learned_sample);
        let transitions = self.append_give_up(transitions, &mut new_state, limits, now);
        if transitions.is_empty() {
            self.current_state = new_state;
            return PollOutcome {
                follow_up: self.schedule_or_remove(due),
                poll_record: Some(poll_record),
                anomaly,
            };
        }
        if new_state.state.is_terminal() {
            poll_record.next_poll_at = None;
        }
        let change = self.start_commit(id, transitions, new_state, Some(poll_record), cause, due);
        PollOutcome { follow_up: FollowUp::Commit(Box::new(change)), poll_record: None, anomaly }
    }

    /// It is older by an answer, which may tell what it is like, and what its end teaches.
    fn update_age(
        &mut self,
        observation: &Observation,
        server_date: Option<UtcTime>,
        request_times: RequestTimes,
        now: MonotonicTime,
    ) -> Option<LearnedSample> {
        self.similarity_keys.update_from_provider(&observation.similarity_keys);
        let previous_age = self.age;
        self.age = previous_age.after_observation(observation, server_date, request_times, now);
        let is_end =
            !self.current_state.state.is_terminal() && observation.state.to_state().is_terminal();
        let was_polled_before = self.current_state.last_success_sent_at.is_some();
        let sample = is_end.then(|| {
            previous_age.duration_sample(
                &self.age,
                was_polled_before,
                observation,
                &self.similarity_keys,
            )
        });
        let duration_sample = sample.flatten()?;
        Some(LearnedSample {
            detection_delay: self.age.detection_delay(&duration_sample),
            duration_sample,
        })
    }

    fn apply_failure(
        &mut self,
        id: JobId,
        error: &ProviderError,
        request_times: RequestTimes,
        limits: JobLimits<'_>,
        now: ClockReading,
    ) -> PollOutcome {
        self.failed_polls = self.failed_polls.saturating_add(1);
        let due = match error.kind {
            ProviderErrorKind::Transient
            | ProviderErrorKind::Malformed
            | ProviderErrorKind::NotFound
            | ProviderErrorKind::Auth
            | ProviderErrorKind::Misconfigured => {
                self.polls_without_change = self.polls_without_change.saturating_add(1);
                now.monotonic
                    .plus(limits.backoff.next_interval(self.polls_without_change, now.jitter))
            }
            // The lane is closed; this job is as due as it was.
            ProviderErrorKind::RateLimited | ProviderErrorKind::QuotaExceeded => now.monotonic,
        };
        let mut poll_record = self.make_poll_record(id, request_times.received_at, due, now);
        poll_record.last_poll_error = Some(error.to_string());
        if error.kind == ProviderErrorKind::NotFound {
            let reason = &error.message;
            let was_seen = self.current_state.last_success_sent_at.is_some();
            let timeout = if was_seen {
                limits.lost_after.previously_seen
            } else {
                limits.lost_after.never_seen
            };
            let streak = NotFoundStreak::extend(self.not_found_streak, timeout, now.monotonic);
            self.not_found_streak = Some(streak);
            if streak.is_confirmed(timeout) {
                let reason = format!("not found {} times: {reason}", streak.count());
                if let Some(change) = self.plan_local_end(
                    id,
                    LocalOutcome::Lost,
                    reason,
                    Some(poll_record.clone()),
                    now,
                ) {
                    return PollOutcome {
                        follow_up: FollowUp::Commit(Box::new(change)),
                        poll_record: None,
                        anomaly: None,
                    };
                }
            }
        }
        PollOutcome {
            follow_up: self.schedule_or_remove(due),
            poll_record: Some(poll_record),
            anomaly: None,
        }
    }

    /// Our own ending of the job. None if it is over, or if the change being written must be in
    /// first: then it follows that one.
    pub(super) fn plan_local_end(
        &mut self,
        id: JobId,
        outcome: LocalOutcome,
        reason: String,
        poll_record: Option<PollRecord>,
        now: ClockReading,
    ) -> Option<Change> {
        if matches!(self.phase, PollPhase::Committing(_)) {
            self.pending_untrack_reason = Some(reason);
            return None;
        }
        let transition =
            local_end_transition(&self.current_state, outcome, now.utc, reason.clone())?;
        let mut new_state = self.current_state.clone();
        new_state.apply(&transition);
        let poll_record =
            poll_record.map(|poll_record| PollRecord { next_poll_at: None, ..poll_record });
        Some(self.start_commit(
            id,
            vec![transition],
            new_state,
            poll_record,
            ChangeCause::Local(outcome, reason),
            now.monotonic,
        ))
    }

    /// What the change teaches that is being written.
    pub(super) fn learned_sample(&self) -> Option<&LearnedSample> {
        match &self.phase {
            PollPhase::Committing(pending) => pending.cause.learned_sample(),
            PollPhase::Waiting(_) | PollPhase::Polling { .. } => None,
        }
    }

    /// The change is committed: now the job stands there.
    pub(super) fn on_committed(&mut self, id: JobId, now: ClockReading) -> FollowUp {
        let PollPhase::Committing(pending) =
            std::mem::replace(&mut self.phase, PollPhase::Waiting(now.monotonic))
        else {
            return self.schedule_or_remove(now.monotonic);
        };
        self.current_state = pending.new_state;
        self.resume_after_commit(id, pending.next_due, now)
    }

    /// What follows a write: the untracking that waited for it, or the next poll.
    fn resume_after_commit(
        &mut self,
        id: JobId,
        due: MonotonicTime,
        now: ClockReading,
    ) -> FollowUp {
        if let Some(reason) = self.pending_untrack_reason.take()
            && let Some(change) =
                self.plan_local_end(id, LocalOutcome::Untracked, reason, None, now)
        {
            return FollowUp::Commit(Box::new(change));
        }
        self.schedule_or_remove(due)
    }

    /// The store holds another state than we expected, and this is it: plans once more on it, then
    /// gives in and says so.
    pub(super) fn on_rejected(
        &mut self,
        id: JobId,
        stored_state: CurrentState,
        now: ClockReading,
    ) -> PollOutcome {
        let previous = std::mem::replace(&mut self.current_state, stored_state);
        let phase = std::mem::replace(&mut self.phase, PollPhase::Waiting(now.monotonic));
        let PollPhase::Committing(pending) = phase else {
            return PollOutcome {
                follow_up: self.schedule_or_remove(now.monotonic),
                poll_record: None,
                anomaly: None,
            };
        };
        let anomaly = Some(format!(
            "the database says {} where we knew {}",
            self.current_state.state, previous.state
        ));
        if !pending.already_retried {
            let transitions = match &pending.cause {
                ChangeCause::Observed(observation, request_times, _) => {
                    match evaluate_observation(&self.current_state, observation, *request_times) {
                        Verdict::Transitions(transitions) => transitions,
                        Verdict::Unchanged | Verdict::Contradiction(_) => Vec::new(),
                    }
                }
                ChangeCause::Local(outcome, reason) => {
                    local_end_transition(&self.current_state, *outcome, now.utc, reason.clone())
                        .into_iter()
                        .collect()
                }
            };
            // An earlier commit of the very same change whose end we were not told.
            let already_committed = self.current_state.state == pending.new_state.state;
            if !transitions.is_empty() {
                let mut new_state = self.current_state.clone();
                for transition in &transitions {
                    new_state.apply(transition);
                }
                let poll_record = pending.poll_record.map(|poll_record| PollRecord {
                    expected_state: self.current_state.state,
                    ..poll_record
                });
                let change = self.start_commit(
                    id,
                    transitions,
                    new_state,
                    poll_record,
                    pending.cause,
                    pending.next_due,
                );
                if let PollPhase::Committing(pending) = &mut self.phase {
                    pending.already_retried = true;
                }
                return PollOutcome {
                    follow_up: FollowUp::Commit(Box::new(change)),
                    poll_record: None,
                    anomaly,
                };
            }
            if already_committed {
                return PollOutcome {
                    follow_up: self.resume_after_commit(id, pending.next_due, now),
                    poll_record: None,
                    anomaly: None,
                };
            }
        }
        PollOutcome {
            follow_up: self.resume_after_commit(id, pending.next_due, now),
            poll_record: None,
            anomaly,
        }
    }

    fn start_commit(
        &mut self,
        id: JobId,
        transitions: Vec<Transition>,
        new_state: CurrentState,
        poll_record: Option<PollRecord>,
        cause: ChangeCause,
        due: MonotonicTime,
    ) -> Change {
        // Why it ended stands in the last row; a word of the provider's must not stand over it.
        let poll_record = poll_record.map(|mut poll_record| {
            if let (Some(metadata), Some(Transition { message: Some(reason), .. })) =
                (&mut poll_record.metadata, transitions.last())
            {
                metadata.message = Some(reason.clone());
            }
            poll_record
        });
        let pending = PendingChange {
            cause,
            new_state: new_state.clone(),
            poll_record: poll_record.clone(),
            next_due: due,
            already_retried: false,
        };
        let duration_sample = pending
            .cause
            .learned_sample()
            .map(|learned_sample| learned_sample.duration_sample.clone());
        self.phase = PollPhase::Committing(Box::new(pending));
        let CurrentState { state: expected, provider_state: expected_provider_state, .. } =
            self.current_state.clone();
        Change {
            job: id,
            expected_state: expected,
            expected_provider_state,
            transitions,
            new_state,
            poll_record,
            duration_sample,
        }
    }

    /// Giving up needs a good answer that says "not over": an outage never ends a job.
    fn append_give_up(
        &self,
        mut transitions: Vec<Transition>,
        new_state: &mut CurrentState,
        limits: JobLimits<'_>,
        now: ClockReading,
    ) -> Vec<Transition> {
        let job_limit = self.give_up_after;
        let Some(limit) = limits.exceeded_give_up_limit(self.registered_at, job_limit, now.utc)
        else {
            return transitions;
        };
        let duration = humantime::format_duration(Duration::from_secs(limit.as_secs()));
        let reason = format!("given up: not over {duration} after it was registered");
        if let Some(transition) =
            local_end_transition(new_state, LocalOutcome::Untracked, now.utc, reason)
        {
            new_state.apply(&transition);
            transitions.push(transition);
        }
        transitions
    }

    fn schedule_or_remove(&mut self, due: MonotonicTime) -> FollowUp {
        if self.current_state.state.is_terminal() {
            return FollowUp::Remove;
        }
        self.phase = PollPhase::Waiting(due);
        FollowUp::PollAt(due)
    }

    fn make_poll_record(
        &self,
        id: JobId,
        polled_at: UtcTime,
        due: MonotonicTime,
        now: ClockReading,
    ) -> PollRecord {
        let finished = self.current_state.state.is_terminal();
        PollRecord {
            job: id,
            expected_state: self.current_state.state,
            last_polled_at: polled_at,
            next_poll_at: (!finished).then(|| now.utc.plus(due.duration_since(now.monotonic))),
            last_success_sent_at: self.current_state.last_success_sent_at,
            polls: self.polls,
            failed_polls: self.failed_polls,
            last_poll_error: None,
            metadata: None,
        }
    }
}
