//! Measures how long the tracker takes to choose the next job to poll while 100,000 jobs are due.
//!
//! Run by `just bench-select-poll`. Only calls of `Tracker::handle` are timed; requests are answered at once
//! and changes committed at once.

#![allow(clippy::expect_used, reason = "a benchmark: a broken expectation ends it")]

use std::time::{Duration, Instant};

use jobtrack::job::{
    Answer, ClockReading, CurrentState, DurationSample, JobId, MonotonicTime, NotFoundTimeout,
    Observation, ObservedState, ProviderName, ProviderTimes, RateLimitInfo, RequestTimes,
    SimilarityKeys, StoredJob, UtcTime,
};
use jobtrack::policy::{Backoff, LearnedPolicySettings};
use jobtrack::tracker::{Action, Input, PollPolicy, PollRequest, ProviderSettings, Tracker};

const JOBS: i64 = 100_000;
const POLLS: usize = 20_000;
/// The wall clock at the start of the simulation, in milliseconds since 1970.
const EPOCH_MS: i64 = 1_800_000_000_000;

fn main() {
    let mut bench = SelectionBench::new();
    let mut durations: Vec<_> = (0..POLLS).map(|_| bench.next_poll()).collect();
    durations.sort_unstable();
    let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
    let mean = durations.iter().sum::<Duration>() / u32::try_from(POLLS).expect("few");
    let (p99, worst) = (durations[POLLS * 99 / 100], durations[POLLS - 1]);
    println!(
        "{JOBS} due jobs: choosing the next one takes {:.1} µs on average, {:.1} µs at the 99th percentile, {:.1} µs at worst",
        micros(mean),
        micros(p99),
        micros(worst)
    );
}

struct SelectionBench {
    tracker: Tracker,
    now: u64,
    in_flight: Option<PollRequest>,
}

impl SelectionBench {
    /// A tracker with [`JOBS`] jobs that were registered during the last day and polled once, long ago, and
    /// with the durations of 10,000 past runs.
    fn new() -> Self {
        let mut bench = Self { tracker: Tracker::default(), now: 24 * 3_600_000, in_flight: None };
        let provider: ProviderName = "dune".parse().expect("a name");
        bench.handle(Input::Configure(vec![provider_settings(provider.clone())]));
        let mut rng = fastrand::Rng::with_seed(7);
        let mut seconds = || Duration::from_secs_f64((7.0 + 2.0 * (rng.f64() - 0.5)).exp());
        let duration_samples = (0..10_000).map(|run| {
            let duration = Some(seconds());
            let similarity_keys = similarity_keys(run);
            (provider.clone(), DurationSample { similarity_keys, total: duration, run: duration })
        });
        let duration_samples = duration_samples.collect();
        bench.handle(Input::LoadDurationSamples(duration_samples));
        let mut rng = fastrand::Rng::with_seed(8);
        let jobs = (1..=JOBS).map(|id| bench.job(id, &provider, &mut rng)).collect();
        bench.handle(Input::Track(jobs));
        bench
    }

    fn job(&self, id: i64, provider: &ProviderName, rng: &mut fastrand::Rng) -> StoredJob {
        let started_at = self.utc_now().minus(Duration::from_secs(rng.u64(600..80_000)));
        let last_polled_at = started_at.plus(Duration::from_secs(rng.u64(1..500)));
        let mut current_state = CurrentState::registered(started_at);
        current_state.last_success_sent_at = Some(last_polled_at);
        StoredJob {
            id: JobId(id),
            provider: provider.clone(),
            remote_id: format!("remote-{id}").parse().expect("an id"),
            current_state,
            registered_at: started_at,
            give_up_after: None,
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
    fn next_poll(&mut self) -> Duration {
        if let Some(request) = self.in_flight.take() {
            let answer = Box::new(self.running_answer(request.job));
            let times = RequestTimes { sent_at: self.utc_now(), received_at: self.utc_now() };
            self.handle(Input::PollAnswered(request.job, request.provider_index, times, answer));
        }
        self.now = self.tracker.next_wakeup().expect("jobs are due").as_millis().max(self.now);
        self.handle(Input::Tick)
    }

    /// An answer that reports no change.
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

    #[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
    fn handle(&mut self, input: Input) -> Duration {
        let now = ClockReading {
            monotonic: MonotonicTime::from_millis(self.now),
            utc: self.utc_now(),
            jitter: 0.5,
        };
        let start = Instant::now();
        let actions = self.tracker.handle(input, now);
        let elapsed = start.elapsed();
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
                | Action::RecordAnomaly(_)
                | Action::RecordOutage(_)
                | Action::Notify(_) => {}
            }
        }
        for job in changed_jobs {
            self.handle(Input::ChangeCommitted(job));
        }
        elapsed
    }

    fn utc_now(&self) -> UtcTime {
        UtcTime::from_millis(EPOCH_MS.saturating_add_unsigned(self.now))
    }
}

fn similarity_keys(number: i64) -> SimilarityKeys {
    SimilarityKeys::from_provider([format!("query {}", number % 1000)])
}

fn provider_settings(name: ProviderName) -> ProviderSettings {
    let second = Duration::from_secs(1);
    ProviderSettings {
        name,
        account: None,
        requests_per_minute: 6000,
        max_in_flight: 1,
        policy: PollPolicy::Learned(LearnedPolicySettings {
            price: second,
            min_interval: second,
            enforce_max_wait: true,
        }),
        backoff: Backoff { min: second, max: Duration::from_mins(5) },
        give_up_after: Duration::from_hours(30 * 24),
        lost_after: NotFoundTimeout {
            previously_seen: Duration::from_mins(15),
            never_seen: Duration::from_hours(1),
        },
        request_timeout: Duration::from_secs(30),
        supports_list: false,
        connection_fingerprint: 0,
    }
}
