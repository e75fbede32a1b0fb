//! Measures the memory of a tracked job: what one million jobs that wait for their next poll take.
//!
//! Run by `just bench-memory`; `-- JOBS` sets another number of jobs. Prints the bytes that are allocated and
//! the resident memory for each job, and which allocations make up most of them. The jobs have ids as
//! Dune's, are running, and share 1,000 similarity keys.

#![allow(unreachable_pub, reason = "a bench is a crate of its own")]
#![allow(clippy::expect_used, reason = "a benchmark: a broken expectation ends it")]
#![allow(clippy::print_stdout, reason = "a benchmark prints its result")]

#[path = "support/provider_settings.rs"]
mod provider_settings;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jobtrack::job::{
    Answer, ClockReading, CurrentState, Evidence, JobId, MonotonicTime, Observation, ObservedState,
    ProviderName, ProviderTimes, RequestTimes, SimilarityKeys, State, StoredJob, Transition,
    UtcTime,
};
use jobtrack::tracker::{Action, Input, PollRequest, Tracker};

use provider_settings::provider_settings;

/// Counts the live allocations of each size.
struct CountingAllocator;

/// Allocations of this size and above are counted together.
const LARGE: usize = 4096;
static LIVE_BY_SIZE: [AtomicI64; LARGE] = [const { AtomicI64::new(0) }; LARGE];
static LIVE_LARGE_BYTES: AtomicI64 = AtomicI64::new(0);

fn count(size: usize, change: i64) {
    match LIVE_BY_SIZE.get(size) {
        Some(live) => live.fetch_add(change, Ordering::Relaxed),
        None => LIVE_LARGE_BYTES.fetch_add(bytes(size) * change, Ordering::Relaxed),
    };
}

#[expect(unsafe_code, reason = "an allocator cannot be written without; it only counts")]
// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(layout.size(), -1);
        count(new_size, 1);
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// All jobs are due after this time.
const LONGEST_WAIT_MS: u64 = 6 * 3_600_000;

/// What the process holds at one time.
struct MemoryReading {
    live_by_size: Vec<i64>,
    large_bytes: i64,
    resident_bytes: i64,
}

impl MemoryReading {
    fn take() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        let kilobytes = resident.trim().trim_end_matches(" kB").parse::<i64>().expect("a number");
        Self {
            live_by_size: LIVE_BY_SIZE.iter().map(|live| live.load(Ordering::Relaxed)).collect(),
            large_bytes: LIVE_LARGE_BYTES.load(Ordering::Relaxed),
            resident_bytes: kilobytes * 1024,
        }
    }

    /// Prints what was added since `before`, for each of `jobs` jobs.
    fn print_since(&self, before: &Self, what: &str, jobs: i64) {
        let per_job = |bytes: i64| to_f64(bytes) / to_f64(jobs);
        let added = self.live_by_size.iter().zip(&before.live_by_size).enumerate();
        let added: Vec<_> = added.map(|(size, (now, then))| (bytes(size), now - then)).collect();
        let small: i64 = added.iter().map(|(size, count)| size * count).sum();
        let large = self.large_bytes - before.large_bytes;
        println!(
            "{what}: {:.1} bytes a job resident, {:.1} allocated",
            per_job(self.resident_bytes - before.resident_bytes),
            per_job(small + large)
        );
        println!("  {:>6.1}  tables (allocations of {LARGE} bytes and more)", per_job(large));
        for (size, count) in added.into_iter().filter(|(size, count)| size * count > jobs / 2) {
            println!("  {:>6.1}  {count} allocations of {size} bytes", per_job(size * count));
        }
    }
}

fn main() {
    let argument = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let jobs: i64 = argument.unwrap_or(1_000_000);
    let mut bench = TrackerBench::new();
    let before = MemoryReading::take();
    bench.track(jobs);
    MemoryReading::take().print_since(&before, "loaded", jobs);
    bench.poll(jobs / 10);
    MemoryReading::take().print_since(&before, "a tenth of them polled", jobs);
    bench.now += LONGEST_WAIT_MS;
    // Each selection evaluates 500 of the jobs that have become due.
    bench.poll(jobs / 400);
    MemoryReading::take().print_since(&before, "all of them due", jobs);
}

struct TrackerBench {
    tracker: Tracker,
    provider: ProviderName,
    now: u64,
    in_flight: Vec<PollRequest>,
}

