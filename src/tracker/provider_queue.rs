//! A provider's queue: the jobs that wait for a poll, and the requests in flight.
//!
//! The queue knows job ids and due times only; `readiness.rs` says when a request may be sent, and
//! [`super::select`] chooses the next job. Jobs whose last request was rejected wait in a queue of their
//! own.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::time::Duration;

use crate::job::{DurationStart, JobId, MonotonicTime, ProviderName, SimilarityKeys, UtcTime};
use crate::policy::DurationHistory;

use super::breaker::{CircuitBreaker, JobStanding};
use super::connection_check_gate::ConnectionCheckGate;
use super::due_queue::DueQueue;
use super::job::TrackedJob;
use super::job_policy::JobPolicy;
use super::list_batch::ListBatcher;
use super::message::{AccountIndex, ProviderSettings};
use super::outage::{FailedPoll, OutageRecorder};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FirstOrRepeat {
    /// The job was never polled.
    First,
    Repeat,
}

/// A poll or a list request that was sent and is not answered.
#[derive(Debug)]
struct InFlightRequest {
    sent_at: MonotonicTime,
    /// A request without an answer by this time is stuck.
    deadline: MonotonicTime,
}

#[derive(Debug)]
pub(super) struct ProviderQueue {
    pub(super) name: ProviderName,
    /// None while the provider is not configured: its jobs wait.
    pub(super) settings: Option<ProviderSettings>,
    /// Of the last settings, even while the provider is not configured.
    connection_fingerprint: Option<u64>,
    pub(super) account_index: AccountIndex,
    /// The number of the selection that last chose this provider.
    pub(super) last_selected: u64,
    /// The number of tracked jobs that still need polls.
    pub(super) active_jobs: u64,
    pub(super) breaker: CircuitBreaker,
    pub(super) outages: OutageRecorder,
    /// None once the same job, or a list, is answered.
    pub(super) last_failed_poll: Option<FailedPoll>,
    /// By the first job that each request asks for: a job has one poll in flight at most.
    in_flight: BTreeMap<JobId, InFlightRequest>,
    /// The cancel requests in flight, with the time at which each was sent. At most one.
    pub(super) cancel_in_flight: Option<(JobId, MonotonicTime)>,
    /// The job whose cancel request is sent again with another credential.
    pub(super) repeated_cancel: Option<JobId>,
    /// Jobs whose cancel request waits to be sent.
    pub(super) waiting_cancels: VecDeque<JobId>,
    pub(super) check_gate: ConnectionCheckGate,
    /// The tracked jobs whose last request was rejected.
    rejected_jobs: HashSet<JobId>,
    pub(super) first_polls: DueQueue,
    pub(super) repeat_polls: DueQueue,
    /// The jobs of `repeat_polls` that may be polled before they are due, by the time from which they may.
    pub(super) spare_polls: DueQueue,
    /// The rejected jobs that wait.
    pub(super) rejected_polls: DueQueue,
    pub(super) list_batcher: ListBatcher,
    pub(super) on_demand_polls: VecDeque<JobId>,
    pub(super) duration_history: DurationHistory,
    /// When an answer about a job was last read.
    pub(super) last_answered_at: Option<MonotonicTime>,
    /// The moving average of the time from a job's end to its observation.
    pub(super) mean_detection_delay: Option<Duration>,
    /// Reported states that are missing from the provider's state map.
    pub(super) unknown_states: BTreeSet<String>,
}

impl ProviderQueue {
    /// How much longer than its time-out a request may take before it counts as stuck.
    const STUCK_MARGIN: Duration = Duration::from_secs(30);

    pub(super) fn new(name: ProviderName, account_index: AccountIndex) -> Self {
        Self {
            name,
            settings: None,
            connection_fingerprint: None,
            account_index,
            last_selected: 0,
            active_jobs: 0,
            breaker: CircuitBreaker::default(),
            outages: OutageRecorder::default(),
            last_failed_poll: None,
            in_flight: BTreeMap::new(),
            cancel_in_flight: None,
            repeated_cancel: None,
            waiting_cancels: VecDeque::new(),
            check_gate: ConnectionCheckGate::default(),
            rejected_jobs: HashSet::new(),
            first_polls: DueQueue::default(),
            repeat_polls: DueQueue::default(),
            spare_polls: DueQueue::default(),
            rejected_polls: DueQueue::default(),
            list_batcher: ListBatcher::default(),
            on_demand_polls: VecDeque::new(),
            duration_history: DurationHistory::default(),
            last_answered_at: None,
            mean_detection_delay: None,
            unknown_states: BTreeSet::new(),
        }
    }

