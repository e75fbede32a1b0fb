//! PURE. Which job is asked when, and what its answer leads to: `step(input, now) → actions`.
//!
//! Holds the jobs that are not over, a lane for each provider, and nothing else. The scheduler
//! feeds it what happened and performs what it answers; a simulator can drive it through a year.
//! Invariants: a job has one poll in flight at most, and none while a change of it is unwritten;
//! its standing moves only when the store says that the change is in.

mod account;
mod age;
mod breaker;
mod due_queue;
mod forecast;
mod job;
mod limits;
mod list_answer;
mod list_batch;
mod message;
mod metadata;
mod phase;
mod provider_queue;
mod rename;
mod report;
mod select;

use std::collections::HashMap;
use std::time::Duration;

use crate::job::{
    Anomaly, Answer, ClockReading, JobId, LocalOutcome, MonotonicTime, ProviderName, RequestTimes,
    SimilarityKeys, StoredJob,
};

use account::ProviderAccount;
pub use breaker::RequestPause;
pub use forecast::{ForecastReason, NextPollTime, PollForecast, SimilarRunsSummary};
use job::TrackedJob;
pub use message::{
    Action, Input, ListRequest, Notice, PollPolicy, PollRequest, ProviderReport, ProviderSettings,
};
use phase::{FollowUp, PollOutcome, PollPhase};
pub use provider_queue::ProviderIndex;
use provider_queue::{PollClass, ProviderQueue};
use select::Selection;

/// All that is tracked.
#[derive(Debug, Default)]
pub struct Tracker {
    jobs: HashMap<JobId, TrackedJob>,
    queues: Vec<ProviderQueue>,
    accounts: Vec<ProviderAccount>,
    /// Lanes of former names, and who has their jobs.
    successors: HashMap<ProviderIndex, ProviderIndex>,
    /// How many polls were asked: a lane's last turn is told by it.
    selection_count: u64,
}

impl Tracker {
    /// Takes in what happened and says what is to be done, polls that have come due included.
    pub fn handle(&mut self, input: Input, now: ClockReading) -> Vec<Action> {
        let mut actions = Vec::new();
        self.advance_rate_limiters(now.monotonic);
        match input {
            Input::Tick => {}
            Input::Configure(settings) => self.configure(settings, now.monotonic),
            Input::LoadDurationSamples(samples) => {
                for (provider, sample) in samples {
                    let provider_index = self.find_or_add_provider(&provider, now.monotonic);
                    self.queues[provider_index.0].duration_history.record(&sample);
                }
            }
            Input::ForgetDurations(provider, name) => {
                if let Some(provider_index) = self.find_provider(&provider) {
                    self.queues[provider_index.0].duration_history.forget(name.as_deref());
                }
            }
            Input::ProviderRenamed { from, to } => self.rename_provider(&from, &to, now.monotonic),
            Input::Track(jobs) => jobs.into_iter().for_each(|job| self.track(job, now)),
            Input::PollNow(job) => self.poll_now(*job, now),
            Input::Untrack(job, reason) => self.untrack(job, reason, now, &mut actions),
            Input::OnDemandRequestStarted(provider) => self.update_on_demand_requests(
                &provider,
                now.monotonic,
                ProviderQueue::start_on_demand_request,
            ),
            Input::OnDemandRequestFinished(provider) => self.update_on_demand_requests(
                &provider,
                now.monotonic,
                ProviderQueue::finish_on_demand_request,
            ),
            Input::PollAnswered(job, provider_index, request_times, answer) => {
                self.handle_answer(
                    job,
                    self.successor_of(provider_index),
                    request_times,
                    *answer,
                    now,
                    &mut actions,
                );
            }
            Input::ListAnswered(request, request_times, answer) => {
                let request = ListRequest {
                    provider_index: self.successor_of(request.provider_index),
                    ..request
                };
                self.handle_list_answer(request, request_times, *answer, now, &mut actions);
            }
            Input::ChangeCommitted(job) => self.handle_change_committed(job, now, &mut actions),
            Input::ChangeRejected(job, found) => {
                self.handle_change_rejected(job, found, now, &mut actions);
            }
            Input::PollRecordRejected(job, found) => {
                self.handle_poll_record_rejected(job, found, now, &mut actions);
            }
        }
        self.start_due_polls(now.monotonic, &mut actions);
        actions
    }

