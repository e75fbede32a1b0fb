//! The other policies: those of today's clients, the best of their kinds in hindsight, and two that
//! know more than can be known. Each looks once at the very beginning, as all clients do.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use fastrand::Rng;
use jobtrack::policy::{PollRule, staleness_index};

use super::metrics::{DetectionResult, mean_requests_and_delay};
use super::workload::SimulatedJob;

/// A client that knows nothing but how long it has waited. All in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum PollingClient {
    Fixed(f64),
    /// Each pause is `factor` times as long as the one before, up to `cap`.
    Growing {
        first: f64,
        factor: f64,
        cap: f64,
    },
    /// The next pause is anything up to three times the last one (decorrelated jitter).
    DecorrelatedJitter {
        minimum: f64,
        cap: f64,
    },
    /// A share of the time that has passed.
    ElapsedFraction(f64),
}

/// What a client knows of a job: how often it has looked since the first time, its last pause, and
/// how long ago the job began.
#[derive(Debug, Clone, Copy, Default)]
struct ClientState {
    polls: i32,
    last_interval: f64,
    elapsed: f64,
}

impl PollingClient {
    /// The pause before the next look.
    fn next_interval(self, state: ClientState, dice: &mut Rng) -> f64 {
        match self {
            Self::Fixed(pause) => pause,
            Self::Growing { first, factor, cap } => (first * factor.powi(state.polls)).min(cap),
            Self::DecorrelatedJitter { minimum: least, cap } => {
                let upto = (3.0 * state.last_interval).max(least);
                (least + (upto - least) * dice.f64()).min(cap)
            }
            Self::ElapsedFraction(share) => (share * state.elapsed).max(1.0),
        }
    }

    /// Watches jobs with as many requests as it likes.
    pub(crate) fn poll_unlimited(self, jobs: &[SimulatedJob]) -> Vec<DetectionResult> {
        let mut dice = Rng::with_seed(7);
        if let Self::DecorrelatedJitter { .. } = self {
            let watched = |job: &SimulatedJob| {
                result(&self.poll_times(job.duration_seconds(), &mut dice), job)
            };
            return jobs.iter().map(watched).collect();
        }
        let longest = jobs.iter().map(SimulatedJob::duration_seconds).fold(0.0, f64::max);
        let looks = self.poll_times(longest, &mut dice);
        jobs.iter().map(|job| result(&looks, job)).collect()
    }

    /// When it looks after the first time, until `longest` is over.
    fn poll_times(self, longest: f64, dice: &mut Rng) -> Vec<f64> {
        let mut looks = Vec::new();
        let mut state = ClientState::default();
        while state.elapsed < longest {
            state.last_interval = self.next_interval(state, dice);
            state.elapsed += state.last_interval;
            state.polls += 1;
            looks.push(state.elapsed);
        }
        looks
    }

    /// Watches jobs with `budget` requests a minute, spaced evenly: who is due first is asked first.
    /// Ends when the first `until` jobs are over, and tells of these.
    pub(crate) fn poll_with_budget(
        self,
        jobs: &[SimulatedJob],
        until: usize,
        budget: u32,
    ) -> Vec<DetectionResult> {
        let mut dice = Rng::with_seed(7);
        let mut due = BinaryHeap::new();
        let mut states = vec![ClientState::default(); jobs.len()];
        let mut results = vec![None; until];
        let (mut remaining, mut pacer, mut next_arrival) = (until, RequestPacer::new(budget), 0);
        while remaining > 0 {
            let next = due.peek().map(|Reverse((at, _))| *at);
            let arrives = jobs.get(next_arrival).map(|job| job.start_ms);
            let now =
                pacer.available_at(next.into_iter().chain(arrives).min().expect("jobs are left"));
            while jobs.get(next_arrival).is_some_and(|job| job.start_ms <= now) {
                due.push(Reverse((jobs[next_arrival].start_ms, next_arrival)));
                next_arrival += 1;
            }
            let Some(Reverse((_, index))) = due.pop() else { continue };
            pacer.take_slot(now);
            let (job, known) = (&jobs[index], &mut states[index]);
            if now < job.end_ms() {
                known.elapsed = (now - job.start_ms) as f64 / 1000.0;
                known.last_interval = self.next_interval(*known, &mut dice);
                known.polls += 1;
                due.push(Reverse((now + to_millis(known.last_interval), index)));
            } else if index < until {
                let requests = u32::try_from(known.polls).expect("positive") + 1;
                results[index] = Some(DetectionResult::new(job, requests, now));
                remaining -= 1;
            }
        }
        results.into_iter().flatten().collect()
    }
}

fn result(poll_times: &[f64], job: &SimulatedJob) -> DetectionResult {
    let took = job.duration_seconds();
    let unfinished_polls = poll_times.partition_point(|look| *look < took);
    let requests = u32::try_from(unfinished_polls).expect("few looks") + 2;
    DetectionResult { requests, delay: poll_times[unfinished_polls] - took, duration: took }
}

/// Requests one by one, evenly spaced, none saved up.
#[derive(Debug)]
struct RequestPacer {
    next_slot: f64,
    spacing: f64,
}

impl RequestPacer {
    fn new(budget: u32) -> Self {
        Self { next_slot: 0.0, spacing: 60_000.0 / f64::from(budget) }
    }

