//! PURE. Decides when each job is polled and what the answers lead to.
//!
//! The scheduler feeds each event to [`Tracker::handle`] as an [`Input`], carries out the returned
//! [`Action`]s, and calls again at [`Tracker::next_wakeup`]. Tests drive the tracker the same way
//! through simulated days. Invariants: a job has at most one poll in flight, and none starts while a
//! change of the job is being committed; a job's state is always one that the store has committed.
//!
//! The files depend on each other in one direction; `tests/pure/architecture.rs` holds their order.

mod account;
mod age;
mod answers;
mod breaker;
mod candidates;
mod commits;
mod compact_price;
mod configure;
mod connection_check_gate;
mod due_queue;
mod earlier_process;
mod failure_streak;
mod forecast;
mod job;
mod job_answer;
mod job_commit;
mod job_effects;
mod job_heap;
mod job_index;
mod job_policy;
mod job_table;
mod list_batch;
mod message;
mod metadata;
mod on_demand;
mod outage;
mod pause_durations;
mod pending_change;
mod phase;
mod price_in_force;
mod provider_answer;
mod provider_choice;
mod provider_queue;
mod rare_state;
mod readiness;
mod recorded_time;
mod registry;
mod replan;
mod report;
mod select;
mod shared_values;
mod spare_polls;
mod transient_failures;
mod valuation;

use std::time::Duration;

use crate::job::{ClockReading, JobId, LocalOutcome, MonotonicTime, SimilarityKeys, StoredJob};

pub use breaker::RequestPause;
pub use forecast::{ForecastReason, NextPollTime, PollDelay, PollForecast, SimilarRunsSummary};
use job::TrackedJob;
pub use message::{
    Action, ExpectedJob, FailedRow, Input, ListRequest, Notice, PollPolicy, PollRequest,
    ProviderIndex, ProviderSettings, RequestRefusal,
};
pub use outage::FailedPoll;
use phase::PollPhase;
use provider_queue::FirstOrRepeat;
pub use registry::Tracker;
pub use report::ProviderReport;
use select::NextRequest;

impl Tracker {
    /// Applies an input and returns the actions to carry out, including polls that are due now.
    pub fn handle(&mut self, input: Input, now: ClockReading) -> Vec<Action> {
        let mut actions = Vec::new();
        let (input, now) = self.correct_times(input, now);
        for account in &mut self.accounts {
            account.rate_limiter.advance(now.monotonic);
        }
        self.apply_input(input, now, &mut actions);
        self.replan_some(now, &mut actions);
        self.refuse_waiting_requests(now.monotonic, &mut actions);
        self.start_due_polls(now.monotonic, &mut actions);
        actions
    }

    fn apply_input(&mut self, input: Input, now: ClockReading, actions: &mut Vec<Action>) {
        match input {
            // The times are known already.
            Input::Tick | Input::LoadRecordedTimes(_) => {}
            Input::LoadRateLimiterStates(states) => self.left_states = states,
            Input::Configure(settings) => self.configure(settings, now, actions),
            Input::LoadDurationSamples(samples) => {
                for (provider, sample) in samples {
                    let provider_index = self.find_or_add_provider(&provider, now.monotonic);
                    self.queues[provider_index.position()].duration_history.record(&sample);
                }
            }
            Input::LoadRunStarts(runs) => {
                for (provider, run) in runs {
                    if let Some(provider_index) = self.find_provider(&provider) {
                        self.queues[provider_index.position()].duration_history.record_start(&run);
                    }
                }
            }
            Input::ForgetDurations(provider, similarity_key) => {
                if let Some(provider_index) = self.find_provider(&provider) {
                    self.queues[provider_index.position()]
                        .duration_history
                        .forget(similarity_key.as_deref());
                }
            }
            Input::Track(jobs) => jobs.into_iter().for_each(|job| self.track(job, now, actions)),
            Input::PollNow(job) => self.poll_now(*job, now),
            Input::Untrack(job, reason) => self.untrack(job, reason, now, actions),
            Input::Cancel(provider, job) => self.order_cancel(&provider, job, now, actions),
            Input::CancelAnswered(provider, job, answer) => {
                self.handle_cancel_answered(&provider, job, answer, now, actions);
            }
            Input::CheckConnection(provider) => {
                self.order_connection_check(provider, now.monotonic, actions);
            }
            Input::ConnectionChecked(provider, check) => {
                self.handle_connection_checked(provider, check, now, actions);
            }
            Input::PollAnswered(job, provider_index, request_times, answer) => {
                self.handle_answer(job, provider_index, request_times, *answer, now, actions);
            }
            Input::ListAnswered(request, request_times, answer) => {
                self.handle_list_answer(request, request_times, *answer, now, actions);
            }
            Input::ChangeCommitted(job) => self.handle_change_committed(job, now, actions),
            Input::ChangeRejected(job, stored_job) => {
                self.handle_change_rejected(job, stored_job, now, actions);
            }
            Input::PollRecordRejected(job, stored_job) => {
                self.handle_poll_record_rejected(job, stored_job, now, actions);
            }
            Input::WriteFailed(job, failed) => self.handle_write_failed(job, failed, now, actions),
        }
    }

