//! A lane: the jobs of one provider that wait, what it has learned of their like, and what holds them
//! back: the account's budget, the polls in flight, a pause.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::job::{
    Answer, ClockReading, JobId, ListPage, MonotonicTime, NotFoundTimeout, Observation,
    ObservedState, ProviderErrorKind, ProviderName, UtcTime,
};
use crate::policy::{Backoff, DurationHistory};

use super::account::ProviderAccount;
use super::breaker::ProviderHealth;
use super::due_queue::DueQueue;
use super::limits::{JobLimits, LearnedPolicy};
use super::list_batch::{ListBatcher, WaitingJob};
use super::phase::LearnedSample;
use super::select::Selection;
use super::{Action, Notice, PollPolicy, ProviderSettings};

/// The number of a lane; lanes are never removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProviderIndex(pub(super) usize);

/// Where a job waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PollClass {
    /// It was never asked.
    First,
    /// It was.
    Repeat,
}

/// A poll under way.
#[derive(Debug)]
struct InFlightPoll {
    sent_at: MonotonicTime,
    /// It must have ended by then.
    deadline: MonotonicTime,
}

#[derive(Debug)]
pub(super) struct ProviderQueue {
    pub(super) name: ProviderName,
    /// None while the provider is not configured: its jobs wait.
    pub(super) settings: Option<ProviderSettings>,
    /// Which of the tracker's accounts it uses.
    pub(super) account_index: usize,
    /// The tracker's count of turns when it last had one.
    pub(super) last_selected: u64,
    pub(super) active_jobs: u64,
    pub(super) health: ProviderHealth,
    /// Requests under way.
    in_flight_requests: u32,
    /// The jobs that they ask for.
    in_flight_polls: BTreeMap<JobId, InFlightPoll>,
    pub(super) first_polls: DueQueue,
    pub(super) repeat_polls: DueQueue,
    pub(super) list_batcher: ListBatcher,
    pub(super) on_demand: VecDeque<JobId>,
    pub(super) duration_history: DurationHistory,
    /// How late the ends of late were seen, on average.
    mean_detection_delay: Option<Duration>,
    unknown_states: BTreeSet<String>,
}

impl ProviderQueue {
    const MAX_UNKNOWN_STATES: usize = 100;
    const STUCK_MARGIN: Duration = Duration::from_secs(30);
    /// An end's part in the average lateness.
    const DETECTION_DELAY_WEIGHT: f64 = 0.1;

    pub(super) fn new(name: ProviderName, account_index: usize) -> Self {
        Self {
            name,
            settings: None,
            account_index,
            last_selected: 0,
            active_jobs: 0,
            health: ProviderHealth::default(),
            in_flight_requests: 0,
            in_flight_polls: BTreeMap::new(),
            first_polls: DueQueue::default(),
            repeat_polls: DueQueue::default(),
            list_batcher: ListBatcher::default(),
            on_demand: VecDeque::new(),
            duration_history: DurationHistory::default(),
            mean_detection_delay: None,
            unknown_states: BTreeSet::new(),
        }
    }

    /// New settings end a pause and may know more words, and have to prove themselves: what was wrong
    /// may be mended, what was right may be wrong.
    pub(super) fn configure(&mut self, settings: Option<ProviderSettings>) {
        self.settings = settings;
        self.health.enter_half_open();
        self.list_batcher.reset();
        // What is still unknown is soon said again: its jobs are asked at once.
        self.unknown_states.clear();
        self.first_polls.reset_priorities();
        self.repeat_polls.reset_priorities();
    }

    /// `place` is where the list shows it, if it can be asked for with others.
    pub(super) fn enqueue(
        &mut self,
        job: JobId,
        due: MonotonicTime,
        class: PollClass,
        list_position: Option<UtcTime>,
        now: MonotonicTime,
    ) {
        if let Some(list_position) = list_position {
            self.list_batcher.insert(list_position, job, due);
        }
        match class {
            PollClass::First => self.first_polls.insert(job, due),
            PollClass::Repeat => {
                self.repeat_polls.insert(job, self.batched_due(due, list_position, now));
            }
        }
    }

    /// When a page may be worth a request that answers for this job too. Staleness grows as the square
    /// of the silence, so that of n jobs each waits for the n-th part of the price, and a √n-th of the time.
    fn batched_due(
        &self,
        due: MonotonicTime,
        list_position: Option<UtcTime>,
        now: MonotonicTime,
    ) -> MonotonicTime {
        let is_batchable = list_position.is_some() && self.can_list();
        let Some(learned) = self.limits().learned.filter(|_| is_batchable) else { return due };
        #[allow(clippy::cast_precision_loss)]
        let batch_capacity = self.list_batcher.batch_capacity(now) as f64;
        let wait =
            due.duration_since(now).div_f64(batch_capacity.sqrt()).max(learned.rule.min_interval);
        now.plus(wait).min(due)
    }

