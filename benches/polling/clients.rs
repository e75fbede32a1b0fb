//! The policies that `jobtrackd` is compared with, on the same simulated jobs.
//!
//! These are the intervals that existing clients use, the best of such intervals chosen in hindsight,
//! and two oracles that know more than any client can: each job's duration distribution, or its end.
//! Every policy polls once at the job's start, as real clients do; that poll counts as a request.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use fastrand::Rng;
use jobtrack::policy::{Distribution, LearnedPolicySettings, staleness_index};

use super::metrics::{DetectionResult, mean_requests_and_delay};
use super::workload::SimulatedJob;

/// A client that decides by the elapsed time alone. All times are in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum PollingClient {
    Fixed(f64),
    /// Each interval is `factor` times as long as the one before, up to `cap`.
    Growing {
        first: f64,
        factor: f64,
        cap: f64,
    },
    /// Each interval is random, between `minimum` and three times the last one, up to `cap`.
    DecorrelatedJitter {
        minimum: f64,
        cap: f64,
    },
    /// Each interval is this fraction of the time since the job's start.
    ElapsedFraction(f64),
}

/// What a client remembers about a job. `polls` does not include the poll at the job's start.
#[derive(Debug, Clone, Copy, Default)]
struct ClientState {
    polls: i32,
    last_interval: f64,
    elapsed: f64,
}

impl PollingClient {
    fn next_interval(self, state: ClientState, rng: &mut Rng) -> f64 {
        match self {
            Self::Fixed(interval) => interval,
            Self::Growing { first, factor, cap } => (first * factor.powi(state.polls)).min(cap),
            Self::DecorrelatedJitter { minimum, cap } => {
                let maximum = (3.0 * state.last_interval).max(minimum);
                (minimum + (maximum - minimum) * rng.f64()).min(cap)
            }
            Self::ElapsedFraction(fraction) => (fraction * state.elapsed).max(1.0),
        }
    }

    /// Polls `jobs` without a rate limit.
    pub(crate) fn poll_unlimited(self, jobs: &[SimulatedJob]) -> Vec<DetectionResult> {
        let mut rng = Rng::with_seed(7);
        if let Self::DecorrelatedJitter { .. } = self {
            let poll_job = |job: &SimulatedJob| {
                result(&self.poll_times(job.duration_seconds(), &mut rng), job)
            };
            return jobs.iter().map(poll_job).collect();
        }
        let longest = jobs.iter().map(SimulatedJob::duration_seconds).fold(0.0, f64::max);
        // Without randomness the poll times are the same for every job.
        let poll_times = self.poll_times(longest, &mut rng);
        jobs.iter().map(|job| result(&poll_times, job)).collect()
    }

    /// The times of all polls after the first one, up to the first that is not before `longest`.
    fn poll_times(self, longest: f64, rng: &mut Rng) -> Vec<f64> {
        let mut poll_times = Vec::new();
        let mut state = ClientState::default();
        while state.elapsed < longest {
            state.last_interval = self.next_interval(state, rng);
            state.elapsed += state.last_interval;
            state.polls += 1;
            poll_times.push(state.elapsed);
        }
        poll_times
    }