    fn available_at(&self, wanted: u64) -> u64 {
        wanted.max(self.next_slot.ceil() as u64)
    }

    fn take_slot(&mut self, now: u64) {
        // Spaced from when it opened, so that no fraction of a millisecond is lost each time.
        let late = now as f64 - self.next_slot;
        self.next_slot = if late < 1.0 { self.next_slot } else { now as f64 } + self.spacing;
    }
}

fn to_millis(seconds: f64) -> u64 {
    (seconds * 1000.0).ceil() as u64
}

/// The least mean delay of all fixed and all growing pauses at so many requests a job.
pub(crate) fn best_in_hindsight(jobs: &[SimulatedJob], requests: f64) -> f64 {
    const FACTORS: [f64; 5] = [1.15, 1.3, 1.5, 2.0, 3.0];
    const CAPS: [f64; 10] =
        [30.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3840.0, 7680.0, 86_400.0];
    let best = |client: &dyn Fn(f64) -> PollingClient| {
        // More requests than asked for at `low`, fewer at `high`.
        let (mut low, mut high) = (0.02f64.ln(), 20_000f64.ln());
        let of = |first: f64| mean_requests_and_delay(&client(first.exp()).poll_unlimited(jobs));
        let (mut costly, mut cheap) = (of(low), of(high));
        if costly.0 < requests || cheap.0 > requests {
            return f64::INFINITY;
        }
        while high - low > 0.06 {
            let middle = f64::midpoint(low, high);
            let means = of(middle);
            if means.0 > requests {
                (low, costly) = (middle, means);
            } else {
                (high, cheap) = (middle, means);
            }
        }
        let share = (costly.0 / requests).ln() / (costly.0 / cheap.0).ln().max(1e-9);
        (costly.1.ln() + share * (cheap.1 / costly.1).ln()).exp()
    };
    let mut least = best(&PollingClient::Fixed);
    for factor in FACTORS {
        for cap in CAPS {
            least = least.min(best(&|first| PollingClient::Growing { first, factor, cap }));
        }
    }
    least
}

/// Knows each job's true distribution, and follows `rule`.
pub(crate) fn oracle_distribution(jobs: &[SimulatedJob], rule: &PollRule) -> Vec<DetectionResult> {
    let result = |job: &SimulatedJob| {
        let (took, mut at, mut requests) = (job.duration_seconds(), 0.0, 1);
        while at < took {
            at = rule.plan_next_poll(&job.distribution, at, at).at;
            requests += 1;
        }
        DetectionResult { requests, delay: at - took, duration: took }
    };
    jobs.iter().map(result).collect()
}

/// Knows the true distributions, and gives each request that `budget` allows to the largest index.
/// Who was not asked for five rounds goes first.
pub(crate) fn oracle_distribution_with_budget(
    jobs: &[SimulatedJob],
    until: usize,
    budget: u32,
) -> Vec<DetectionResult> {
    const STARVATION_ROUNDS: f64 = 5.0;
    struct ActiveJob {
        job: usize,
        /// It was not over then.
        last_seen_running: u64,
        requests: u32,
    }
    let mut active: Vec<ActiveJob> = Vec::new();
    let mut results = vec![None; until];
    let (mut left, mut gate, mut coming) = (until, RequestPacer::new(budget), 0);
    while left > 0 {
        let soonest = if active.is_empty() { jobs[coming].start_ms } else { 0 };
        let now = gate.available_at(soonest);
        while jobs.get(coming).is_some_and(|job| job.start_ms <= now) {
            active.push(ActiveJob {
                job: coming,
                last_seen_running: jobs[coming].start_ms,
                requests: 0,
            });
            coming += 1;
        }
        let starvation_limit = STARVATION_ROUNDS * active.len() as f64 * gate.spacing;
        let urgency = |one: &ActiveJob| {
            let (job, waited) = (&jobs[one.job], (now - one.last_seen_running) as f64);
            if waited > starvation_limit {
                return f64::INFINITY;
            }
            let since = |at: u64| (at - job.start_ms) as f64 / 1000.0;
            staleness_index(&job.distribution, since(one.last_seen_running), since(now))
        };
        let urgencies = active.iter().map(urgency).enumerate();
        let most = urgencies.max_by(|(_, one), (_, other)| one.total_cmp(other));
        let Some((chosen, _)) = most else { continue };
        gate.take_slot(now);
        let one = &mut active[chosen];
        let job = &jobs[one.job];
        one.requests += 1;
        one.last_seen_running = now;
        if now >= job.end_ms() {
            let over = active.swap_remove(chosen);
            if over.job < until {
                results[over.job] = Some(DetectionResult::new(job, over.requests, now));
                left -= 1;
            }
        }
    }
    results.into_iter().flatten().collect()
}

/// Knows when each job ends, and asks once, then; with a budget, as soon as that allows.
pub(crate) fn oracle_end_times(
    jobs: &[SimulatedJob],
    until: usize,
    budget: u32,
) -> Vec<DetectionResult> {
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    order.sort_unstable_by_key(|index| jobs[*index].end_ms());
    let mut gate = RequestPacer::new(budget);
    let mut results = vec![None; until];
    for index in order {
        let now = gate.available_at(jobs[index].end_ms());
        gate.take_slot(now);
        if index < until {
            results[index] = Some(DetectionResult::new(&jobs[index], 1, now));
        }
    }
    results.into_iter().flatten().collect()
}
