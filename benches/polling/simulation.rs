//! Runs the daemon's own `Tracker` on simulated time.
//!
//! Each job of a workload is added at its start. Each request is answered at once with the job's true
//! state, and each change is committed at once. Shared by the benchmark and by `tests/pure/polling`.

use std::collections::VecDeque;
use std::time::Duration;

use fastrand::Rng;
use jobtrack::job::{
    Answer, Change, ClockReading, CurrentState, DurationSample, JobId, MonotonicTime,
    NotFoundTimeout, Observation, ObservedState, PollRecord, ProviderName, ProviderTimes,
    RateLimitInfo, RequestTimes, SimilarityKeys, StoredJob, UtcTime,
};
use jobtrack::policy::{Backoff, LearnedPolicySettings, PollPrice};
use jobtrack::tracker::{Action, Input, PollPolicy, PollRequest, ProviderSettings, Tracker};

use super::workload::SimulatedJob;

/// A rate limit, in requests per minute, that delays no poll noticeably.
pub(crate) const UNLIMITED_BUDGET: u32 = 10_000_000;

/// The wall clock at the start of the simulation, in milliseconds since 1970.
const EPOCH_MS: i64 = 1_800_000_000_000;

/// The settings of the simulated daemon and provider.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SimulationSettings {
    pub(crate) policy: PollPolicy,
    pub(crate) backoff: Backoff,
    pub(crate) requests_per_minute: u32,
    /// How far the provider's clock is ahead of the daemon's, in milliseconds.
    pub(crate) clock_skew_ms: i64,
    /// What the provider reports about a job's times at a time of the simulation, before the skew.
    pub(crate) provider_times: fn(&SimulatedJob, u64) -> ProviderTimes,
    /// The daemon is killed and restarted just before this job is added.
    pub(crate) restart_at_job: Option<usize>,
}

impl SimulationSettings {
    pub(crate) const DEFAULT_BACKOFF: Backoff =
        Backoff { min: Duration::from_secs(1), max: Duration::from_mins(5) };

    fn with_policy(policy: PollPolicy) -> Self {
        let (backoff, requests_per_minute, provider_times) =
            (Self::DEFAULT_BACKOFF, UNLIMITED_BUDGET, true_provider_times);
        Self {
            policy,
            backoff,
            requests_per_minute,
            clock_skew_ms: 0,
            provider_times,
            restart_at_job: None,
        }
    }

    /// The learned policy; `price` is in seconds.
    pub(crate) fn learned(price: f64, enforce_max_wait: bool) -> Self {
        Self::with_policy(PollPolicy::Learned(poll_rule(price, enforce_max_wait)))
    }

    pub(crate) fn backoff(backoff: Backoff) -> Self {
        Self { backoff, ..Self::with_policy(PollPolicy::Backoff) }
    }
}

/// The rule with the default `min_interval`; `price` is in seconds.
pub(crate) fn poll_rule(price: f64, enforce_max_wait: bool) -> LearnedPolicySettings {
    let min_interval = Duration::from_secs(1);
    let price = PollPrice::Fixed(Duration::from_secs_f64(price));
    LearnedPolicySettings { price, min_interval, enforce_max_wait }
}

/// The true times, as far as they have passed.
pub(crate) fn true_provider_times(job: &SimulatedJob, now: u64) -> ProviderTimes {
    let started = Some(utc_time(job.start_ms));
    let ended_at = (now >= job.end_ms()).then(|| utc_time(job.end_ms()));
    ProviderTimes { submitted_at: started, started_at: started, ended_at, expires_at: None }
}

/// The wall clock at a time of the simulation.
pub(crate) fn utc_time(ms: u64) -> UtcTime {
    UtcTime::from_millis(EPOCH_MS.saturating_add_unsigned(ms))
}

/// The polls of one job.
#[derive(Debug, Clone, Default)]
pub(crate) struct PollHistory {
    /// In milliseconds of the simulation.
    pub(crate) poll_times: Vec<u64>,
    finished: bool,
}

/// The time between two consecutive polls of a job, in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PollGap {
    /// The job's age at the first of them.
    pub(crate) elapsed: f64,
    pub(crate) length: f64,
}