    /// Polls `jobs` with `budget` requests a minute, spaced evenly, in the order of their due times.
    /// Stops when the ends of the first `until` jobs are detected, and returns the results of those.
    pub(crate) fn poll_with_budget(
        self,
        jobs: &[SimulatedJob],
        until: usize,
        budget: u32,
    ) -> Vec<DetectionResult> {
        let mut rng = Rng::with_seed(7);
        let mut due = BinaryHeap::new();
        let mut states = vec![ClientState::default(); jobs.len()];
        let mut results = vec![None; until];
        let (mut remaining, mut pacer, mut next_arrival) = (until, RequestPacer::new(budget), 0);
        while remaining > 0 {
            let next_due = due.peek().map(|Reverse((at, _))| *at);
            let next_start = jobs.get(next_arrival).map(|job| job.start_ms);
            let now = pacer
                .available_at(next_due.into_iter().chain(next_start).min().expect("a job is left"));
            while jobs.get(next_arrival).is_some_and(|job| job.start_ms <= now) {
                due.push(Reverse((jobs[next_arrival].start_ms, next_arrival)));
                next_arrival += 1;
            }
            let Some(Reverse((_, index))) = due.pop() else { continue };
            pacer.take_slot(now);
            let (job, state) = (&jobs[index], &mut states[index]);
            if now < job.end_ms() {
                state.elapsed = (now - job.start_ms) as f64 / 1000.0;
                state.last_interval = self.next_interval(*state, &mut rng);
                state.polls += 1;
                due.push(Reverse((now + to_millis(state.last_interval), index)));
            } else if index < until {
                let requests = u32::try_from(state.polls).expect("not negative") + 1;
                results[index] = Some(DetectionResult::new(job, requests, now));
                remaining -= 1;
            }
        }
        results.into_iter().flatten().collect()
    }
}

fn result(poll_times: &[f64], job: &SimulatedJob) -> DetectionResult {
    let duration = job.duration_seconds();
    let unfinished_polls = poll_times.partition_point(|time| *time < duration);
    // The poll at the start and the one that detects the end come on top.
    let requests = u32::try_from(unfinished_polls).expect("few polls") + 2;
    DetectionResult { requests, delay: poll_times[unfinished_polls] - duration, duration }
}

/// Spaces requests evenly. Slots that are not used are lost, so there are no bursts.
#[derive(Debug)]
struct RequestPacer {
    next_slot: f64,
    spacing: f64,
}

impl RequestPacer {
    fn new(budget: u32) -> Self {
        Self { next_slot: 0.0, spacing: 60_000.0 / f64::from(budget) }
    }

    fn available_at(&self, earliest: u64) -> u64 {
        earliest.max(self.next_slot.ceil() as u64)
    }

    fn take_slot(&mut self, now: u64) {
        // Counted from the slot, not from `now`, which is rounded up to a whole millisecond: rounding
        // would otherwise lower the rate.
        let late = now as f64 - self.next_slot;
        self.next_slot = if late < 1.0 { self.next_slot } else { now as f64 } + self.spacing;
    }
}

fn to_millis(seconds: f64) -> u64 {
    (seconds * 1000.0).ceil() as u64
}

/// The lowest mean delay of all fixed and all growing intervals that need `requests` requests a job.
/// Infinite if none of them can be made to need that many.
pub(crate) fn best_in_hindsight(jobs: &[SimulatedJob], requests: f64) -> f64 {
    const FACTORS: [f64; 5] = [1.15, 1.3, 1.5, 2.0, 3.0];
    const CAPS: [f64; 10] =
        [30.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3840.0, 7680.0, 86_400.0];
    let best = |client: &dyn Fn(f64) -> PollingClient| {
        // Logarithms of the first interval: bisected, with more requests at `low` and fewer at `high`.
        let (mut low, mut high) = (0.02f64.ln(), 20_000f64.ln());
        let measure =
            |first: f64| mean_requests_and_delay(&client(first.exp()).poll_unlimited(jobs));
        let (mut costly, mut cheap) = (measure(low), measure(high));
        if costly.0 < requests || cheap.0 > requests {
            return f64::INFINITY;
        }
        while high - low > 0.06 {
            let middle = f64::midpoint(low, high);
            let means = measure(middle);
            if means.0 > requests {
                (low, costly) = (middle, means);
            } else {
                (high, cheap) = (middle, means);
            }
        }
        // Interpolated between the two nearest, in logarithms.
        let fraction = (costly.0 / requests).ln() / (costly.0 / cheap.0).ln().max(1e-9);
        (costly.1.ln() + fraction * (cheap.1 / costly.1).ln()).exp()
    };
    let mut lowest = best(&PollingClient::Fixed);
    for factor in FACTORS {
        for cap in CAPS {
            lowest = lowest.min(best(&|first| PollingClient::Growing { first, factor, cap }));
        }
    }
    lowest
}

