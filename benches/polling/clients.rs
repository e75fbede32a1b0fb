//! The other policies: those of today's clients, the best of their kinds in hindsight, and two that
//! know more than can be known. Each looks once at the very beginning, as all clients do.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use fastrand::Rng;
use jobtrack::policy::{PollRule, staleness_index};

use super::metrics::{Seen, means};
use super::workload::Job;

/// A client that knows nothing but how long it has waited. All in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Client {
    Fixed(f64),
    /// Each pause is `factor` times as long as the one before, up to `cap`.
    Growing {
        first: f64,
        factor: f64,
        cap: f64,
    },
    /// The next pause is anything up to three times the last one (decorrelated jitter).
    Jitter {
        least: f64,
        cap: f64,
    },
    /// A share of the time that has passed.
    Share(f64),
}

/// What a client knows of a job: how often it has looked since the first time, its last pause, and
/// how long ago the job began.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    looks: i32,
    pause: f64,
    elapsed: f64,
}

impl Client {
    /// The pause before the next look.
    fn pause(self, known: Known, dice: &mut Rng) -> f64 {
        match self {
            Self::Fixed(pause) => pause,
            Self::Growing { first, factor, cap } => (first * factor.powi(known.looks)).min(cap),
            Self::Jitter { least, cap } => {
                let upto = (3.0 * known.pause).max(least);
                (least + (upto - least) * dice.f64()).min(cap)
            }
            Self::Share(share) => (share * known.elapsed).max(1.0),
        }
    }

    /// Watches jobs with as many requests as it likes.
    pub(crate) fn watch(self, jobs: &[Job]) -> Vec<Seen> {
        let mut dice = Rng::with_seed(7);
        if let Self::Jitter { .. } = self {
            let watched = |job: &Job| seen(&self.looks(job.seconds(), &mut dice), job);
            return jobs.iter().map(watched).collect();
        }
        let longest = jobs.iter().map(Job::seconds).fold(0.0, f64::max);
        let looks = self.looks(longest, &mut dice);
        jobs.iter().map(|job| seen(&looks, job)).collect()
    }

    /// When it looks after the first time, until `longest` is over.
    fn looks(self, longest: f64, dice: &mut Rng) -> Vec<f64> {
        let mut looks = Vec::new();
        let mut known = Known::default();
        while known.elapsed < longest {
            known.pause = self.pause(known, dice);
            known.elapsed += known.pause;
            known.looks += 1;
            looks.push(known.elapsed);
        }
        looks
    }

    /// Watches jobs with `budget` requests a minute, spaced evenly: who is due first is asked first.
    /// Ends when the first `until` jobs are over, and tells of these.
    pub(crate) fn queue(self, jobs: &[Job], until: usize, budget: u32) -> Vec<Seen> {
        let mut dice = Rng::with_seed(7);
        let mut due = BinaryHeap::new();
        let mut known = vec![Known::default(); jobs.len()];
        let mut seen = vec![None; until];
        let (mut left, mut gate, mut coming) = (until, Gate::of(budget), 0);
        while left > 0 {
            let next = due.peek().map(|Reverse((at, _))| *at);
            let arrives = jobs.get(coming).map(|job| job.start);
            let now = gate.opens(next.into_iter().chain(arrives).min().expect("jobs are left"));
            while jobs.get(coming).is_some_and(|job| job.start <= now) {
                due.push(Reverse((jobs[coming].start, coming)));
                coming += 1;
            }
            let Some(Reverse((_, index))) = due.pop() else { continue };
            gate.spend(now);
            let (job, known) = (&jobs[index], &mut known[index]);
            if now < job.end() {
                known.elapsed = (now - job.start) as f64 / 1000.0;
                known.pause = self.pause(*known, &mut dice);
                known.looks += 1;
                due.push(Reverse((now + millis(known.pause), index)));
            } else if index < until {
                let requests = u32::try_from(known.looks).expect("positive") + 1;
                seen[index] = Some(Seen::at(job, requests, now));
                left -= 1;
            }
        }
        seen.into_iter().flatten().collect()
    }
}

fn seen(looks: &[f64], job: &Job) -> Seen {
    let took = job.seconds();
    let vain = looks.partition_point(|look| *look < took);
    let requests = u32::try_from(vain).expect("few looks") + 2;
    Seen { requests, delay: looks[vain] - took, took }
}

/// Requests one by one, evenly spaced, none saved up.
#[derive(Debug)]
struct Gate {
    at: f64,
    space: f64,
}

impl Gate {
    fn of(budget: u32) -> Self {
        Self { at: 0.0, space: 60_000.0 / f64::from(budget) }
    }

    fn opens(&self, wanted: u64) -> u64 {
        wanted.max(self.at.ceil() as u64)
    }