    /// Whether the list may be asked instead of single jobs.
    pub(super) fn can_list(&self) -> bool {
        self.settings.as_ref().is_some_and(|settings| settings.supports_list)
            && !self.health.is_half_open()
    }

    pub(super) fn enqueue_on_demand(&mut self, job: JobId) {
        if !self.on_demand.contains(&job) {
            self.on_demand.push_back(job);
        }
    }

    pub(super) fn dequeue(&mut self, job: JobId, list_position: Option<UtcTime>) {
        if let Some(list_position) = list_position {
            self.list_batcher.remove(list_position, job);
        }
        self.first_polls.remove(job);
        self.repeat_polls.remove(job);
        self.on_demand.retain(|waiting| *waiting != job);
    }

    /// A job that was asked before is `due` then, not when it was to be; false if it does not wait.
    pub(super) fn reschedule(
        &mut self,
        job: JobId,
        list_position: Option<UtcTime>,
        due: MonotonicTime,
    ) -> bool {
        let was_waiting = self.repeat_polls.remove(job).is_some();
        if was_waiting {
            self.enqueue(job, due, PollClass::Repeat, list_position, due);
        }
        was_waiting
    }

    /// What goes out now: the request is spent, and who is asked for is under way.
    pub(super) fn start_request(
        &mut self,
        account: &mut ProviderAccount,
        selection: &Selection,
        now: MonotonicTime,
    ) {
        account.rate_limiter.acquire(now);
        // By the time-out of now: a reload may shorten it.
        let request_timeout =
            self.settings.as_ref().map_or(Duration::ZERO, |settings| settings.request_timeout);
        let deadline = now.plus(request_timeout + Self::STUCK_MARGIN);
        self.in_flight_requests += 1;
        let in_flight = |(job, _): &WaitingJob| (*job, InFlightPoll { sent_at: now, deadline });
        match selection {
            Selection::Poll(job, _) => self.in_flight_polls.extend([in_flight(&(*job, now))]),
            Selection::List(_, jobs) => self.in_flight_polls.extend(jobs.iter().map(in_flight)),
        }
    }

    /// A request that somebody ordered, and that is no poll.
    pub(super) fn start_on_demand_request(
        &mut self,
        account: &mut ProviderAccount,
        now: MonotonicTime,
    ) {
        account.rate_limiter.acquire(now);
        self.in_flight_requests += 1;
    }

    /// It has ended.
    pub(super) fn finish_on_demand_request(
        &mut self,
        account: &mut ProviderAccount,
        now: MonotonicTime,
    ) {
        account.rate_limiter.complete(now);
        self.in_flight_requests = self.in_flight_requests.saturating_sub(1);
    }

    /// What is under way is the heir's now; who waits by hand is to follow, as all others that wait.
    pub(super) fn transfer(&mut self, successor: &mut Self) -> VecDeque<JobId> {
        successor.in_flight_requests += std::mem::take(&mut self.in_flight_requests);
        successor.in_flight_polls.append(&mut self.in_flight_polls);
        successor.list_batcher.absorb(&mut self.list_batcher);
        successor.mean_detection_delay =
            successor.mean_detection_delay.or(self.mean_detection_delay.take());
        successor.duration_history.merge_missing(std::mem::take(&mut self.duration_history));
        std::mem::take(&mut self.on_demand)
    }

    /// Whether a poll of this job is under way.
    pub(super) fn is_poll_in_flight(&self, job: JobId) -> bool {
        self.in_flight_polls.contains_key(&job)
    }

    /// How many requests are under way.
    pub(super) fn in_flight_requests(&self) -> u32 {
        self.in_flight_requests
    }

    /// When somebody may have a turn, if no answer comes before.
    pub(super) fn next_wakeup(&self, account: &ProviderAccount) -> Option<MonotonicTime> {
        let ready_at = self.ready_at(account)?;
        if !self.on_demand.is_empty() || self.list_batcher.has_continuation() {
            return Some(ready_at);
        }
        let due =
            self.first_polls.earliest_due().into_iter().chain(self.repeat_polls.earliest_due());
        due.min().map(|due| due.max(ready_at))
    }

    /// When the lane is open; none while only an answer can open it.
    pub(super) fn ready_at(&self, account: &ProviderAccount) -> Option<MonotonicTime> {
        let settings = self.settings.as_ref()?;
        // Until it has answered well, one request at a time tries whether the way is clear.
        let max_in_flight = if self.health.is_half_open() { 1 } else { settings.max_in_flight };
        if self.in_flight_requests() >= max_in_flight {
            return None;
        }
        let account_ready_at = account.ready_at()?;
        Some(
            self.health.pause().map_or(account_ready_at, |pause| account_ready_at.max(pause.until)),
        )
    }