impl PollGap {
    /// Whether the gap is longer than the maximum wait: 30 s or half the job's age, whichever is longer,
    /// and at most 6 h. Written out again here, so that a wrong constant in `LearnedPolicySettings` is found.
    pub(crate) fn exceeds_maximum_wait(&self) -> bool {
        // Times are rounded to whole milliseconds, and even `UNLIMITED_BUDGET` delays a request by one.
        const TOLERANCE: f64 = 0.01;
        self.length > (0.5 * self.elapsed).clamp(30.0, 6.0 * 3600.0) + TOLERANCE
    }
}

impl PollHistory {
    pub(crate) fn poll_gaps(&self, job: &SimulatedJob) -> impl Iterator<Item = PollGap> {
        let start = job.start_ms;
        self.poll_times.windows(2).map(move |polls| PollGap {
            elapsed: (polls[0] - start) as f64 / 1000.0,
            length: (polls[1] - polls[0]) as f64 / 1000.0,
        })
    }
}

/// Tracks all jobs from their starts until the ends of the first `until` of them are detected.
pub(crate) fn run_simulation(
    jobs: &[SimulatedJob],
    until: usize,
    settings: &SimulationSettings,
) -> Vec<PollHistory> {
    let mut simulation = TrackerSimulation::new(jobs, *settings);
    simulation.run_until_finished(until);
    simulation.poll_histories
}

#[derive(Debug)]
struct TrackerSimulation<'a> {
    jobs: &'a [SimulatedJob],
    settings: SimulationSettings,
    provider: ProviderName,
    tracker: Tracker,
    now: u64,
    rng: Rng,
    poll_histories: Vec<PollHistory>,
    /// What the database would hold: the unfinished jobs, and the duration samples below.
    rows: Vec<Option<Box<StoredJob>>>,
    duration_samples: Vec<(ProviderName, DurationSample)>,
    pending_polls: VecDeque<PollRequest>,
    pending_commits: VecDeque<JobId>,
}

impl<'a> TrackerSimulation<'a> {
    fn new(jobs: &'a [SimulatedJob], settings: SimulationSettings) -> Self {
        let mut simulation = Self {
            jobs,
            settings,
            provider: "simulated".parse().expect("a name"),
            tracker: Tracker::default(),
            now: 0,
            rng: Rng::with_seed(7),
            poll_histories: vec![PollHistory::default(); jobs.len()],
            rows: vec![None; jobs.len()],
            duration_samples: Vec::new(),
            pending_polls: VecDeque::new(),
            pending_commits: VecDeque::new(),
        };
        simulation.configure();
        simulation
    }

    fn configure(&mut self) {
        let settings = ProviderSettings {
            name: self.provider.clone(),
            account: None,
            requests_per_minute: self.settings.requests_per_minute,
            max_in_flight: u32::MAX,
            policy: self.settings.policy,
            backoff: self.settings.backoff,
            give_up_after: Duration::from_hours(365 * 24),
            lost_after: NotFoundTimeout {
                previously_seen: Duration::from_mins(15),
                never_seen: Duration::from_hours(1),
            },
            request_timeout: Duration::from_secs(30),
            supports_list: false,
            connection_fingerprint: 0,
        };
        self.handle(Input::Configure(vec![settings]));
    }

    fn run_until_finished(&mut self, until: usize) {
        let mut next_arrival = 0;
        let mut finished_count = 0;
        while finished_count < until {
            let next_start = self.jobs.get(next_arrival).map(|job| job.start_ms);
            let next_wakeup = self.tracker.next_wakeup().map(MonotonicTime::as_millis);
            let Some(next) = next_start.into_iter().chain(next_wakeup).min() else {
                panic!("unfinished jobs are left, but the tracker plans no poll");
            };
            self.now = self.now.max(next);
            if next_start == Some(next) {
                if self.settings.restart_at_job == Some(next_arrival) {
                    self.restart();
                }
                let job = self.new_stored_job(next_arrival);
                self.rows[next_arrival] = Some(Box::new(job.clone()));
                next_arrival += 1;
                self.handle(Input::Track(vec![job]));
            } else {
                self.handle(Input::Tick);
            }
            while self.poll_histories.get(finished_count).is_some_and(|history| history.finished) {
                finished_count += 1;
            }
        }
    }

    /// A new tracker that loads what the database holds.
    fn restart(&mut self) {
        self.tracker = Tracker::default();
        self.configure();
        self.handle(Input::LoadDurationSamples(self.duration_samples.clone()));
        let rows = self.rows.iter().flatten().map(|row| StoredJob::clone(row)).collect();
        self.handle(Input::Track(rows));
        self.handle(Input::LoadRunStarts(self.duration_samples.iter().rev().cloned().collect()));
    }

