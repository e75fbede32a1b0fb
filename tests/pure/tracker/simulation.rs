//! A simulation around the tracker: a provider (a closure), a store, both clocks, and a loop that
//! advances to the next wake-up, answer or commit.
//!
//! The simulation checks after every input that no poll is early, that a job has at most one poll in
//! flight and none during a commit, that histories are legal, that reports are correct, and that every
//! unfinished job will be polled again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use jobtrack::job::{
    Answer, Change, ClockReading, ConnectionCheck, CurrentState, DurationSample, FindingKind,
    JobId, ListPage, ListPageQuery, MonotonicTime, OutageBoundary, PollRecord, ProviderError,
    ProviderName, RecordedTimes, RequestTimes, State, StoredJob, UtcTime, registration_transition,
};
use jobtrack::policy::{LearnedPolicySettings, PollPrice, RateLimiterStates};
use jobtrack::tracker::{
    Action, Input, ListRequest, Notice, PollPolicy, PollRequest, ProviderIndex, ProviderReport,
    ProviderSettings, Tracker,
};

use super::fixtures::{
    DAY, DelayedAnswer, MINUTE, SimulatedRequest, SimulatedRow, WriteOutcome, connection_check,
    default_settings,
};

/// Returns the duration of a write in milliseconds and its outcome.
type WriteOutcomeFn = dyn FnMut(&Change) -> (u64, WriteOutcome);

#[derive(Debug)]
enum SimulationEvent {
    PollAnswered(JobId, ProviderIndex, UtcTime, Box<Answer>),
    ListAnswered(ListRequest, usize, UtcTime, Box<Answer<ListPage>>),
    WriteFinished(Box<Change>, WriteOutcome),
}

pub(super) struct Simulation {
    pub(super) tracker: Tracker,
    pub(super) now: u64,
    /// The error of the wall clock, in milliseconds.
    pub(super) wall_offset_ms: i64,
    pub(super) store: BTreeMap<JobId, SimulatedRow>,
    pub(super) requests: Vec<SimulatedRequest>,
    /// The times of the list requests, and the jobs that each was to show.
    page_requests: Vec<(u64, Vec<JobId>)>,
    /// The number of list requests.
    pub(super) page_count: usize,
    /// Rows of jobs that are not tracked for each row of a tracked job.
    pub(super) foreign_rows_per_job: u64,
    /// The error that all list requests return, if any.
    pub(super) list_error: Option<ProviderError>,
    /// Whether the credential of a failed list request has been replaced.
    pub(super) list_credential_replaced: bool,
    pub(super) notices: Vec<(u64, Notice)>,
    pub(super) outages: Vec<OutageBoundary>,
    /// What became of cancels and connection checks, and when.
    pub(super) ordered: Vec<(u64, Action)>,
    /// Cancels and connection checks that were sent and not answered, by provider.
    ordered_in_flight: Vec<String>,
    /// When a request was last rejected, until one succeeds: a job may be polled before it is due.
    rejected_at: Option<u64>,
    pub(super) rng: fastrand::Rng,
    /// The report is checked after this many inputs; the check takes time in proportion to all jobs.
    pub(super) report_check_interval: u64,
    answer_poll: Box<dyn FnMut(JobId, u64) -> DelayedAnswer>,
    write_outcome: Box<WriteOutcomeFn>,
    settings: Vec<ProviderSettings>,
    /// The bound on the wait for a stored due time.
    max_stored_wait: Duration,
    /// The duration samples in the store.
    duration_samples: Vec<(ProviderName, DurationSample)>,
    events: BTreeMap<(u64, u64), SimulationEvent>,
    sequence: u64,
    /// The index of the request in flight for each job.
    in_flight: BTreeMap<JobId, usize>,
    pending_writes: BTreeSet<JobId>,
    due_at: HashMap<JobId, u64>,
    on_demand: BTreeSet<JobId>,
}

impl Simulation {
    /// A simulation with one provider `dune`, whose answers come from `provider`.
    pub(super) fn new(provider: impl FnMut(JobId, u64) -> DelayedAnswer + 'static) -> Self {
        Self::with_settings(vec![default_settings("dune")], provider)
    }