    /// How many jobs are due, and how late the latest of them is.
    pub(super) fn due_backlog(&self, now: MonotonicTime) -> (u64, Duration) {
        let oldest = self
            .first_polls
            .earliest_due()
            .into_iter()
            .chain(self.repeat_polls.earliest_due())
            .min();
        let longest_overdue = oldest.map_or(Duration::ZERO, |oldest| now.duration_since(oldest));
        let due = self.first_polls.count_due(now) + self.repeat_polls.count_due(now);
        (due + self.on_demand.len() as u64, longest_overdue)
    }

    /// Whether a poll is under way for longer than any may take.
    pub(super) fn has_stuck_poll(&self, now: MonotonicTime) -> bool {
        self.in_flight_polls.values().any(|poll| now > poll.deadline)
    }

    /// Takes in what an answer tells of the provider.
    pub(super) fn record_answer(
        &mut self,
        account: &mut ProviderAccount,
        job: JobId,
        answer: &Answer,
        job_rejected_before: bool,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        let sent_at = self.in_flight_polls.remove(&job).map_or(now.monotonic, |poll| poll.sent_at);
        self.in_flight_requests = self.in_flight_requests.saturating_sub(1);
        let outcome = answer.result.as_ref().map(drop);
        account.record_outcome(
            &mut self.health,
            outcome,
            answer.rate_limit,
            sent_at,
            now.monotonic,
            |health| {
                health.record_outcome(
                    &self.name,
                    outcome,
                    answer.rate_limit,
                    job_rejected_before,
                    now,
                    actions,
                );
            },
        );
    }

    /// Takes in what the answer to a page tells of the provider and of its list.
    pub(super) fn record_list_answer(
        &mut self,
        account: &mut ProviderAccount,
        jobs: &[WaitingJob],
        answer: &Answer<ListPage>,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        let polls = jobs.iter().filter_map(|(job, _)| self.in_flight_polls.remove(job));
        let sent_at = polls.last().map_or(now.monotonic, |poll| poll.sent_at);
        self.in_flight_requests = self.in_flight_requests.saturating_sub(1);
        let outcome = answer.result.as_ref().map(drop);
        match outcome.map_err(|error| error.kind) {
            Ok(()) | Err(ProviderErrorKind::RateLimited | ProviderErrorKind::QuotaExceeded) => {}
            Err(_) => self.list_batcher.record_failure(now.monotonic),
        }
        // A list that is forbidden or not there says nothing of the single jobs.
        account.record_outcome(
            &mut self.health,
            outcome,
            answer.rate_limit,
            sent_at,
            now.monotonic,
            |health| {
                health.record_outcome(&self.name, outcome, answer.rate_limit, true, now, actions);
            },
        );
    }

    /// A word that we do not know is reported once, and held until it is known.
    pub(super) fn update_unknown_states(&mut self, observation: &Observation) -> Option<Notice> {
        let provider_state = observation.provider_state.as_str();
        if !matches!(observation.state, ObservedState::Unknown | ObservedState::Indeterminate) {
            self.unknown_states.remove(provider_state);
            return None;
        }
        let is_new = self.unknown_states.len() < Self::MAX_UNKNOWN_STATES
            && self.unknown_states.insert(provider_state.to_owned());
        is_new.then(|| Notice::UnknownState {
            provider: self.name.clone(),
            provider_state: provider_state.to_owned(),
        })
    }
}

impl ProviderQueue {
    /// Takes in a run that is over, and how late that was seen.
    pub(super) fn add_sample(&mut self, sample: &LearnedSample) {
        self.duration_history.record(&sample.duration_sample);
        if let Some(delay) = sample.detection_delay {
            let previous = self.mean_detection_delay.unwrap_or(delay).as_secs_f64();
            let mean = previous + (delay.as_secs_f64() - previous) * Self::DETECTION_DELAY_WEIGHT;
            self.mean_detection_delay = Duration::try_from_secs_f64(mean).ok();
        }
    }

    /// How late the ends of late were seen, on average.
    pub(super) fn mean_detection_delay(&self) -> Option<Duration> {
        self.mean_detection_delay
    }

    /// Words that are not known, of the latest.
    pub(super) fn unknown_states(&self) -> &BTreeSet<String> {
        &self.unknown_states
    }

    /// The rules for a single job.
    pub(super) fn limits(&self) -> JobLimits<'_> {
        let duration_history = &self.duration_history;
        // Without settings nothing is asked; an answer that was under way when they went is heard.
        self.settings.as_ref().map_or(
            JobLimits {
                learned: None,
                backoff: Backoff { min: Duration::from_mins(1), max: Duration::from_mins(1) },
                give_up_after: Duration::MAX,
                lost_after: NotFoundTimeout {
                    previously_seen: Duration::MAX,
                    never_seen: Duration::MAX,
                },
                clock_is_trusted: true,
            },
            |settings| JobLimits {
                learned: match settings.policy {
                    PollPolicy::Learned(rule) => Some(LearnedPolicy { rule, duration_history }),
                    PollPolicy::Backoff => None,
                },
                backoff: settings.backoff,
                give_up_after: settings.give_up_after,
                lost_after: settings.lost_after,
                clock_is_trusted: true,
            },
        )
    }
}