    /// When to call [`Self::handle`] with [`Input::Tick`] if no other input comes before.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<MonotonicTime> {
        self.queues
            .iter()
            .flat_map(|queue| {
                let account = &self.accounts[queue.account_index.0];
                [queue.next_wakeup(account), queue.spare_ready_at(account)]
            })
            .flatten()
            .chain((!self.jobs_to_replan.is_empty()).then_some(self.replans_from))
            .min()
    }

    #[must_use]
    pub fn contains(&self, job: JobId) -> bool {
        self.job(job).is_some()
    }

    fn track(&mut self, job: StoredJob, now: ClockReading, actions: &mut Vec<Action>) {
        if self.jobs.contains(job.id) {
            return self.update(job, now, actions);
        }
        if job.current_state.state().is_terminal() {
            return;
        }
        let id = job.id;
        let provider_index = self.find_or_add_provider(&job.provider, now.monotonic);
        let queue = &mut self.queues[provider_index.position()];
        // The stored due time is by the wall clock, which may have jumped: the policy bounds the wait.
        let max_interval =
            queue.settings.as_ref().map_or(Duration::ZERO, ProviderSettings::max_poll_interval);
        let delay = job
            .next_poll_at
            .map_or(Duration::ZERO, |at| at.duration_since(now.utc))
            .min(max_interval);
        let due = now.monotonic.plus(delay);
        let class = if job.polls == 0 { FirstOrRepeat::First } else { FirstOrRepeat::Repeat };
        queue.active_jobs += 1;
        let tracked = TrackedJob::new(job, provider_index, due, &mut self.shared_values, now);
        queue.enqueue(id, due, class, tracked.batchable_list_time(), now.monotonic);
        queue.record_age(&tracked);
        self.jobs.insert(tracked);
    }

    /// Takes over what a user may have changed by adding a tracked job again.
    fn update(&mut self, job: StoredJob, now: ClockReading, actions: &mut Vec<Action>) {
        let Some(tracked) = self.jobs.get_mut(job.id) else { return };
        if matches!(job.similarity_keys, SimilarityKeys::UserProvided(_)) {
            let queue = &mut self.queues[tracked.provider_index.position()];
            queue.forget_age(&tracked.similarity_keys, tracked.age.start());
            tracked.similarity_keys = self.shared_values.share_keys(job.similarity_keys);
            queue.record_age(tracked);
        }
        if tracked.set_price(job.price) {
            self.replan(job.id, now, actions);
        }
    }

    fn poll_now(&mut self, job: StoredJob, now: ClockReading) {
        let id = job.id;
        let provider_index = self.find_or_add_provider(&job.provider, now.monotonic);
        let queue = &mut self.queues[provider_index.position()];
        let Some(tracked) = self.jobs.get_mut(id) else {
            queue.active_jobs += 1;
            let shared_values = &mut self.shared_values;
            let tracked = TrackedJob::new(job, provider_index, now.monotonic, shared_values, now);
            self.jobs.insert(tracked);
            queue.enqueue_on_demand(id);
            return;
        };
        match tracked.phase() {
            PollPhase::Waiting { .. } => {
                queue.dequeue(id, tracked.list_time);
                queue.enqueue_on_demand(id);
            }
            PollPhase::InFlight { .. } => tracked.mark_on_demand(),
            // A change of the job is being committed: the caller waits for that commit instead.
            PollPhase::Committing(_) | PollPhase::CommittingDuringPoll(_) => {}
            PollPhase::FinishedDuringPoll => {
                queue.active_jobs += 1;
                tracked.resume_during_poll(job, &mut self.shared_values, now);
            }
        }
    }

    fn untrack(&mut self, id: JobId, reason: String, now: ClockReading, actions: &mut Vec<Action>) {
        if self.job(id).is_none_or(TrackedJob::is_terminal) {
            return;
        }
        self.dequeue(id);
        let change = self
            .job_mut(id)
            .and_then(|tracked| tracked.plan_local_end(LocalOutcome::Untracked, reason, None, now));
        actions.extend(change.map(Action::Commit));
    }

    fn start_due_polls(&mut self, now: MonotonicTime, actions: &mut Vec<Action>) {
        while let Some((provider_index, request)) = self.select_next(now) {
            let provider = self.queues[provider_index.position()].name.clone();
            match request {
                NextRequest::Poll { job, on_demand } => {
                    let Some(tracked) = self.jobs.get_mut(job) else { continue };
                    tracked.start_poll(on_demand);
                    let remote_id = tracked.remote_id();
                    let request = PollRequest { provider_index, job, provider, remote_id };
                    actions.push(Action::Poll(request));
                }
                NextRequest::Cancel(job) => actions.push(Action::Cancel(provider, job)),
                NextRequest::ConnectionCheck => actions.push(Action::CheckConnection(provider)),
                NextRequest::List(query, jobs) => {
                    for expected in &jobs {
                        if let Some(tracked) = self.jobs.get_mut(expected.job) {
                            tracked.start_poll(false);
                        }
                    }
                    let request = ListRequest { provider_index, provider, query, jobs };
                    actions.push(Action::List(request));
                }
            }
        }
    }
}