    pub(super) fn with_settings(
        settings: Vec<ProviderSettings>,
        provider: impl FnMut(JobId, u64) -> DelayedAnswer + 'static,
    ) -> Self {
        let mut sim = Self {
            tracker: Tracker::default(),
            now: 0,
            wall_offset_ms: 0,
            store: BTreeMap::new(),
            requests: Vec::new(),
            page_requests: Vec::new(),
            page_count: 0,
            foreign_rows_per_job: 0,
            list_error: None,
            list_credential_replaced: false,
            notices: Vec::new(),
            outages: Vec::new(),
            ordered: Vec::new(),
            ordered_in_flight: Vec::new(),
            rejected_at: None,
            rng: fastrand::Rng::with_seed(7),
            report_check_interval: 1,
            answer_poll: Box::new(provider),
            write_outcome: Box::new(|_| (5, WriteOutcome::Committed)),
            settings: Vec::new(),
            max_stored_wait: Duration::ZERO,
            duration_samples: Vec::new(),
            events: BTreeMap::new(),
            sequence: 0,
            in_flight: BTreeMap::new(),
            pending_writes: BTreeSet::new(),
            due_at: HashMap::new(),
            on_demand: BTreeSet::new(),
        };
        sim.configure(settings);
        sim
    }

    /// As [`Self::with_settings`], for a tracker that knows that no earlier process used the database.
    pub(super) fn with_new_database(
        settings: Vec<ProviderSettings>,
        provider: impl FnMut(JobId, u64) -> DelayedAnswer + 'static,
    ) -> Self {
        let mut sim = Self::with_settings(Vec::new(), provider);
        let now = sim.clock_reading();
        sim.tracker.handle(Input::LoadRecordedTimes(RecordedTimes::default()), now);
        sim.configure(settings);
        sim
    }

    /// Sets the duration and the outcome of the writes from now on.
    pub(super) fn set_write_outcome(
        &mut self,
        outcome: impl FnMut(&Change) -> (u64, WriteOutcome) + 'static,
    ) {
        self.write_outcome = Box::new(outcome);
    }

    pub(super) fn configure(&mut self, settings: Vec<ProviderSettings>) {
        self.settings.clone_from(&settings);
        let longest = settings.iter().map(|own| match own.policy {
            PollPolicy::Learned(_) => LearnedPolicySettings::MAX_INTERVAL,
            PollPolicy::Backoff => own.backoff.max,
        });
        self.max_stored_wait = longest.max().unwrap_or_default();
        // The new settings bound the waits of all jobs.
        let latest = MonotonicTime::from_millis(self.now).plus(self.max_stored_wait).as_millis();
        self.due_at.retain(|_, due| *due <= latest);
        // The new state map may know the state: jobs in an unknown state may be polled at once.
        for row in self.store.values().filter(|row| row.job.current_state.state() == State::Unknown)
        {
            self.due_at.remove(&row.job.id);
        }
        self.handle(Input::Configure(settings));
    }

    pub(super) fn wall_time(&self) -> UtcTime {
        let ms = i64::try_from(self.now).expect("a short simulation");
        UtcTime::from_millis(1_800_000_000_000 + ms + self.wall_offset_ms)
    }

    /// Registers and tracks a job of `provider`.
    pub(super) fn add_job(&mut self, provider: &str) -> JobId {
        self.add_job_giving_up_after(provider, None)
    }

    pub(super) fn add_job_giving_up_after(
        &mut self,
        provider: &str,
        give_up_after: Option<Duration>,
    ) -> JobId {
        let id = JobId(i64::try_from(self.store.len()).expect("few jobs") + 1);
        let registered_at = self.wall_time();
        let job = StoredJob {
            similarity_keys: jobtrack::job::SimilarityKeys::Unknown,
            times: jobtrack::job::ProviderTimes::default(),
            id,
            provider: provider.parse().expect("a name"),
            remote_id: format!("remote-{id}").parse().expect("an id"),
            current_state: CurrentState::registered(registered_at),
            registered_at,
            give_up_after,
            price: None,
            next_poll_at: None,
            polls: 0,
            failed_polls: 0,
            list_time: None,
        };
        let history = vec![registration_transition(registered_at)];
        let row = SimulatedRow {
            job: job.clone(),
            history,
            anomalies: Vec::new(),
            last_poll_error: None,
        };
        self.store.insert(id, row);
        self.track(vec![job]);
        id
    }

