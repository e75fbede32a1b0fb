//! The learned policy in the daemon's own tracker, on simulated fleets: what is promised whatever the
//! prediction, what a restart, nonsense and wrong clocks do, and that it is not worse than growing
//! pauses. What it is worth is measured by `just bench-polling`.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "numbers of jobs and simulated milliseconds, far below 2^52"
)]

#[allow(dead_code, reason = "the bench uses all of it")]
#[path = "../../../benches/polling/metrics.rs"]
mod metrics;
mod policy_only;
#[allow(dead_code, reason = "the bench uses all of it")]
#[path = "../../../benches/polling/simulation.rs"]
mod simulation;
#[allow(dead_code, reason = "the bench uses all of it")]
#[path = "../../../benches/polling/workload.rs"]
mod workload;

use std::time::Duration;

use jobtrack::job::{ProviderTimes, UtcTime};
use jobtrack::policy::Backoff;
use metrics::{Figures, Seen, delay_at, seen};
use proptest::prelude::*;
use simulation::{Life, Setup, Wait, rule, track, true_times};
use workload::{Class, Job, Kind, Recipe, draw, jump};

/// So many jobs run at once, on average.
const RUNNING: f64 = 20.0;

/// Even an ample budget parts requests by a millisecond; a few may want to go at once.
const SPACE: u64 = 10;

fn jobs(kind: Kind, count: usize, seed: u64) -> Vec<Job> {
    draw(&kind.recipe(), count, RUNNING, seed)
}

fn live(jobs: &[Job], setup: &Setup) -> Vec<Life> {
    track(jobs, jobs.len(), setup)
}

/// What became of the second half of the jobs: the first half teaches.
fn figures(jobs: &[Job], setup: &Setup) -> Figures {
    let half = jobs.len() / 2;
    Figures::of(&seen(&jobs[half..], &live(jobs, setup)[half..]))
}

/// Every look at a job that still runs comes in time, and so does the one that sees its end.
fn assert_kept(jobs: &[Job], lives: &[Life], what: &str) {
    for (job, life) in jobs.iter().zip(lives) {
        assert!(life.looks[0] <= job.start + SPACE, "{what}: looked at once");
        let late: Vec<Wait> = life.waits(job).filter(Wait::is_too_long).collect();
        assert!(late.is_empty(), "{what}: {late:?} of {job:?}");
    }
    for Seen { delay, took, .. } in seen(jobs, lives) {
        let most = (0.5 * took).max(10.0) + 0.01;
        assert!(delay <= most, "{what}: {delay} s after {took} s");
    }
}

fn assert_near(one: f64, other: f64, share: f64, what: &str) {
    assert!((one / other - 1.0).abs() <= share, "{what}: {one} and {other}");
}

#[test]
fn the_promise_is_kept_when_all_durations_jump() {
    for kind in [Kind::Dune, Kind::Mixed] {
        for by in [10.0, 0.1] {
            let mut jobs = jobs(kind, 800, 1);
            jump(&mut jobs, by);
            let lives = live(&jobs, &Setup::learned(1.0, true));
            assert_kept(&jobs, &lives, &format!("{} × {by}", kind.name()));
        }
    }
}

#[test]
fn a_dear_request_does_not_stretch_the_promise() {
    let jobs = jobs(Kind::Mixed, 400, 2);
    assert_kept(&jobs, &live(&jobs, &Setup::learned(1e6, true)), "a price of days");
}

#[test]
fn the_tracker_does_what_memory_and_rule_say() {
    for kind in Kind::ALL {
        let jobs = jobs(kind, 1500, 3);
        let alone = policy_only::learned(&jobs, &rule(1.0, true));
        let (alone, tracked) = (Figures::of(&alone), live(&jobs, &Setup::learned(1.0, true)));
        let tracked = Figures::of(&seen(&jobs, &tracked));
        assert_near(tracked.requests, alone.requests, 0.05, kind.name());
        assert_near(tracked.mean, alone.mean, 0.1, kind.name());
    }
}

#[test]
fn what_is_learned_saves_requests_and_time() {
    let jobs = jobs(Kind::Dune, 1500, 4);
    let backoff = figures(&jobs, &Setup::backoff(Setup::BACKOFF));
    let learned = figures(&jobs, &Setup::learned(1.0, true));
    assert!(learned.requests < backoff.requests, "{learned:?} {backoff:?}");
    assert!(learned.mean < 0.7 * backoff.mean, "{learned:?} {backoff:?}");
}

#[test]
fn a_restart_loses_nothing_of_what_was_learned() {
    let jobs = jobs(Kind::Mixed, 1200, 5);
    let setup = Setup::learned(1.0, true);
    let through = live(&jobs, &setup);
    let restarted = live(&jobs, &Setup { restart: Some(700), ..setup });
    let same = |range: std::ops::Range<usize>| {
        range.filter(|index| through[*index].looks == restarted[*index].looks).count()
    };
    assert!(same(700..1200) >= 490, "{} of 500 jobs that came after it", same(700..1200));
    // Those that run meanwhile are looked at as planned.
    assert!(same(0..700) >= 690, "{} of 700 jobs that came before it", same(0..700));
}

/// What a provider tells of a job's times.
type Told = fn(&Job, u64) -> ProviderTimes;