    /// When the next step is due, if nothing happens before.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<MonotonicTime> {
        self.queues
            .iter()
            .filter_map(|queue| queue.next_wakeup(&self.accounts[queue.account_index]))
            .min()
    }

    /// Whether this job is held.
    #[must_use]
    pub fn contains(&self, job: JobId) -> bool {
        self.jobs.contains_key(&job)
    }

    /// Whether a change of this job is being written.
    #[must_use]
    pub fn is_committing(&self, job: JobId) -> bool {
        self.jobs.get(&job).is_some_and(|tracked| matches!(tracked.phase, PollPhase::Committing(_)))
    }

    fn update_on_demand_requests(
        &mut self,
        name: &ProviderName,
        now: MonotonicTime,
        update: fn(&mut ProviderQueue, &mut ProviderAccount, MonotonicTime),
    ) {
        let provider_index = self.find_or_add_provider(name, now);
        let queue = &mut self.queues[provider_index.0];
        update(queue, &mut self.accounts[queue.account_index], now);
    }

    fn track(&mut self, job: StoredJob, now: ClockReading) {
        if let Some(existing) = self.jobs.get_mut(&job.id) {
            // Its user may have said meanwhile what it is like.
            if matches!(job.similarity_keys, SimilarityKeys::UserProvided(_)) {
                existing.similarity_keys = job.similarity_keys;
            }
            return;
        }
        if job.current_state.state.is_terminal() {
            return;
        }
        let id = job.id;
        let provider_index = self.find_or_add_provider(&job.provider, now.monotonic);
        let queue = &mut self.queues[provider_index.0];
        // The stored time is by the wall clock, which may have jumped: bounded by the policy.
        let max_interval =
            queue.settings.as_ref().map_or(Duration::ZERO, ProviderSettings::max_poll_interval);
        let delay = job
            .next_poll_at
            .map_or(Duration::ZERO, |at| at.duration_since(now.utc))
            .min(max_interval);
        let due = now.monotonic.plus(delay);
        let class = if job.polls == 0 { PollClass::First } else { PollClass::Repeat };
        queue.active_jobs += 1;
        let tracked = TrackedJob::new(job, provider_index, due, now);
        queue.enqueue(id, due, class, tracked.list_position(), now.monotonic);
        self.jobs.insert(id, tracked);
    }

    fn poll_now(&mut self, job: StoredJob, now: ClockReading) {
        let id = job.id;
        let provider_index = self.find_or_add_provider(&job.provider, now.monotonic);
        let queue = &mut self.queues[provider_index.0];
        let tracked = self.jobs.entry(id).or_insert_with(|| {
            queue.active_jobs += 1;
            TrackedJob::new(job, provider_index, now.monotonic, now)
        });
        match &mut tracked.phase {
            // It was untracked while it was asked: the answer under way is the news asked for.
            PollPhase::Waiting(_) if queue.is_poll_in_flight(id) => {
                tracked.phase = PollPhase::Polling { on_demand: true };
            }
            PollPhase::Waiting(_) => {
                queue.dequeue(id, tracked.listed_at);
                queue.enqueue_on_demand(id);
            }
            PollPhase::Polling { on_demand } => *on_demand = true,
            // An answer that came just now is being written: that is the news asked for.
            PollPhase::Committing(_) => {}
        }
    }

    fn untrack(&mut self, id: JobId, reason: String, now: ClockReading, actions: &mut Vec<Action>) {
        let Some(tracked) = self.jobs.get_mut(&id) else { return };
        if tracked.current_state.state.is_terminal() {
            return;
        }
        Self::remove_from_queue(&mut self.queues, id, tracked);
        if let Some(change) = tracked.plan_local_end(id, LocalOutcome::Untracked, reason, None, now)
        {
            actions.push(Action::Commit(change));
        }
    }

    fn handle_answer(
        &mut self,
        id: JobId,
        provider_index: ProviderIndex,
        request_times: RequestTimes,
        answer: Answer,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        let Some(queue) = self.queues.get_mut(provider_index.0) else { return };
        // One job that is forbidden to us must not hold up all others again and again.
        let rejected_before = self.jobs.get(&id).is_some_and(TrackedJob::was_rejected);
        let account = &mut self.accounts[queue.account_index];
        queue.record_answer(account, id, &answer, rejected_before, now, actions);
        self.apply_answer(id, provider_index, request_times, answer, now, actions);
    }

    /// What was said of a job, by itself or on a page.
    fn apply_answer(
        &mut self,
        id: JobId,
        provider_index: ProviderIndex,
        request_times: RequestTimes,
        answer: Answer,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        let Some(queue) = self.queues.get_mut(provider_index.0) else { return };
        if let Ok(observation) = &answer.result {
            actions.extend(queue.update_unknown_states(observation).map(Action::Notify));
        }
        let Some(tracked) = self.jobs.get_mut(&id) else { return };
        let PollPhase::Polling { on_demand } = tracked.phase else {
            // It was untracked while it was asked.
            return;
        };
        let outcome = tracked.apply_answer(id, answer, request_times, queue.limits(), now);
        self.apply_outcome(id, outcome, on_demand, now, actions);
    }

    fn handle_change_committed(&mut self, id: JobId, now: ClockReading, actions: &mut Vec<Action>) {
        let Some(tracked) = self.jobs.get_mut(&id) else { return };
        if let Some(learned_sample) = tracked.learned_sample() {
            self.queues[tracked.provider_index.0].add_sample(learned_sample);
        }
        let outcome = PollOutcome {
            follow_up: tracked.on_committed(id, now),
            poll_record: None,
            anomaly: None,
        };
        self.apply_outcome(id, outcome, false, now, actions);
    }

    fn handle_change_rejected(
        &mut self,
        id: JobId,
        stored_job: Option<Box<StoredJob>>,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        let Some(tracked) = self.jobs.get_mut(&id) else { return };
        Self::remove_from_queue(&mut self.queues, id, tracked);
        let outcome = match stored_job {
            Some(stored_job) => tracked.on_rejected(id, stored_job.current_state, now),
            None => PollOutcome { follow_up: FollowUp::Remove, poll_record: None, anomaly: None },
        };
        self.apply_outcome(id, outcome, false, now, actions);
    }

    /// Somebody else changed the job, or removed it: we go on from what the store has.
    fn handle_poll_record_rejected(
        &mut self,
        id: JobId,
        stored_job: Option<Box<StoredJob>>,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        let Some(tracked) = self.jobs.get_mut(&id) else { return };
        if matches!(tracked.phase, PollPhase::Committing(_)) {
            // The note was older than the change under way, which will be told the same.
            return;
        }
        let stored_state = stored_job.map(|found| found.current_state);
        let known_state = tracked.current_state.state;
        let finished = stored_state.as_ref().is_none_or(|found| found.state.is_terminal());
        if let Some(stored_state) = stored_state.filter(|found| found.state != known_state) {
            let what =
                format!("the database says {} where we knew {known_state}", stored_state.state);
            actions.push(Action::RecordAnomaly(Anomaly {
                job: id,
                at: now.utc,
                description: what,
            }));
            tracked.current_state = stored_state;
        }
        if finished {
            Self::remove_from_queue(&mut self.queues, id, tracked);
            let outcome =
                PollOutcome { follow_up: FollowUp::Remove, poll_record: None, anomaly: None };
            self.apply_outcome(id, outcome, false, now, actions);
        }
    }

    /// A job that waits is no longer in turn.
    fn remove_from_queue(queues: &mut [ProviderQueue], id: JobId, tracked: &TrackedJob) {
        if let PollPhase::Waiting(_) = tracked.phase {
            queues[tracked.provider_index.0].dequeue(id, tracked.listed_at);
        }
    }

    fn apply_outcome(
        &mut self,
        id: JobId,
        outcome: PollOutcome,
        urgent: bool,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        actions.extend(
            outcome.poll_record.map(|poll_record| Action::RecordPoll { poll_record, urgent }),
        );
        actions.extend(outcome.anomaly.map(|what| {
            Action::RecordAnomaly(Anomaly { job: id, at: now.utc, description: what })
        }));
        let Some(tracked) = self.jobs.get_mut(&id) else { return };
        let queue = &mut self.queues[tracked.provider_index.0];
        match outcome.follow_up {
            // Its untracking came while it was asked, and was refused: that answer is to come.
            FollowUp::PollAt(_) if queue.is_poll_in_flight(id) => {
                tracked.phase = PollPhase::Polling { on_demand: false };
            }
            FollowUp::PollAt(due) => {
                queue.enqueue(id, due, PollClass::Repeat, tracked.list_position(), now.monotonic);
            }
            FollowUp::Commit(change) => actions.push(Action::Commit(*change)),
            FollowUp::Remove => {
                queue.active_jobs = queue.active_jobs.saturating_sub(1);
                self.jobs.remove(&id);
            }
        }
    }

    fn start_due_polls(&mut self, now: MonotonicTime, actions: &mut Vec<Action>) {
        while let Some((provider_index, selection)) = self.select_next(now) {
            let provider = self.queues[provider_index.0].name.clone();
            match selection {
                Selection::Poll(job, on_demand) => {
                    let Some(tracked) = self.jobs.get_mut(&job) else { continue };
                    tracked.phase = PollPhase::Polling { on_demand };
                    let remote_id = tracked.remote_id.clone();
                    actions.push(Action::Poll(PollRequest {
                        provider_index,
                        job,
                        provider,
                        remote_id,
                    }));
                }
                Selection::List(window, jobs) => {
                    for (job, _) in &jobs {
                        if let Some(tracked) = self.jobs.get_mut(job) {
                            tracked.phase = PollPhase::Polling { on_demand: false };
                        }
                    }
                    actions.push(Action::List(ListRequest {
                        provider_index,
                        provider,
                        window,
                        jobs,
                    }));
                }
            }
        }
    }
}
