//! The daemon's own `Tracker` on simulated time: every job of a workload is tracked from its start,
//! every request is answered at once and truly, every change is written at once.

use std::collections::VecDeque;
use std::time::Duration;

use fastrand::Rng;
use jobtrack::job::{
    Answer, Change, ClockReading, CurrentState, DurationSample, JobId, MonotonicTime,
    NotFoundTimeout, Observation, ObservedState, PollRecord, ProviderName, ProviderTimes,
    RateLimitInfo, RequestTimes, SimilarityKeys, StoredJob, UtcTime,
};
use jobtrack::policy::{Backoff, PollRule};
use jobtrack::tracker::{Action, Input, PollPolicy, PollRequest, ProviderSettings, Tracker};

use super::workload::Job;

/// A budget that never makes anybody wait.
pub(crate) const AMPLE: u32 = 10_000_000;

/// The calendar's time at the simulation's beginning.
const EPOCH: i64 = 1_800_000_000_000;

/// Under which conditions a workload is tracked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) policy: PollPolicy,
    pub(crate) backoff: Backoff,
    /// Requests a minute.
    pub(crate) budget: u32,
    /// How far the provider's clock is ahead of ours, in milliseconds.
    pub(crate) skew: i64,
    /// The provider's times of a job at a time of ours, by its clock.
    pub(crate) times: fn(&Job, u64) -> ProviderTimes,
    /// The daemon is killed and started again when this job comes.
    pub(crate) restart: Option<usize>,
}

impl Setup {
    pub(crate) const BACKOFF: Backoff =
        Backoff { min: Duration::from_secs(1), max: Duration::from_mins(5) };

    fn with(policy: PollPolicy) -> Self {
        let (backoff, budget, times) = (Self::BACKOFF, AMPLE, true_times);
        Self { policy, backoff, budget, skew: 0, times, restart: None }
    }

    /// The learned policy at a price in seconds, with the promise or without.
    pub(crate) fn learned(price: f64, promises: bool) -> Self {
        Self::with(PollPolicy::Learned(rule(price, promises)))
    }

    pub(crate) fn backoff(backoff: Backoff) -> Self {
        Self { backoff, ..Self::with(PollPolicy::Backoff) }
    }
}

/// The rule with the daemon's shortest interval.
pub(crate) fn rule(price: f64, promises: bool) -> PollRule {
    let min_interval = Duration::from_secs(1);
    PollRule { price: Duration::from_secs_f64(price), min_interval, enforce_max_wait: promises }
}

/// What the provider tells of itself.
pub(crate) fn true_times(job: &Job, now: u64) -> ProviderTimes {
    let started = Some(utc(job.start));
    let ended_at = (now >= job.end()).then(|| utc(job.end()));
    ProviderTimes { submitted_at: started, started_at: started, ended_at, expires_at: None }
}

/// The calendar's time.
pub(crate) fn utc(ms: u64) -> UtcTime {
    UtcTime::from_millis(EPOCH.saturating_add_unsigned(ms))
}

/// What became of one job.
#[derive(Debug, Clone, Default)]
pub(crate) struct Life {
    /// When it was looked at.
    pub(crate) looks: Vec<u64>,
    over: bool,
}

/// The time between two looks at a job that still ran, in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wait {
    /// How long it had run at the first of them.
    pub(crate) elapsed: f64,
    pub(crate) pause: f64,
}

impl Wait {
    /// Whether it was longer than is promised: 10 s or half of the elapsed time, and 6 h at most.
    pub(crate) fn is_too_long(&self) -> bool {
        // All times are whole milliseconds, and even an ample budget parts requests by one.
        const ROUNDED: f64 = 0.01;
        self.pause > (0.5 * self.elapsed).clamp(10.0, 6.0 * 3600.0) + ROUNDED
    }
}

impl Life {
    pub(crate) fn waits(&self, job: &Job) -> impl Iterator<Item = Wait> {
        let start = job.start;
        self.looks.windows(2).map(move |looks| Wait {
            elapsed: (looks[0] - start) as f64 / 1000.0,
            pause: (looks[1] - looks[0]) as f64 / 1000.0,
        })
    }
}

/// Tracks all jobs from their starts until the first `until` of them are seen to be over.
pub(crate) fn track(jobs: &[Job], until: usize, setup: &Setup) -> Vec<Life> {
    let mut fleet = Fleet::new(jobs, *setup);
    fleet.run(until);
    fleet.lives
}

#[derive(Debug)]
struct Fleet<'a> {
    jobs: &'a [Job],
    setup: Setup,
    provider: ProviderName,
    tracker: Tracker,
    now: u64,
    dice: Rng,
    lives: Vec<Life>,
    /// The database: the jobs that are not over, and what was learned.
    rows: Vec<Option<Box<StoredJob>>>,
    lessons: Vec<(ProviderName, DurationSample)>,
    asked: VecDeque<PollRequest>,
    written: VecDeque<JobId>,
}

impl<'a> Fleet<'a> {
    fn new(jobs: &'a [Job], setup: Setup) -> Self {
        let mut fleet = Self {
            jobs,
            setup,
            provider: "simulated".parse().expect("a name"),
            tracker: Tracker::default(),
            now: 0,
            dice: Rng::with_seed(7),
            lives: vec![Life::default(); jobs.len()],
            rows: vec![None; jobs.len()],
            lessons: Vec::new(),
            asked: VecDeque::new(),
            written: VecDeque::new(),
        };
        fleet.configure();
        fleet
    }