    fn spend(&mut self, now: u64) {
        // Spaced from when it opened, so that no fraction of a millisecond is lost each time.
        let late = now as f64 - self.at;
        self.at = if late < 1.0 { self.at } else { now as f64 } + self.space;
    }
}

fn millis(seconds: f64) -> u64 {
    (seconds * 1000.0).ceil() as u64
}

/// The least mean delay of all fixed and all growing pauses at so many requests a job.
pub(crate) fn best_in_hindsight(jobs: &[Job], requests: f64) -> f64 {
    const FACTORS: [f64; 5] = [1.15, 1.3, 1.5, 2.0, 3.0];
    const CAPS: [f64; 10] =
        [30.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3840.0, 7680.0, 86_400.0];
    let best = |client: &dyn Fn(f64) -> Client| {
        // More requests than asked for at `low`, fewer at `high`.
        let (mut low, mut high) = (0.02f64.ln(), 20_000f64.ln());
        let of = |first: f64| means(&client(first.exp()).watch(jobs));
        let (mut dear, mut cheap) = (of(low), of(high));
        if dear.0 < requests || cheap.0 > requests {
            return f64::INFINITY;
        }
        while high - low > 0.06 {
            let middle = f64::midpoint(low, high);
            let means = of(middle);
            if means.0 > requests {
                (low, dear) = (middle, means);
            } else {
                (high, cheap) = (middle, means);
            }
        }
        let share = (dear.0 / requests).ln() / (dear.0 / cheap.0).ln().max(1e-9);
        (dear.1.ln() + share * (cheap.1 / dear.1).ln()).exp()
    };
    let mut least = best(&Client::Fixed);
    for factor in FACTORS {
        for cap in CAPS {
            least = least.min(best(&|first| Client::Growing { first, factor, cap }));
        }
    }
    least
}

/// Knows each job's true distribution, and follows `rule`.
pub(crate) fn knowing(jobs: &[Job], rule: &PollRule) -> Vec<Seen> {
    let seen = |job: &Job| {
        let (took, mut at, mut requests) = (job.seconds(), 0.0, 1);
        while at < took {
            at = rule.plan_next_poll(&job.truth, at, at).at;
            requests += 1;
        }
        Seen { requests, delay: at - took, took }
    };
    jobs.iter().map(seen).collect()
}

/// Knows the true distributions, and gives each request that `budget` allows to the largest index.
/// Who was not asked for five rounds goes first.
pub(crate) fn knowing_in_order(jobs: &[Job], until: usize, budget: u32) -> Vec<Seen> {
    const ROUNDS: f64 = 5.0;
    struct Active {
        job: usize,
        /// It was not over then.
        alive: u64,
        requests: u32,
    }
    let mut active: Vec<Active> = Vec::new();
    let mut seen = vec![None; until];
    let (mut left, mut gate, mut coming) = (until, Gate::of(budget), 0);
    while left > 0 {
        let soonest = if active.is_empty() { jobs[coming].start } else { 0 };
        let now = gate.opens(soonest);
        while jobs.get(coming).is_some_and(|job| job.start <= now) {
            active.push(Active { job: coming, alive: jobs[coming].start, requests: 0 });
            coming += 1;
        }
        let patience = ROUNDS * active.len() as f64 * gate.space;
        let urgency = |one: &Active| {
            let (job, waited) = (&jobs[one.job], (now - one.alive) as f64);
            if waited > patience {
                return f64::INFINITY;
            }
            let since = |at: u64| (at - job.start) as f64 / 1000.0;
            staleness_index(&job.truth, since(one.alive), since(now))
        };
        let urgencies = active.iter().map(urgency).enumerate();
        let most = urgencies.max_by(|(_, one), (_, other)| one.total_cmp(other));
        let Some((chosen, _)) = most else { continue };
        gate.spend(now);
        let one = &mut active[chosen];
        let job = &jobs[one.job];
        one.requests += 1;
        one.alive = now;
        if now >= job.end() {
            let over = active.swap_remove(chosen);
            if over.job < until {
                seen[over.job] = Some(Seen::at(job, over.requests, now));
                left -= 1;
            }
        }
    }
    seen.into_iter().flatten().collect()
}

/// Knows when each job ends, and asks once, then; with a budget, as soon as that allows.
pub(crate) fn clairvoyant(jobs: &[Job], until: usize, budget: u32) -> Vec<Seen> {
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    order.sort_unstable_by_key(|index| jobs[*index].end());
    let mut gate = Gate::of(budget);
    let mut seen = vec![None; until];
    for index in order {
        let now = gate.opens(jobs[index].end());
        gate.spend(now);
        if index < until {
            seen[index] = Some(Seen::at(&jobs[index], 1, now));
        }
    }
    seen.into_iter().flatten().collect()
}
