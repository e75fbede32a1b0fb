//! What one turn costs among a hundred thousand due jobs: `cargo bench --bench select_poll`.

#![allow(clippy::expect_used, reason = "a bench: a broken expectation ends it")]

use std::time::{Duration, Instant};

use jobtrack::job::{
    Answer, ClockReading, CurrentState, DurationSample, JobId, MonotonicTime, NotFoundTimeout,
    Observation, ObservedState, ProviderName, ProviderTimes, RateLimitInfo, RequestTimes,
    SimilarityKeys, StoredJob, UtcTime,
};
use jobtrack::policy::{Backoff, PollRule};
use jobtrack::tracker::{Action, Input, PollPolicy, PollRequest, ProviderSettings, Tracker};

const JOBS: i64 = 100_000;
const POLLS: usize = 20_000;
/// When the simulated day begins, by the calendar.
const EPOCH_MS: i64 = 1_800_000_000_000;

fn main() {
    let mut bench = SelectionBench::new();
    let mut spans: Vec<_> = (0..POLLS).map(|_| bench.next_poll()).collect();
    spans.sort_unstable();
    let micros = |span: Duration| span.as_secs_f64() * 1e6;
    let mean = spans.iter().sum::<Duration>() / u32::try_from(POLLS).expect("few");
    let (p99, worst) = (spans[POLLS * 99 / 100], spans[POLLS - 1]);
    println!(
        "{JOBS} due jobs: a turn takes {:.1} µs on average, {:.1} µs at the 99th percentile, {:.1} µs at worst",
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
    /// A day after so many jobs were registered, none of which has been asked for long.
    fn new() -> Self {
        let mut bench = Self { tracker: Tracker::default(), now: 24 * 3_600_000, in_flight: None };
        let provider: ProviderName = "dune".parse().expect("a name");
        bench.handle(Input::Configure(vec![provider_settings(provider.clone())]));
        let mut rng = fastrand::Rng::with_seed(7);
        let mut seconds = || Duration::from_secs_f64((7.0 + 2.0 * (rng.f64() - 0.5)).exp());
        let duration_samples = (0..10_000).map(|run| {
            let took = Some(seconds());
            let similarity_keys = similarity_keys(run);
            (provider.clone(), DurationSample { similarity_keys, total: took, run: took })
        });
        let duration_samples = duration_samples.collect();
        bench.handle(Input::LoadDurationSamples(duration_samples));
        let mut rng = fastrand::Rng::with_seed(8);
        let jobs = (1..=JOBS).map(|id| bench.job(id, &provider, &mut rng)).collect();
        bench.handle(Input::Track(jobs));
        bench
    }

    fn job(&self, id: i64, provider: &ProviderName, rng: &mut fastrand::Rng) -> StoredJob {
        let began = self.wall().minus(Duration::from_secs(rng.u64(600..80_000)));
        let seen = began.plus(Duration::from_secs(rng.u64(1..500)));
        let mut current_state = CurrentState::registered(began);
        current_state.last_success_sent_at = Some(seen);
        StoredJob {
            id: JobId(id),
            provider: provider.clone(),
            remote_id: format!("remote-{id}").parse().expect("an id"),
            current_state,
            registered_at: began,
            give_up_after: None,
            next_poll_at: None,
            polls: 1,
            failed_polls: 0,
            list_time: None,
            similarity_keys: similarity_keys(id),
            times: ProviderTimes { started_at: Some(began), ..ProviderTimes::default() },
        }
    }

    /// Time comes to the next request: how long the tracker takes to say whose it is.
    fn next_poll(&mut self) -> Duration {
        if let Some(question) = self.in_flight.take() {
            let answer = Box::new(self.running_answer(question.job));
            let asked = RequestTimes { sent_at: self.wall(), received_at: self.wall() };
            self.handle(Input::PollAnswered(question.job, question.provider_index, asked, answer));
        }
        self.now = self.tracker.next_wakeup().expect("all are due").as_millis().max(self.now);
        self.handle(Input::Tick)
    }

    /// It runs on, as before.
    fn running_answer(&self, job: JobId) -> Answer {
        let began = self.wall().minus(Duration::from_mins(10));
        let seen = Observation {
            state: ObservedState::Running,
            provider_state: "EXECUTING".into(),
            times: ProviderTimes { started_at: Some(began), ..ProviderTimes::default() },
            message: None,
            list_time: None,
            similarity_keys: similarity_keys(job.0),
            reported_duration: None,
            detail: serde_json::Map::default(),
        };
        Answer {
            result: Ok(seen),
            rate_limit: RateLimitInfo::default(),
            server_date: Some(self.wall()),
        }
    }

    #[allow(clippy::disallowed_methods, reason = "it measures")]
    fn handle(&mut self, input: Input) -> Duration {
        let now = ClockReading {
            monotonic: MonotonicTime::from_millis(self.now),
            utc: self.wall(),
            jitter: 0.5,
        };
        let begun = Instant::now();
        let actions = self.tracker.handle(input, now);
        let took = begun.elapsed();
        let mut changed = Vec::new();
        for action in actions {
            match action {
                Action::Poll(question) => self.in_flight = Some(question),
                Action::Commit(change) => changed.push(change.job),
                _ => {}
            }
        }
        for job in changed {
            self.handle(Input::ChangeCommitted(job));
        }
        took
    }

    fn wall(&self) -> UtcTime {
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
        policy: PollPolicy::Learned(PollRule {
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
    }
}