    /// Applies new settings; none if the provider is no longer configured. One request at a time is
    /// sent until one succeeds with them. Returns whether the requests reach the service in another way
    /// than before: then the pauses end.
    pub(super) fn configure(&mut self, settings: Option<ProviderSettings>) -> bool {
        let connection = settings.as_ref().map(|settings| settings.connection_fingerprint);
        let connection_changed = connection.is_some() && connection != self.connection_fingerprint;
        self.connection_fingerprint = connection.or(self.connection_fingerprint);
        let policy = |settings: &Option<ProviderSettings>| settings.as_ref().map(|own| own.policy);
        if policy(&settings) != policy(&self.settings) {
            self.spare_polls = DueQueue::default();
        }
        self.settings = settings;
        self.breaker.enter_half_open(connection_changed);
        if connection_changed {
            self.check_gate.reset();
            self.rejected_jobs.clear();
            for (due, job) in self.rejected_polls.drain() {
                self.repeat_polls.insert(job, due);
            }
        }
        self.list_batcher.reset();
        // Jobs in an unknown state are polled at once, so states that are still unknown soon return.
        self.unknown_states.clear();
        self.first_polls.reset_priorities();
        self.repeat_polls.reset_priorities();
        self.spare_polls.reset_priorities();
        connection_changed
    }