/// An oracle that follows `rule` and knows the distribution from which each duration was drawn.
pub(crate) fn oracle_distribution(
    jobs: &[SimulatedJob],
    rule: &LearnedPolicySettings,
) -> Vec<DetectionResult> {
    jobs.iter().map(|job| poll_by_rule(job, rule, job.true_distribution())).collect()
}

/// Polls a job by `rule` and one prediction until its end is detected.
pub(crate) fn poll_by_rule(
    job: &SimulatedJob,
    rule: &LearnedPolicySettings,
    prediction: &impl Distribution,
) -> DetectionResult {
    let (duration, mut at, mut requests) = (job.duration_seconds(), 0.0, 1);
    while at < duration {
        at = rule.plan_next_poll(prediction, at, at).age;
        requests += 1;
    }
    DetectionResult { requests, delay: at - duration, duration }
}

/// The same oracle under a rate limit: each request goes to the job with the largest staleness index,
/// or to one that was not polled for five rounds.
pub(crate) fn oracle_distribution_with_budget(
    jobs: &[SimulatedJob],
    until: usize,
    budget: u32,
) -> Vec<DetectionResult> {
    const STARVATION_ROUNDS: f64 = 5.0;
    struct ActiveJob {
        job: usize,
        last_seen_running: u64,
        requests: u32,
    }
    let mut active: Vec<ActiveJob> = Vec::new();
    let mut results = vec![None; until];
    let (mut remaining, mut pacer, mut next_arrival) = (until, RequestPacer::new(budget), 0);
    while remaining > 0 {
        let earliest = if active.is_empty() { jobs[next_arrival].start_ms } else { 0 };
        let now = pacer.available_at(earliest);
        while jobs.get(next_arrival).is_some_and(|job| job.start_ms <= now) {
            active.push(ActiveJob {
                job: next_arrival,
                last_seen_running: jobs[next_arrival].start_ms,
                requests: 0,
            });
            next_arrival += 1;
        }
        let starvation_limit = STARVATION_ROUNDS * active.len() as f64 * pacer.spacing;
        let urgency = |candidate: &ActiveJob| {
            let (job, waited) = (&jobs[candidate.job], (now - candidate.last_seen_running) as f64);
            if waited > starvation_limit {
                return f64::INFINITY;
            }
            let age = |at: u64| (at - job.start_ms) as f64 / 1000.0;
            staleness_index(job.true_distribution(), age(candidate.last_seen_running), age(now))
        };
        let urgencies = active.iter().map(urgency).enumerate();
        let most_urgent = urgencies.max_by(|(_, one), (_, other)| one.total_cmp(other));
        let Some((chosen, _)) = most_urgent else { continue };
        pacer.take_slot(now);
        let polled = &mut active[chosen];
        let job = &jobs[polled.job];
        polled.requests += 1;
        polled.last_seen_running = now;
        if now >= job.end_ms() {
            let finished = active.swap_remove(chosen);
            if finished.job < until {
                results[finished.job] = Some(DetectionResult::new(job, finished.requests, now));
                remaining -= 1;
            }
        }
    }
    results.into_iter().flatten().collect()
}

/// An oracle that knows when each job ends: it polls once, as soon after the end as `budget` allows.
pub(crate) fn oracle_end_times(
    jobs: &[SimulatedJob],
    until: usize,
    budget: u32,
) -> Vec<DetectionResult> {
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    order.sort_unstable_by_key(|index| jobs[*index].end_ms());
    let mut pacer = RequestPacer::new(budget);
    let mut results = vec![None; until];
    for index in order {
        let now = pacer.available_at(jobs[index].end_ms());
        pacer.take_slot(now);
        if index < until {
            results[index] = Some(DetectionResult::new(&jobs[index], 1, now));
        }
    }
    results.into_iter().flatten().collect()
}