    fn new_stored_job(&self, index: usize) -> StoredJob {
        let id = JobId(i64::try_from(index).expect("few jobs"));
        StoredJob {
            id,
            provider: self.provider.clone(),
            remote_id: format!("job-{id}").parse().expect("an id"),
            current_state: CurrentState::registered(utc_time(self.now)),
            registered_at: utc_time(self.now),
            give_up_after: None,
            price: None,
            next_poll_at: None,
            polls: 0,
            failed_polls: 0,
            list_time: None,
            similarity_keys: SimilarityKeys::UserProvided(
                format!("like-{}", self.jobs[index].similarity_key).into(),
            ),
            times: ProviderTimes::default(),
        }
    }

    fn handle(&mut self, input: Input) {
        let mut next = Some(input);
        while let Some(input) = next {
            let now = ClockReading {
                monotonic: MonotonicTime::from_millis(self.now),
                utc: utc_time(self.now),
                jitter: self.rng.f64(),
            };
            for action in self.tracker.handle(input, now) {
                match action {
                    Action::Poll(request) => self.pending_polls.push_back(request),
                    Action::Commit(change) => self.commit(change),
                    Action::RecordPoll { poll_record, .. } => self.apply_poll_record(poll_record),
                    // The first good answer closes an outage that an earlier process may have left open.
                    Action::RecordOutage(_) => {}
                    other => panic!("{other:?}"),
                }
            }
            next = match self.pending_commits.pop_front() {
                Some(job) => Some(Input::ChangeCommitted(job)),
                None => self.pending_polls.pop_front().map(|request| self.answer_poll(&request)),
            };
        }
    }

    fn answer_poll(&mut self, request: &PollRequest) -> Input {
        let index = job_index(request.job);
        self.poll_histories[index].poll_times.push(self.now);
        let job = &self.jobs[index];
        let state = if self.now >= job.end_ms() {
            ObservedState::Succeeded
        } else {
            ObservedState::Running
        };
        let skewed =
            |at: UtcTime| UtcTime::from_millis(at.as_millis() + self.settings.clock_skew_ms);
        let times = (self.settings.provider_times)(job, self.now);
        let observation = Observation {
            state,
            provider_state: format!("{state:?}").to_uppercase(),
            times: ProviderTimes {
                submitted_at: times.submitted_at.map(skewed),
                started_at: times.started_at.map(skewed),
                ended_at: times.ended_at.map(skewed),
                expires_at: None,
            },
            message: None,
            list_time: None,
            similarity_keys: SimilarityKeys::Unknown,
            reported_duration: None,
            source: None,
            credits: None,
            detail: serde_json::Map::new(),
        };
        // A `Date` header has a resolution of one second.
        let date = skewed(utc_time(self.now)).as_millis();
        let server_date = Some(UtcTime::from_millis(date - date.rem_euclid(1000)));
        let answer = Answer {
            result: Ok(observation),
            rate_limit: RateLimitInfo::default(),
            server_date,
            credential_replaced: false,
        };
        let times = RequestTimes { sent_at: utc_time(self.now), received_at: utc_time(self.now) };
        Input::PollAnswered(request.job, request.provider_index, times, Box::new(answer))
    }

    fn commit(&mut self, change: Change) {
        let index = job_index(change.job);
        if let Some(row) = &mut self.rows[index] {
            change.transitions.iter().for_each(|transition| row.current_state.apply(transition));
        }
        if let Some(poll_record) = change.poll_record {
            self.apply_poll_record(poll_record);
        }
        if change.new_state.state().is_terminal() {
            self.rows[index] = None;
            self.poll_histories[index].finished = true;
        }
        let provider = &self.provider;
        self.duration_samples
            .extend(change.duration_sample.map(|sample| (provider.clone(), sample)));
        self.pending_commits.push_back(change.job);
    }

    fn apply_poll_record(&mut self, record: PollRecord) {
        let Some(row) = &mut self.rows[job_index(record.job)] else { return };
        row.next_poll_at = record.next_poll_at;
        row.current_state.last_success_sent_at =
            record.last_success_sent_at.or(row.current_state.last_success_sent_at);
        row.polls = record.polls;
        row.failed_polls = record.failed_polls;
        if let Some(metadata) = record.metadata {
            row.times = metadata.times;
        }
    }
}

fn job_index(job: JobId) -> usize {
    usize::try_from(job.0).expect("not negative")
}
