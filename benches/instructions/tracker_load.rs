//! A tracker with 100,000 due jobs, driven as the scheduler drives it.
//!
//! Requests are answered at once and changes committed at once. Time is simulated: the clock advances to the
//! tracker's next wake-up.

use std::hint::black_box;
use std::time::{Duration, Instant};

use jobtrack::job::{
    Answer, ClockReading, CurrentState, DurationSample, JobId, LifecycleStep, MonotonicTime,
    Observation, ObservedState, ProviderName, ProviderTimes, RateLimitInfo, RequestTimes,
    SimilarityKeys, State, StoredJob, UtcTime,
};
use jobtrack::tracker::{Action, Input, PollRequest, Tracker};

use crate::provider_settings::provider_settings;

pub const JOBS: i64 = 100_000;
/// The first polls evaluate all jobs.
const UNCOUNTED_POLLS: usize = 500;
/// The wall clock at the start of the simulation, in milliseconds since 1970.
const EPOCH_MS: i64 = 1_800_000_000_000;

/// What the tracker does for one poll.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Chooses the next poll.
    Select,
    /// Handles an answer that changes nothing.
    SameState,
    /// Handles an answer that changes the job's state, and the commit of this change.
    NewState,
}

/// The tracker, and the step whose instructions are counted.
pub struct TrackerLoad {
    tracker: Tracker,
    step: Step,
    is_warm: bool,
    now: u64,
    in_flight: Option<PollRequest>,
}

impl TrackerLoad {
    /// A tracker with [`JOBS`] jobs that were registered during the last day and polled once, long ago, and
    /// with the durations of 10,000 past runs.
    pub fn new(step: Step) -> Self {
        let tracker = Tracker::default();
        let mut load = Self { tracker, step, is_warm: false, now: 24 * 3_600_000, in_flight: None };
        let provider: ProviderName = "dune".parse().expect("a name");
        load.handle(Input::Configure(vec![provider_settings(provider.clone(), 6000, 1)]));
        let mut rng = fastrand::Rng::with_seed(7);
        let mut seconds = || Duration::from_secs_f64((7.0 + 2.0 * (rng.f64() - 0.5)).exp());
        let duration_samples = (0..10_000).map(|run| {
            let duration = Some(seconds());
            let similarity_keys = similarity_keys(run);
            (
                provider.clone(),
                DurationSample {
                    similarity_keys,
                    total: duration,
                    run: duration,
                    ..DurationSample::default()
                },
            )
        });
        let duration_samples = duration_samples.collect();
        load.handle(Input::LoadDurationSamples(duration_samples));
        let mut rng = fastrand::Rng::with_seed(8);
        let jobs = (1..=JOBS).map(|id| load.job(id, &provider, &mut rng)).collect();
        load.handle(Input::Track(jobs));
        for _ in 0..UNCOUNTED_POLLS {
            load.poll_once();
        }
        load.is_warm = true;
        load
    }

    /// A job that runs, or that is only registered if the next answer shall change its state.
    fn job(&self, id: i64, provider: &ProviderName, rng: &mut fastrand::Rng) -> StoredJob {
        let started_at = self.utc_now().minus(Duration::from_secs(rng.u64(600..80_000)));
        let last_polled_at = started_at.plus(Duration::from_secs(rng.u64(1..500)));
        let mut current_state = match self.step {
            Step::NewState => CurrentState::registered(started_at),
            Step::Select | Step::SameState => CurrentState::from_store(
                State::Running,
                Some("EXECUTING".into()),
                LifecycleStep::Running,
                started_at,
                None,
            ),
        };
        current_state.last_success_sent_at = Some(last_polled_at);
        StoredJob {
            id: JobId(id),
            provider: provider.clone(),
            remote_id: format!("remote-{id}").parse().expect("an id"),
            current_state,
            registered_at: started_at,
            give_up_after: None,
            price: None,
            next_poll_at: None,
            polls: 1,
            failed_polls: 0,
            list_time: None,
            similarity_keys: similarity_keys(id),
            times: ProviderTimes { started_at: Some(started_at), ..ProviderTimes::default() },
        }
    }

    /// Answers the request in flight, advances the clock to the next wake-up, and returns how long the
    /// tracker took to choose the next poll.
    pub fn poll_once(&mut self) -> Duration {
        if let Some(request) = self.in_flight.take() {
            let answer = Box::new(self.running_answer(request.job));
            let times = RequestTimes { sent_at: self.utc_now(), received_at: self.utc_now() };
            let input = Input::PollAnswered(request.job, request.provider_index, times, answer);
            self.handle_part(input, self.step != Step::Select);
        }
        self.now = self.tracker.next_wakeup().expect("jobs are due").as_millis().max(self.now);
        let start = Instant::now();
        self.handle_part(Input::Tick, self.step == Step::Select);
        start.elapsed()
    }

    /// An answer that reports a running job.
    fn running_answer(&self, job: JobId) -> Answer {
        let started_at = self.utc_now().minus(Duration::from_mins(10));
        let observation = Observation {
            state: ObservedState::Running,
            provider_state: "EXECUTING".into(),
            times: ProviderTimes { started_at: Some(started_at), ..ProviderTimes::default() },
            message: None,
            list_time: None,
            similarity_keys: similarity_keys(job.0),
            reported_duration: None,
            source: None,
            credits: None,
            detail: serde_json::Map::default(),
        };
        Answer {
            result: Ok(observation),
            rate_limit: RateLimitInfo::default(),
            server_date: Some(self.utc_now()),
            credential_replaced: false,
        }
    }

    fn handle(&mut self, input: Input) {
        self.handle_part(input, false);
    }

    /// Runs the tracker inside [`super::counted`] if the input belongs to the step that is counted.
    fn handle_part(&mut self, input: Input, belongs_to_step: bool) {
        let now = self.clock_reading();
        let tracker = &mut self.tracker;
        let handle = || tracker.handle(black_box(input), now);
        let is_counted = belongs_to_step && self.is_warm;
        let actions = if is_counted { super::counted(handle) } else { handle() };
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: impl IntoIterator<Item = Action>) {
        let mut changed_jobs = Vec::new();
        for action in actions {
            match action {
                Action::Poll(request) => self.in_flight = Some(request),
                Action::Commit(change) => changed_jobs.push(change.job),
                Action::List(_)
                | Action::Cancel(..)
                | Action::RefuseCancel(..)
                | Action::ReplyToCancel(..)
                | Action::ReplyToConnectionCheck(..)
                | Action::CheckConnection(_)
                | Action::ShareConnectionCheck(..)
                | Action::RefuseConnectionCheck(..)
                | Action::RecordPoll { .. }
                | Action::RecordNextPolls(_)
                | Action::RecordAnomaly(_)
                | Action::RecordOutage(_)
                | Action::Notify(_) => {}
            }
        }
        for job in changed_jobs {
            self.handle_part(Input::ChangeCommitted(job), self.step == Step::NewState);
        }
    }

    fn clock_reading(&self) -> ClockReading {
        ClockReading {
            monotonic: MonotonicTime::from_millis(self.now),
            utc: self.utc_now(),
            jitter: 0.5,
        }
    }

    fn utc_now(&self) -> UtcTime {
        UtcTime::from_millis(EPOCH_MS.saturating_add_unsigned(self.now))
    }
}

fn similarity_keys(number: i64) -> SimilarityKeys {
    SimilarityKeys::from_provider([format!("query {}", number % 1000)])
}