    fn configure(&mut self) {
        let settings = ProviderSettings {
            name: self.provider.clone(),
            account: None,
            requests_per_minute: self.setup.budget,
            max_in_flight: u32::MAX,
            policy: self.setup.policy,
            backoff: self.setup.backoff,
            give_up_after: Duration::from_hours(365 * 24),
            lost_after: NotFoundTimeout {
                previously_seen: Duration::from_mins(15),
                never_seen: Duration::from_hours(1),
            },
            request_timeout: Duration::from_secs(30),
            supports_list: false,
        };
        self.step(Input::Configure(vec![settings]));
    }

    fn run(&mut self, until: usize) {
        let mut coming = 0;
        let mut seen = 0;
        while seen < until {
            let arrives = self.jobs.get(coming).map(|job| job.start);
            let wakes = self.tracker.next_wakeup().map(MonotonicTime::as_millis);
            let Some(next) = arrives.into_iter().chain(wakes).min() else {
                panic!("nothing will ever wake the jobs that are left");
            };
            self.now = self.now.max(next);
            if arrives == Some(next) {
                if self.setup.restart == Some(coming) {
                    self.restart();
                }
                let job = self.arrival(coming);
                self.rows[coming] = Some(Box::new(job.clone()));
                coming += 1;
                self.step(Input::Track(vec![job]));
            } else {
                self.step(Input::Tick);
            }
            while self.lives.get(seen).is_some_and(|life| life.over) {
                seen += 1;
            }
        }
    }

    /// A new tracker learns and tracks what the database has.
    fn restart(&mut self) {
        self.tracker = Tracker::default();
        self.configure();
        self.step(Input::LoadDurationSamples(self.lessons.clone()));
        let rows = self.rows.iter().flatten().map(|row| StoredJob::clone(row)).collect();
        self.step(Input::Track(rows));
    }

    fn arrival(&self, index: usize) -> StoredJob {
        let id = JobId(i64::try_from(index).expect("few jobs"));
        StoredJob {
            id,
            provider: self.provider.clone(),
            remote_id: format!("job-{id}").parse().expect("an id"),
            current_state: CurrentState::registered(utc(self.now)),
            registered_at: utc(self.now),
            give_up_after: None,
            next_poll_at: None,
            polls: 0,
            failed_polls: 0,
            list_time: None,
            similarity_keys: SimilarityKeys::UserProvided(
                format!("like-{}", self.jobs[index].likeness).into(),
            ),
            times: ProviderTimes::default(),
        }
    }

    fn step(&mut self, input: Input) {
        let mut next = Some(input);
        while let Some(input) = next {
            let mono = MonotonicTime::from_millis(self.now);
            let now = ClockReading { monotonic: mono, utc: utc(self.now), jitter: self.dice.f64() };
            for action in self.tracker.handle(input, now) {
                match action {
                    Action::Poll(question) => self.asked.push_back(question),
                    Action::Commit(change) => self.write(change),
                    Action::RecordPoll { poll_record: note, .. } => self.keep(note),
                    // The first good answer ends what may have been before.
                    Action::RecordOutage(_) => {}
                    other => panic!("{other:?}"),
                }
            }
            next = match self.written.pop_front() {
                Some(job) => Some(Input::ChangeCommitted(job)),
                None => self.asked.pop_front().map(|question| self.answer(&question)),
            };
        }
    }

    fn answer(&mut self, question: &PollRequest) -> Input {
        let index = number(question.job);
        self.lives[index].looks.push(self.now);
        let job = &self.jobs[index];
        let said =
            if self.now >= job.end() { ObservedState::Succeeded } else { ObservedState::Running };
        let shifted = |at: UtcTime| UtcTime::from_millis(at.as_millis() + self.setup.skew);
        let times = (self.setup.times)(job, self.now);
        let observation = Observation {
            state: said,
            provider_state: format!("{said:?}").to_uppercase(),
            times: ProviderTimes {
                submitted_at: times.submitted_at.map(shifted),
                started_at: times.started_at.map(shifted),
                ended_at: times.ended_at.map(shifted),
                expires_at: None,
            },
            message: None,
            list_time: None,
            similarity_keys: SimilarityKeys::Unknown,
            reported_duration: None,
            detail: serde_json::Map::new(),
        };
        // A `Date` header has whole seconds.
        let date = shifted(utc(self.now)).as_millis();
        let server_date = Some(UtcTime::from_millis(date - date.rem_euclid(1000)));
        let answer =
            Answer { result: Ok(observation), rate_limit: RateLimitInfo::default(), server_date };
        let asked = RequestTimes { sent_at: utc(self.now), received_at: utc(self.now) };
        Input::PollAnswered(question.job, question.provider_index, asked, Box::new(answer))
    }

    fn write(&mut self, change: Change) {
        let index = number(change.job);
        if let Some(row) = &mut self.rows[index] {
            change.transitions.iter().for_each(|step| row.current_state.apply(step));
        }
        if let Some(note) = change.poll_record {
            self.keep(note);
        }
        if change.new_state.state.is_terminal() {
            self.rows[index] = None;
            self.lives[index].over = true;
        }
        let provider = &self.provider;
        self.lessons.extend(change.duration_sample.map(|lesson| (provider.clone(), lesson)));
        self.written.push_back(change.job);
    }

    fn keep(&mut self, note: PollRecord) {
        let Some(row) = &mut self.rows[number(note.job)] else { return };
        row.next_poll_at = note.next_poll_at;
        row.current_state.last_success_sent_at =
            note.last_success_sent_at.or(row.current_state.last_success_sent_at);
        row.polls = note.polls;
        row.failed_polls = note.failed_polls;
        if let Some(told) = note.metadata {
            row.times = told.times;
        }
    }
}

fn number(job: JobId) -> usize {
    usize::try_from(job.0).expect("not negative")
}