    fn track(&mut self, jobs: Vec<StoredJob>) {
        for job in &jobs {
            let wait =
                job.next_poll_at.map_or(Duration::ZERO, |at| at.duration_since(self.record_time()));
            let wait = wait.min(self.max_stored_wait);
            self.due_at.insert(job.id, self.now + u64::try_from(wait.as_millis()).expect("short"));
        }
        self.handle(Input::Track(jobs));
    }

    /// Adds the job again, with this price of its own or with the provider's.
    pub(super) fn set_price(&mut self, job: JobId, price: impl Into<Option<PollPrice>>) {
        let row = self.store.get_mut(&job).expect("a job");
        (row.job.price, row.job.next_poll_at) = (price.into(), None);
        let job = row.job.clone();
        self.due_at.remove(&job.id);
        self.handle(Input::Track(vec![job]));
    }

    /// Polls the stored job on demand.
    pub(super) fn poll_on_demand(&mut self, job: JobId) {
        self.on_demand.insert(job);
        self.handle(Input::PollNow(Box::new(self.store[&job].job.clone())));
    }

    /// Forgets durations in the store and in the tracker.
    pub(super) fn forget_durations(&mut self, provider: &str, name: Option<&str>) {
        let provider: ProviderName = provider.parse().expect("a name");
        let matches_name = |sample: &DurationSample| {
            name.is_none_or(|name| sample.similarity_keys.keys().iter().any(|own| **own == *name))
        };
        self.duration_samples.retain(|(of, sample)| *of != provider || !matches_name(sample));
        self.handle(Input::ForgetDurations(provider, name.map(str::to_owned)));
    }

    pub(super) fn untrack(&mut self, job: JobId) {
        self.handle(Input::Untrack(job, "by request".into()));
    }

    /// Restarts the tracker after a kill: answers and writes in flight are lost.
    pub(super) fn restart(&mut self) {
        let last_recorded = self.wall_time();
        self.restart_after(last_recorded);
    }

    /// As [`Self::restart`], but the earlier process ended in order and left the states of its rate limiters.
    pub(super) fn restart_in_order(&mut self) {
        self.restart_in_order_with(self.settings.clone());
    }

    /// As [`Self::restart_in_order`], with other settings.
    pub(super) fn restart_in_order_with(&mut self, settings: Vec<ProviderSettings>) {
        self.settings = settings;
        let left = self.tracker.rate_limiter_states(MonotonicTime::from_millis(self.now));
        self.restart_with(self.wall_time(), left);
    }

    /// Restarts the tracker; the last time in the store is this one.
    pub(super) fn restart_after(&mut self, last_recorded: UtcTime) {
        self.restart_with(last_recorded, RateLimiterStates::new());
    }

    fn restart_with(&mut self, last_recorded: UtcTime, left: RateLimiterStates) {
        self.tracker = Tracker::default();
        let now = self.clock_reading();
        let recorded = RecordedTimes { certain: Some(last_recorded), confirmed: None };
        self.tracker.handle(Input::LoadRecordedTimes(recorded), now);
        self.tracker.handle(Input::LoadRateLimiterStates(left), now);
        self.events.clear();
        for request in self.requests.iter_mut().filter(|request| request.answered_at.is_none()) {
            request.answered_at = Some(self.now);
        }
        self.in_flight.clear();
        self.pending_writes.clear();
        self.on_demand.clear();
        self.due_at.clear();
        let settings = std::mem::take(&mut self.settings);
        self.configure(settings);
        self.handle(Input::LoadDurationSamples(self.duration_samples.clone()));
        let active: Vec<_> = self.active_rows().map(|row| row.job.clone()).collect();
        self.track(active);
        let newest_first = self.duration_samples.iter().rev().cloned().collect();
        self.handle(Input::LoadRunStarts(newest_first));
    }

    pub(super) fn active_rows(&self) -> impl Iterator<Item = &SimulatedRow> {
        self.store.values().filter(|row| !row.job.current_state.state().is_terminal())
    }

    pub(super) fn state(&self, job: JobId) -> State {
        self.store[&job].job.current_state.state()
    }

