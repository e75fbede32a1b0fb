//! The daemon's own `Tracker` on simulated time: every job of a workload is tracked from its start,
//! every request is answered at once and truly, every change is written at once.

use std::collections::VecDeque;
use std::time::Duration;

use fastrand::Rng;
use jobtrack::job::{
    Answer, Asked, Change, Grace, JobId, Lesson, Likeness, Moment, Mono, Note, Observation, Pace,
    ProviderName, Said, Standing, Times, Tracked, Utc,
};
use jobtrack::policy::{Backoff, Rule};
use jobtrack::tracker::{Action, Input, LaneSettings, Policy, Question, Tracker};

use super::workload::Job;

/// A budget that never makes anybody wait.
pub(crate) const AMPLE: u32 = 10_000_000;

/// The calendar's time at the simulation's beginning.
const EPOCH: i64 = 1_800_000_000_000;

/// Under which conditions a workload is tracked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) policy: Policy,
    pub(crate) backoff: Backoff,
    /// Requests a minute.
    pub(crate) budget: u32,
    /// How far the provider's clock is ahead of ours, in milliseconds.
    pub(crate) skew: i64,
    /// The provider's times of a job at a time of ours, by its clock.
    pub(crate) times: fn(&Job, u64) -> Times,
    /// The daemon is killed and started again when this job comes.
    pub(crate) restart: Option<usize>,
}

impl Setup {
    pub(crate) const BACKOFF: Backoff =
        Backoff { min: Duration::from_secs(1), max: Duration::from_mins(5) };

    fn with(policy: Policy) -> Self {
        let (backoff, budget, times) = (Self::BACKOFF, AMPLE, true_times);
        Self { policy, backoff, budget, skew: 0, times, restart: None }
    }

    /// The learned policy at a price in seconds, with the promise or without.
    pub(crate) fn learned(price: f64, promises: bool) -> Self {
        Self::with(Policy::Learned(rule(price, promises)))
    }

    pub(crate) fn backoff(backoff: Backoff) -> Self {
        Self { backoff, ..Self::with(Policy::Backoff) }
    }
}

/// The rule with the daemon's shortest interval.
pub(crate) fn rule(price: f64, promises: bool) -> Rule {
    let min_interval = Duration::from_secs(1);
    Rule { price: Duration::from_secs_f64(price), min_interval, promises }
}

/// What the provider tells of itself.
pub(crate) fn true_times(job: &Job, now: u64) -> Times {
    let started = Some(utc(job.start));
    let ended_at = (now >= job.end()).then(|| utc(job.end()));
    Times { submitted_at: started, started_at: started, ended_at, expires_at: None }
}

/// The calendar's time.
pub(crate) fn utc(ms: u64) -> Utc {
    Utc::from_millis(EPOCH.saturating_add_unsigned(ms))
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
    rows: Vec<Option<Box<Tracked>>>,
    lessons: Vec<(ProviderName, Lesson)>,
    asked: VecDeque<Question>,
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
        let settings = LaneSettings {
            name: self.provider.clone(),
            account: None,
            requests_per_minute: self.setup.budget,
            max_in_flight: u32::MAX,
            policy: self.setup.policy,
            backoff: self.setup.backoff,
            give_up_after: Duration::from_hours(365 * 24),
            lost_after: Grace { seen: Duration::from_mins(15), unseen: Duration::from_hours(1) },
            request_timeout: Duration::from_secs(30),
            lists: false,
        };
        self.step(Input::Configure(vec![settings]));
    }

    fn run(&mut self, until: usize) {
        let mut coming = 0;
        let mut seen = 0;
        while seen < until {
            let arrives = self.jobs.get(coming).map(|job| job.start);
            let wakes = self.tracker.wakes_at().map(Mono::as_millis);
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
        self.step(Input::Learned(self.lessons.clone()));
        let rows = self.rows.iter().flatten().map(|row| Tracked::clone(row)).collect();
        self.step(Input::Track(rows));
    }

    fn arrival(&self, index: usize) -> Tracked {
        let id = JobId(i64::try_from(index).expect("few jobs"));
        Tracked {
            id,
            provider: self.provider.clone(),
            remote_id: format!("job-{id}").parse().expect("an id"),
            standing: Standing::registered(utc(self.now)),
            registered_at: utc(self.now),
            give_up_after: None,
            next_poll_at: None,
            polls: 0,
            failed_polls: 0,
            listed_at: None,
            likeness: Likeness::Given(format!("like-{}", self.jobs[index].likeness).into()),
            times: Times::default(),
        }
    }

    fn step(&mut self, input: Input) {
        let mut next = Some(input);
        while let Some(input) = next {
            let mono = Mono::from_millis(self.now);
            let now = Moment { mono, wall: utc(self.now), jitter: self.dice.f64() };
            for action in self.tracker.step(input, now) {
                match action {
                    Action::Ask(question) => self.asked.push_back(question),
                    Action::Write(change) => self.write(change),
                    Action::Note { note, .. } => self.keep(note),
                    // The first good answer ends what may have been before.
                    Action::Outage(_) => {}
                    other => panic!("{other:?}"),
                }
            }
            next = match self.written.pop_front() {
                Some(job) => Some(Input::Written(job)),
                None => self.asked.pop_front().map(|question| self.answer(&question)),
            };
        }
    }

    fn answer(&mut self, question: &Question) -> Input {
        let index = number(question.job);
        self.lives[index].looks.push(self.now);
        let job = &self.jobs[index];
        let said = if self.now >= job.end() { Said::Succeeded } else { Said::Running };
        let shifted = |at: Utc| Utc::from_millis(at.as_millis() + self.setup.skew);
        let times = (self.setup.times)(job, self.now);
        let observation = Observation {
            said,
            word: format!("{said:?}").to_uppercase(),
            times: Times {
                submitted_at: times.submitted_at.map(shifted),
                started_at: times.started_at.map(shifted),
                ended_at: times.ended_at.map(shifted),
                expires_at: None,
            },
            message: None,
            listed_at: None,
            likeness: Likeness::Unknown,
            took: None,
            detail: serde_json::Map::new(),
        };
        // A `Date` header has whole seconds.
        let date = shifted(utc(self.now)).as_millis();
        let server_date = Some(Utc::from_millis(date - date.rem_euclid(1000)));
        let answer = Answer { result: Ok(observation), pace: Pace::default(), server_date };
        let asked = Asked { sent_at: utc(self.now), answered_at: utc(self.now) };
        Input::Answered(question.job, question.lane, asked, Box::new(answer))
    }

    fn write(&mut self, change: Change) {
        let index = number(change.job);
        if let Some(row) = &mut self.rows[index] {
            change.rows.iter().for_each(|step| row.standing.apply(step));
        }
        if let Some(note) = change.note {
            self.keep(note);
        }
        if change.after.state.is_terminal() {
            self.rows[index] = None;
            self.lives[index].over = true;
        }
        let provider = &self.provider;
        self.lessons.extend(change.lesson.map(|lesson| (provider.clone(), lesson)));
        self.written.push_back(change.job);
    }

    fn keep(&mut self, note: Note) {
        let Some(row) = &mut self.rows[number(note.job)] else { return };
        row.next_poll_at = note.next_poll_at;
        row.standing.answered_from = note.answered_from.or(row.standing.answered_from);
        row.polls = note.polls;
        row.failed_polls = note.failed_polls;
        if let Some(told) = note.told {
            row.times = told.times;
        }
    }
}

fn number(job: JobId) -> usize {
    usize::try_from(job.0).expect("not negative")
}