impl TrackerBench {
    fn new() -> Self {
        let provider: ProviderName = "dune".parse().expect("a name");
        let settings = provider_settings(provider.clone(), 60_000, 1000);
        let (tracker, in_flight) = (Tracker::default(), Vec::new());
        let mut bench = Self { tracker, provider, now: 24 * 3_600_000, in_flight };
        bench.handle(Input::Configure(vec![settings]));
        bench
    }

    /// Loads this many jobs in pages, as a daemon does at its start.
    fn track(&mut self, jobs: i64) {
        const PAGE: usize = 5000;
        let mut rng = fastrand::Rng::with_seed(8);
        let ids: Vec<_> = (1..=jobs).collect();
        for page in ids.chunks(PAGE) {
            let page = page.iter().map(|id| self.job(*id, &mut rng)).collect();
            self.handle(Input::Track(page));
        }
    }

    /// Polls jobs one by one; each answer reports that the job still runs.
    fn poll(&mut self, polls: i64) {
        for _ in 0..polls {
            if let Some(wakeup) = self.tracker.next_wakeup() {
                self.now = self.now.max(wakeup.as_millis());
            }
            self.handle(Input::Tick);
            let times = RequestTimes { sent_at: self.utc_now(), received_at: self.utc_now() };
            for request in std::mem::take(&mut self.in_flight) {
                let answer = Box::new(running_answer(request.job, self.utc_now()));
                let PollRequest { provider_index, job, .. } = request;
                self.handle(Input::PollAnswered(job, provider_index, times, answer));
            }
        }
    }

    fn job(&self, id: i64, rng: &mut fastrand::Rng) -> StoredJob {
        let registered_at = self.utc_now().minus(Duration::from_secs(rng.u64(600..80_000)));
        let mut current_state = CurrentState::registered(registered_at);
        current_state.apply(&Transition {
            from: Some(State::Registered),
            to: State::Running,
            provider_state: Some("QUERY_STATE_EXECUTING".into()),
            evidence: Evidence::Observed,
            occurred_at: Some(registered_at),
            observed_at: registered_at,
            earliest_at: None,
            message: None,
        });
        current_state.last_success_sent_at = Some(registered_at);
        StoredJob {
            id: JobId(id),
            provider: self.provider.clone(),
            remote_id: format!("01JAR{id:021}").parse().expect("an id"),
            current_state,
            registered_at,
            give_up_after: None,
            price: None,
            next_poll_at: Some(self.utc_now().plus(Duration::from_secs(rng.u64(60..3600)))),
            polls: 1,
            failed_polls: 0,
            list_time: None,
            similarity_keys: similarity_keys(id),
            times: ProviderTimes { started_at: Some(registered_at), ..ProviderTimes::default() },
        }
    }

    fn handle(&mut self, input: Input) {
        let monotonic = MonotonicTime::from_millis(self.now);
        let now = ClockReading { monotonic, utc: self.utc_now(), jitter: 0.5 };
        for action in self.tracker.handle(input, now) {
            if let Action::Poll(request) = action {
                self.in_flight.push(request);
            }
        }
    }

    fn utc_now(&self) -> UtcTime {
        /// The wall clock at the start, in milliseconds since 1970.
        const EPOCH_MS: i64 = 1_800_000_000_000;
        UtcTime::from_millis(EPOCH_MS.saturating_add_unsigned(self.now))
    }
}

fn running_answer(job: JobId, now: UtcTime) -> Answer {
    let started_at = Some(now.minus(Duration::from_hours(1)));
    let observation = Observation {
        state: ObservedState::Running,
        provider_state: "QUERY_STATE_EXECUTING".into(),
        times: ProviderTimes { started_at, ..ProviderTimes::default() },
        message: None,
        list_time: None,
        similarity_keys: similarity_keys(job.0),
        reported_duration: None,
        source: None,
        credits: None,
        detail: serde_json::Map::default(),
    };
    Answer { server_date: Some(now), ..Answer::from_result(Ok(observation)) }
}

fn similarity_keys(number: i64) -> SimilarityKeys {
    SimilarityKeys::from_provider([format!("query {}", number % 1000)])
}

fn bytes(size: usize) -> i64 {
    i64::try_from(size).expect("no object is larger")
}

#[expect(clippy::cast_precision_loss, reason = "only printed")]
fn to_f64(number: i64) -> f64 {
    number as f64
}