    /// The names of the states in the history of a job.
    pub(super) fn state_history(&self, job: JobId) -> Vec<&'static str> {
        self.store[&job].history.iter().map(|row| row.to.as_str()).collect()
    }

    /// When individual polls of `job` were sent.
    pub(super) fn poll_times(&self, job: JobId) -> Vec<u64> {
        self.requests
            .iter()
            .filter(|polled| polled.job == job)
            .map(|polled| polled.sent_at)
            .collect()
    }

    /// When list requests were sent that were to show `job`.
    pub(super) fn page_request_times(&self, job: JobId) -> impl Iterator<Item = u64> {
        self.page_requests
            .iter()
            .filter(move |(_, jobs)| jobs.contains(&job))
            .map(|(sent, _)| *sent)
    }

    pub(super) fn certain_time(&self) -> Option<UtcTime> {
        self.tracker.certain_time(self.clocks())
    }

    fn record_time(&self) -> UtcTime {
        self.tracker.record_time(self.clocks())
    }

    fn clocks(&self) -> ClockReading {
        ClockReading {
            monotonic: MonotonicTime::from_millis(self.now),
            utc: self.wall_time(),
            jitter: 0.0,
        }
    }

    fn clock_reading(&mut self) -> ClockReading {
        ClockReading {
            monotonic: MonotonicTime::from_millis(self.now),
            utc: self.wall_time(),
            jitter: self.rng.f64(),
        }
    }

    pub(super) fn provider_report(&self, provider: &str) -> ProviderReport {
        let reports = self.tracker.report(MonotonicTime::from_millis(self.now));
        reports.into_iter().find(|report| report.provider.as_str() == provider).expect("a report")
    }

    /// Runs until exactly `until`.
    pub(super) fn run_until(&mut self, until: u64) {
        while self.next_event_at().is_some_and(|at| at <= until) {
            self.advance();
        }
        self.now = until;
    }

    /// Runs until no job is tracked.
    pub(super) fn run_until_all_finished(&mut self) {
        while self.store.keys().any(|job| self.tracker.contains(*job)) {
            assert!(self.next_event_at().is_some(), "no event will poll the remaining jobs");
            assert!(self.now < 40 * DAY, "jobs are tracked long after their give-up limit");
            assert!(self.requests.len() < 1_000_000, "jobs are polled without end");
            for _ in 0..1000 {
                if self.next_event_at().is_some() {
                    self.advance();
                }
            }
        }
    }

    fn next_event_at(&self) -> Option<u64> {
        let event = self.events.keys().next().map(|(at, _)| *at);
        let wake = self.tracker.next_wakeup().map(MonotonicTime::as_millis);
        event.into_iter().chain(wake).min()
    }

    fn advance(&mut self) {
        let at = self.next_event_at().expect("something to wait for");
        assert!(at >= self.now, "time runs forward");
        self.now = at;
        let first = self.events.first_entry().filter(|entry| entry.key().0 <= at);
        match first.map(std::collections::btree_map::OccupiedEntry::remove) {
            Some(SimulationEvent::PollAnswered(job, provider_index, sent_at, answer)) => {
                let request = self.in_flight.remove(&job).expect("it was polled");
                self.requests[request].answered_at = Some(at);
                let request_times = RequestTimes { sent_at, received_at: self.wall_time() };
                self.note_rejection(&answer, self.requests[request].sent_at);
                self.handle(Input::PollAnswered(job, provider_index, request_times, answer));
            }
            Some(SimulationEvent::ListAnswered(list_request, request, sent_at, answer)) => {
                self.in_flight.retain(|_, polled| *polled != request);
                self.requests[request].answered_at = Some(at);
                let request_times = RequestTimes { sent_at, received_at: self.wall_time() };
                self.note_rejection(&answer, self.requests[request].sent_at);
                self.handle(Input::ListAnswered(list_request, request_times, answer));
            }
            Some(SimulationEvent::WriteFinished(change, outcome)) => {
                self.finish_write(&change, outcome);
            }
            None => self.handle(Input::Tick),
        }
    }

    /// The write of the job's change will not end.
    pub(super) fn drop_write(&mut self, job: JobId) {
        self.pending_writes.remove(&job);
        self.events.retain(|_, event| {
            !matches!(event, SimulationEvent::WriteFinished(change, _) if change.job == job)
        });
    }

    /// As the tracker does, ignores the success of a request that was sent before the last rejection.
    fn note_rejection<T>(&mut self, answer: &Answer<T>, sent_at: u64) {
        match &answer.result {
            Err(error) if error.kind.is_rejection() => self.rejected_at = Some(self.now),
            Ok(_) => self.rejected_at = self.rejected_at.filter(|rejected| sent_at < *rejected),
            Err(_) => {}
        }
    }

    /// The connection check of the provider ends with this finding.
    pub(super) fn finish_check(&mut self, provider: &str, kind: FindingKind) {
        self.finish_connection_check(provider, connection_check(kind));
    }

    pub(super) fn finish_connection_check(&mut self, provider: &str, check: ConnectionCheck) {
        self.ordered_in_flight.retain(|name| name != provider);
        self.rejected_at = self.rejected_at.filter(|_| check.finding.kind != FindingKind::Ok);
        let provider = provider.parse().expect("a name");
        self.handle(Input::ConnectionChecked(provider, Box::new(check)));
    }

    pub(super) fn finish_cancel(&mut self, job: JobId, result: Result<(), ProviderError>) {
        self.finish_cancel_with_answer(job, Answer::from_result(result));
    }

    pub(super) fn finish_cancel_with_answer(&mut self, job: JobId, answer: Answer<()>) {
        let provider = self.store[&job].job.provider.clone();
        if answer.result.is_err() {
            // A poll shows whether the credentials are rejected.
            self.on_demand.insert(job);
        }
        self.ordered_in_flight.retain(|name| *name != provider.to_string());
        self.handle(Input::CancelAnswered(provider, job, answer));
    }

    fn finish_write(&mut self, change: &Change, outcome: WriteOutcome) {
        let job = change.job;
        let found = self.store.get_mut(&job);
        self.pending_writes.remove(&job);
        let written = found.is_some_and(|row| {
            row.job.current_state.state() == change.expected_state && {
                row.apply_change(change);
                let provider = row.job.provider.clone();
                self.duration_samples
                    .extend(change.duration_sample.clone().map(|sample| (provider, sample)));
                true
            }
        });
        if written {
            if let Some(record) = &change.poll_record {
                let record =
                    PollRecord { expected_state: change.new_state.state(), ..record.clone() };
                self.apply_poll_record(&record);
            }
            if outcome == WriteOutcome::Committed {
                return self.handle(Input::ChangeCommitted(job));
            }
        }
        self.due_at.remove(&job);
        let found = self.store.get(&job).map(|row| Box::new(row.job.clone()));
        self.handle(Input::ChangeRejected(job, found));
    }

    fn apply_poll_record(&mut self, record: &PollRecord) {
        let Some(row) = self.store.get_mut(&record.job) else { return };
        if row.job.current_state.state() != record.expected_state {
            return;
        }
        row.job.next_poll_at = record.next_poll_at;
        if let Some(metadata) = &record.metadata {
            row.job.list_time = metadata.list_time.or(row.job.list_time);
            if row.job.similarity_keys.is_replaced_by(&metadata.similarity_keys) {
                row.job.similarity_keys.clone_from(&metadata.similarity_keys);
            }
            row.job.times = metadata.times;
        }
        row.job.polls = record.polls;
        row.job.failed_polls = record.failed_polls;
        row.job.current_state.last_success_sent_at =
            record.last_success_sent_at.or(row.job.current_state.last_success_sent_at);
        row.last_poll_error.clone_from(&record.last_poll_error);
    }

    /// Feeds an input and carries out the actions, as the scheduler does.
    pub(super) fn handle(&mut self, input: Input) {
        let now = self.clock_reading();
        self.sequence += 1;
        for action in self.tracker.handle(input, now) {
            match action {
                Action::Poll(request) => self.send_poll(&request),
                Action::List(request) => self.send_list_request(request),
                Action::Commit(change) => self.start_write(change),
                Action::RecordPoll { poll_record: record, .. } => {
                    self.expect_next_poll(record.job, record.next_poll_at);
                    self.apply_poll_record(&record);
                }
                Action::RecordNextPolls(times) => {
                    for (job, at) in times {
                        self.record_next_poll(job, at);
                    }
                }
                Action::RecordAnomaly(anomaly) => {
                    self.store.get_mut(&anomaly.job).expect("a job").anomalies.push(anomaly);
                }
                Action::Cancel(ref provider, _) | Action::CheckConnection(ref provider) => {
                    self.ordered_in_flight.push(provider.to_string());
                    self.ordered.push((self.now, action));
                }
                Action::RefuseCancel(..)
                | Action::ReplyToCancel(..)
                | Action::ReplyToConnectionCheck(..)
                | Action::RefuseConnectionCheck(..)
                | Action::ShareConnectionCheck(..) => self.ordered.push((self.now, action)),
                Action::RecordOutage(outage) => self.outages.push(outage.boundary),
                Action::Notify(notice) => self.notices.push((self.now, notice)),
            }
        }
        self.check_invariants();
    }

    fn send_poll(&mut self, request: &PollRequest) {
        let job = request.job;
        let before = self.in_flight.insert(job, self.requests.len());
        assert_eq!(before, None, "job {job} has two polls in flight");
        assert!(!self.pending_writes.contains(&job), "job {job} is polled during a commit");
        let early = self.due_at.get(&job).is_some_and(|due| *due > self.now);
        let may_be_early = self.on_demand.contains(&job)
            || self.rejected_at.is_some()
            || self.may_be_spare(request);
        assert!(!early || may_be_early, "job {job} is polled before it is due");
        self.on_demand.remove(&job);
        self.due_at.remove(&job);
        let (latency, answer) = (self.answer_poll)(job, self.now);
        let provider = request.provider.to_string();
        self.requests.push(SimulatedRequest {
            job,
            provider,
            sent_at: self.now,
            answered_at: None,
        });
        let event = SimulationEvent::PollAnswered(
            job,
            request.provider_index,
            self.wall_time(),
            Box::new(answer),
        );
        self.schedule(latency, event);
    }

    /// Whether the settings allow spare polls, and the last poll of the job is long enough ago for one.
    fn may_be_spare(&self, request: &PollRequest) -> bool {
        let settings = self.settings.iter().find(|settings| settings.name == request.provider);
        let Some(ProviderSettings { policy: PollPolicy::Learned(rule), .. }) = settings else {
            return false;
        };
        let last = self.requests.iter().rev().find(|sent| sent.job == request.job);
        let interval = last.map_or(u64::MAX, |last| self.now - last.sent_at);
        let own_price = self.store[&request.job].job.price;
        own_price.unwrap_or(rule.price) == PollPrice::Auto
            && u128::from(interval) >= rule.min_interval.as_millis()
    }

    /// Answers a list request with rows sorted by list time, foreign rows in between.
    fn send_list_request(&mut self, request: ListRequest) {
        for job in request.jobs.iter().map(|expected| &expected.job) {
            let before = self.in_flight.insert(*job, self.requests.len());
            assert_eq!(before, None, "job {job} has two polls in flight");
            assert!(!self.pending_writes.contains(job), "job {job} is polled during a commit");
            self.on_demand.remove(job);
            self.due_at.remove(job);
        }
        self.page_count += 1;
        self.page_requests
            .push((self.now, request.jobs.iter().map(|expected| expected.job).collect()));
        let ListPageQuery { from, to, page: number } = request.query;
        let known = self.store.values().filter(|row| row.job.provider == request.provider);
        let mut rows: Vec<_> = known
            .filter_map(|row| Some((row.job.list_time?, row.job.id)))
            .filter(|(position, _)| (from..=to).contains(position))
            .collect();
        rows.sort_unstable();
        let stride = self.foreign_rows_per_job + 1;
        let shown = u64::from(number - 1) * 100..u64::from(number) * 100;
        let total = rows.len() as u64 * stride;
        let rows = (0u64..).step_by(usize::try_from(stride).expect("few")).zip(rows);
        let mut jobs = Vec::new();
        for (_, (_, job)) in rows.filter(|(at, _)| shown.contains(at)) {
            let (_, answer) = (self.answer_poll)(job, self.now);
            if let Ok(seen) = answer.result {
                jobs.push((self.store[&job].job.remote_id.clone(), seen));
            }
        }
        let credential_replaced = self.list_credential_replaced;
        let result = self.list_error.clone().map_or(Ok(ListPage { jobs, total_count: total }), Err);
        let answer = Box::new(Answer { credential_replaced, ..Answer::from_result(result) });
        let (provider, index) = (request.provider.to_string(), self.requests.len());
        let job = JobId(0);
        self.requests.push(SimulatedRequest {
            job,
            provider,
            sent_at: self.now,
            answered_at: None,
        });
        let event = SimulationEvent::ListAnswered(request, index, self.wall_time(), answer);
        self.schedule(200, event);
    }

    fn start_write(&mut self, change: Change) {
        let fresh = self.pending_writes.insert(change.job);
        assert!(fresh, "job {} has two commits in flight", change.job);
        if let Some(record) = &change.poll_record {
            self.expect_next_poll(record.job, record.next_poll_at);
        }
        let (delay, outcome) = (self.write_outcome)(&change);
        self.schedule(delay, SimulationEvent::WriteFinished(Box::new(change), outcome));
    }

    /// A change that is being written is older.
    fn record_next_poll(&mut self, job: JobId, at: UtcTime) {
        self.expect_next_poll(job, Some(at));
        for event in self.events.values_mut() {
            if let SimulationEvent::WriteFinished(change, _) = event
                && change.job == job
                && let Some(record) = &mut change.poll_record
            {
                record.next_poll_at = Some(at);
            }
        }
        let row = self.store.get_mut(&job).expect("a job");
        let is_terminal = row.job.current_state.state().is_terminal();
        row.job.next_poll_at = Some(at).filter(|_| !is_terminal);
    }

    /// The tracker must keep to the due time that it records.
    fn expect_next_poll(&mut self, job: JobId, at: Option<UtcTime>) {
        self.due_at.remove(&job);
        if let Some(at) = at {
            let wait =
                u64::try_from(at.duration_since(self.record_time()).as_millis()).expect("short");
            self.due_at.insert(job, self.now + wait);
        }
    }

    fn schedule(&mut self, delay: u64, event: SimulationEvent) {
        self.sequence += 1;
        self.events.insert((self.now + delay, self.sequence), event);
    }

    fn check_invariants(&self) {
        let next_wakeup = self.tracker.next_wakeup().map(MonotonicTime::as_millis);
        assert!(next_wakeup.is_none_or(|at| at > self.now), "the tracker left due work undone");
        if !self.sequence.is_multiple_of(self.report_check_interval) {
            return;
        }
        assert_eq!(self.tracker.stuck_provider(MonotonicTime::from_millis(self.now)), None);
        for settings in &self.settings {
            let name = settings.name.as_str();
            let report = self.provider_report(name);
            let rows = || self.store.values().filter(|row| row.job.provider == settings.name);
            let held = rows().filter(|row| self.tracker.contains(row.job.id)).count();
            let under_way: BTreeSet<_> = self.in_flight.values().copied().collect();
            let under_way = under_way.into_iter().map(|request| &self.requests[request]);
            let in_flight = under_way.filter(|request| request.provider == name).count()
                + self.ordered_in_flight.iter().filter(|provider| *provider == name).count();
            let unwritten = rows().filter(|row| self.pending_writes.contains(&row.job.id)).count();
            assert_eq!(report.active_jobs, held as u64, "{name}");
            assert_eq!(report.in_flight as usize, in_flight, "{name}");
            assert!(report.in_flight <= settings.max_in_flight, "{name}: {in_flight} in flight");
            let waiting = held.saturating_sub(unwritten) as u64;
            assert!(report.due_polls <= waiting, "{name}: {} due", report.due_polls);
            assert!(report.requests_last_minute <= settings.requests_per_minute, "{name}");
            let idle = self.in_flight.is_empty()
                && self.pending_writes.is_empty()
                && self.ordered_in_flight.is_empty();
            assert!(held == 0 || !idle || next_wakeup.is_some(), "{name}: no wake-up for its jobs");
        }
    }

    /// Panics if the provider may have received more than `limit` requests in a half-open minute. A
    /// request may arrive at any time between sending and answer.
    pub(super) fn assert_rate_limit(&self, provider: &str, limit: usize) {
        let of = self.requests.iter().filter(|request| request.provider == provider);
        let spans: Vec<_> =
            of.map(|request| (request.sent_at, request.answered_at.unwrap_or(self.now))).collect();
        let sent: Vec<_> = spans.iter().map(|(sent, _)| *sent).collect();
        let mut ended: Vec<_> = spans.iter().map(|(_, ended)| *ended).collect();
        ended.sort_unstable();
        // A minute with the most requests begins with the end of a request.
        for (index, from) in ended.iter().enumerate() {
            let begun = sent.partition_point(|sent| *sent < from + MINUTE);
            let first = ended[..index].partition_point(|ended| ended < from);
            let seen = begun - first;
            assert!(seen <= limit, "{seen} requests of {limit} in the minute from {from} ms");
        }
    }
}