/// Times that cannot be.
fn nonsense() -> [(&'static str, Told); 4] {
    fn ended_before_started(job: &Job, now: u64) -> ProviderTimes {
        let times = true_times(job, now);
        ProviderTimes { ended_at: times.ended_at.and(Some(simulation::utc(0))), ..times }
    }
    fn of_1970(job: &Job, now: u64) -> ProviderTimes {
        let ended_at = true_times(job, now).ended_at.and(Some(UtcTime::from_millis(0)));
        let began = Some(UtcTime::from_millis(0));
        ProviderTimes { submitted_at: began, started_at: began, ended_at, expires_at: None }
    }
    fn of_9999(job: &Job, now: u64) -> ProviderTimes {
        let late = Some(UtcTime::from_millis(i64::MAX));
        let ended_at = true_times(job, now).ended_at.and(late);
        ProviderTimes { submitted_at: late, started_at: late, ended_at, expires_at: None }
    }
    fn none(_: &Job, _: u64) -> ProviderTimes {
        ProviderTimes::default()
    }
    [
        ("ended before it started", ended_before_started),
        ("1970", of_1970),
        ("9999", of_9999),
        ("none", none),
    ]
}

#[test]
fn nonsense_of_times_does_not_stretch_the_promise() {
    for (what, times) in nonsense() {
        let jobs = jobs(Kind::Mixed, 400, 6);
        let setup = Setup { times, ..Setup::learned(1.0, true) };
        assert_kept(&jobs, &live(&jobs, &setup), what);
    }
}

#[test]
fn clocks_that_are_minutes_apart_change_nothing() {
    let jobs = jobs(Kind::Dune, 1000, 7);
    let setup = Setup::learned(1.0, true);
    let agreeing = figures(&jobs, &setup);
    for skew in [-420_123, 420_123] {
        let skewed = figures(&jobs, &Setup { skew, ..setup });
        assert_near(skewed.requests, agreeing.requests, 0.05, &format!("{skew} ms, requests"));
        assert_near(skewed.mean, agreeing.mean, 0.1, &format!("{skew} ms, delay"));
    }
}

fn class(median: f64, spread: f64, likenesses: usize) -> Class {
    Class { share: 1.0, median, spread, likenesses }
}

fn recipe(classes: Vec<Class>) -> Recipe {
    Recipe { classes, cap: 86_400.0, own: None, drift: 0.0 }
}

#[test]
fn one_likeness_with_thousands_of_runs_is_known_well() {
    let jobs = draw(&recipe(vec![class(300.0, 0.1, 1)]), 4000, RUNNING, 8);
    let learned = figures(&jobs, &Setup::learned(3.0, true));
    let backoff = figures(&jobs, &Setup::backoff(Setup::BACKOFF));
    assert!(learned.mean < 0.3 * backoff.mean, "{learned:?} {backoff:?}");
    assert!(learned.requests < 1.3 * backoff.requests, "{learned:?} {backoff:?}");
}

/// Ten thousand names, a job each, and requests for one look a minute at each that runs.
#[test]
fn nobody_starves_among_ten_thousand_likenesses() {
    const BUDGET: u32 = 60;
    let strangers = Recipe { own: Some(2.0), ..recipe(vec![class(60.0, 1.0, 100)]) };
    let jobs = draw(&strangers, 10_000, 60.0, 9);
    let until = 9_000;
    let lives = track(&jobs, until, &Setup { budget: BUDGET, ..Setup::learned(1.0, true) });
    let most_at_once = jobs.iter().map(|one| {
        let ran = |other: &&Job| other.start <= one.start && other.end() > one.start;
        jobs.iter().filter(ran).count()
    });
    let most_at_once = most_at_once.step_by(100).max().expect("jobs") as f64;
    // Five rounds, those included that are over and not yet seen to be.
    let bound = 2.0 * 5.0 * most_at_once * 60.0 / f64::from(BUDGET);
    for (job, life) in jobs.iter().zip(&lives[..until]) {
        for Wait { elapsed, pause } in life.waits(job) {
            let idle = elapsed.max(60.0);
            assert!(pause <= bound.max(idle), "{pause} s after {elapsed} s, bound {bound}");
        }
    }
}

/// As many cases as `POLLING_CASES` says.
fn cases() -> ProptestConfig {
    let told = std::env::var("POLLING_CASES").ok().and_then(|told| told.parse().ok());
    ProptestConfig { max_shrink_iters: 8, ..ProptestConfig::with_cases(told.unwrap_or(3)) }
}

fn recipes() -> impl Strategy<Value = Recipe> {
    let classes = (0.1..1.0f64, (1.5..8.0f64).prop_map(f64::exp), 0.0..1.2f64, 1usize..60);
    let classes = classes.prop_map(|(share, median, spread, likenesses)| Class {
        share,
        median,
        spread,
        likenesses,
    });
    let own = prop::option::weighted(0.2, 0.2..1.0f64);
    let drift = prop_oneof![Just(0.0), 0.0..0.05f64];
    (prop::collection::vec(classes, 1..4), own, drift).prop_map(|(classes, own, drift)| Recipe {
        classes,
        cap: 86_400.0,
        own,
        drift,
    })
}

proptest! {
    #![proptest_config(cases())]

    /// At as many requests as growing pauses take, the delay is not more than a tenth longer.
    #[test]
    fn it_is_not_worse_than_growing_pauses(
        recipe in recipes(), seed in any::<u64>(), most in 60u64..600,
    ) {
        let jobs = draw(&recipe, 1200, RUNNING, seed);
        let backoff = Backoff { min: Duration::from_secs(1), max: Duration::from_secs(most) };
        let backoff = figures(&jobs, &Setup::backoff(backoff));
        let learned = delay_at(backoff.requests, |price| figures(&jobs, &Setup::learned(price, true)));
        prop_assert!(learned <= 1.1 * backoff.mean, "{learned} s, and {} s by growing pauses", backoff.mean);
    }
}