    pub(super) fn job_policy(&self) -> JobPolicy<'_> {
        JobPolicy::new(self.settings.as_ref(), &self.duration_history, self.last_answered_at)
    }

    /// Queues a poll; a rejected job waits among the rejected ones, whatever its class. `list_time` is
    /// none if a list page cannot answer for the job.
    pub(super) fn enqueue(
        &mut self,
        job: JobId,
        due: MonotonicTime,
        class: FirstOrRepeat,
        list_time: Option<UtcTime>,
        now: MonotonicTime,
    ) {
        if self.rejected_jobs.contains(&job) {
            return self.rejected_polls.insert(job, due);
        }
        if let Some(list_time) = list_time {
            self.list_batcher.insert(list_time, job);
        }
        match class {
            FirstOrRepeat::First => self.first_polls.insert(job, due),
            FirstOrRepeat::Repeat => {
                self.repeat_polls.insert(job, self.batched_due(due, list_time, now));
            }
        }
    }

    /// When a list page that includes this job may have the priority of a due job. The expected staleness
    /// grows with the square of the wait, and each of n jobs on a page pays 1/n of the price, so the
    /// page is due after 1/√n of the wait.
    fn batched_due(
        &self,
        due: MonotonicTime,
        list_time: Option<UtcTime>,
        now: MonotonicTime,
    ) -> MonotonicTime {
        let is_batchable = list_time.is_some() && self.can_list();
        let Some(learned) = self.job_policy().learned.filter(|_| is_batchable) else { return due };
        #[expect(clippy::cast_precision_loss, reason = "a page holds at most 100 jobs")]
        let batch_capacity = self.list_batcher.batch_capacity(now) as f64;
        let wait =
            due.duration_since(now).div_f64(batch_capacity.sqrt()).max(learned.rule.min_interval);
        now.plus(wait).min(due)
    }

    /// Whether a list request may replace individual polls.
    pub(super) fn can_list(&self) -> bool {
        self.settings.as_ref().is_some_and(|settings| settings.supports_list)
            && !self.breaker.is_half_open()
    }

    /// Records whether the last request for the job was rejected.
    pub(super) fn set_standing(&mut self, job: JobId, standing: JobStanding) {
        match standing {
            JobStanding::Regular => self.rejected_jobs.remove(&job),
            JobStanding::Rejected => self.rejected_jobs.insert(job),
        };
    }

    pub(super) fn standing(&self, job: JobId) -> JobStanding {
        if self.rejected_jobs.contains(&job) { JobStanding::Rejected } else { JobStanding::Regular }
    }

    /// Whether the last request of every job was rejected.
    pub(super) fn all_jobs_are_rejected(&self) -> bool {
        self.active_jobs <= self.rejected_jobs.len() as u64
    }

    /// The job needs no more polls.
    pub(super) fn remove_job(&mut self, job: &TrackedJob) {
        self.active_jobs = self.active_jobs.saturating_sub(1);
        self.rejected_jobs.remove(&job.id);
        self.last_failed_poll.take_if(|failed| failed.job == Some(job.id));
        self.forget_age(&job.similarity_keys, job.age.start());
    }

    /// Records how long an unfinished job has lasted, for the predictions of similar jobs.
    pub(super) fn record_age(&mut self, job: &TrackedJob) {
        let (start, age) = (job.age.start(), job.age.last_active_age());
        self.duration_history.record_unfinished(&job.similarity_keys, start, age);
    }

    /// Forgets what was recorded for a job with these keys and this start.
    pub(super) fn forget_age(&mut self, similarity_keys: &SimilarityKeys, start: DurationStart) {
        self.duration_history.forget_unfinished(similarity_keys, start);
    }

    pub(super) fn enqueue_on_demand(&mut self, job: JobId) {
        if !self.on_demand_polls.contains(&job) {
            self.on_demand_polls.push_back(job);
        }
    }

    pub(super) fn dequeue(&mut self, job: JobId, list_time: Option<UtcTime>) {
        if let Some(list_time) = list_time {
            self.list_batcher.remove(list_time, job);
        }
        self.first_polls.remove(job);
        self.repeat_polls.remove(job);
        self.spare_polls.remove(job);
        self.rejected_polls.remove(job);
        self.on_demand_polls.retain(|waiting| *waiting != job);
    }

    /// Moves a repeat poll to a new due time; false if the job does not wait for one.
    pub(super) fn reschedule(
        &mut self,
        job: JobId,
        list_time: Option<UtcTime>,
        due: MonotonicTime,
    ) -> bool {
        let was_waiting = self.repeat_polls.remove(job).is_some();
        if was_waiting {
            // `due` as the present keeps the due time: no wait is left that a list page could shorten.
            self.enqueue(job, due, FirstOrRepeat::Repeat, list_time, due);
        }
        was_waiting
    }

    /// Records that a poll or a list request is sent now; `first_job` is the first job it asks for.
    pub(super) fn start_request(&mut self, first_job: JobId, now: MonotonicTime) {
        // The deadline is fixed now, because a reload may shorten the time-out.
        let request_timeout =
            self.settings.as_ref().map_or(Duration::ZERO, |settings| settings.request_timeout);
        let deadline = now.plus(request_timeout + Self::STUCK_MARGIN);
        self.in_flight.insert(first_job, InFlightRequest { sent_at: now, deadline });
    }

    /// Records that a poll or a list request was answered, and returns when the request was sent.
    pub(super) fn end_request(&mut self, first_job: JobId, now: MonotonicTime) -> MonotonicTime {
        self.in_flight.remove(&first_job).map_or(now, |request| request.sent_at)
    }

    /// The number of requests in flight, of all kinds.
    pub(super) fn in_flight_requests(&self) -> u32 {
        let polls = u32::try_from(self.in_flight.len()).unwrap_or(u32::MAX);
        let on_demand =
            u32::from(self.cancel_in_flight.is_some()) + u32::from(self.check_gate.is_in_flight());
        polls.saturating_add(on_demand)
    }

    /// The number of due jobs, and how long the first of them has been due.
    pub(super) fn due_backlog(&self, now: MonotonicTime) -> (u64, Duration) {
        let queues = [&self.first_polls, &self.repeat_polls, &self.rejected_polls];
        let earliest_due = queues.iter().filter_map(|queue| queue.earliest_due()).min();
        let longest_overdue = earliest_due.map_or(Duration::ZERO, |due| now.duration_since(due));
        let due: u64 = queues.iter().map(|queue| queue.count_due(now)).sum();
        (due + self.on_demand_polls.len() as u64, longest_overdue)
    }

    /// Whether a request is in flight past its deadline.
    pub(super) fn has_stuck_poll(&self, now: MonotonicTime) -> bool {
        self.in_flight.values().any(|request| now > request.deadline)
    }
}
