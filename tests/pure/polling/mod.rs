//! The learned policy in the daemon's own tracker, on simulated fleets: what is promised whatever the
//! prediction, what a restart, nonsense and wrong clocks do, and that it is not worse than growing
//! pauses. What it is worth is measured by `just bench-polling`.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "numbers of jobs and simulated milliseconds, far below 2^52"
)]

mod auto_price;
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
use metrics::{DetectionResult, Metrics, delay_at_requests, detection_results};
use proptest::prelude::*;
use simulation::{
    PollGap, PollHistory, SimulationSettings, poll_rule, run_simulation, true_provider_times,
};
use workload::{
    DurationClass, SimulatedJob, WorkloadKind, WorkloadSpec, generate_jobs, scale_second_half,
};

/// So many jobs run at once, on average.
const AVERAGE_RUNNING: f64 = 20.0;

/// Even an ample budget parts requests by a millisecond; a few may want to go at once.
const REQUEST_SPACING_MS: u64 = 10;

fn draw_jobs(kind: WorkloadKind, count: usize, seed: u64) -> Vec<SimulatedJob> {
    generate_jobs(&kind.spec(), count, AVERAGE_RUNNING, seed)
}

fn track_all(jobs: &[SimulatedJob], setup: &SimulationSettings) -> Vec<PollHistory> {
    run_simulation(jobs, jobs.len(), setup)
}

/// What became of the second half of the jobs: the first half teaches.
fn second_half_metrics(jobs: &[SimulatedJob], setup: &SimulationSettings) -> Metrics {
    let half = jobs.len() / 2;
    Metrics::from_results(&detection_results(&jobs[half..], &track_all(jobs, setup)[half..]))
}

/// Every look at a job that still runs comes in time, and so does the one that sees its end.
fn assert_maximum_wait_kept(jobs: &[SimulatedJob], lives: &[PollHistory], what: &str) {
    for (job, life) in jobs.iter().zip(lives) {
        assert!(life.poll_times[0] <= job.start_ms + REQUEST_SPACING_MS, "{what}: looked at once");
        let late: Vec<PollGap> =
            life.poll_gaps(job).filter(PollGap::exceeds_maximum_wait).collect();
        assert!(late.is_empty(), "{what}: {late:?} of {job:?}");
    }
    for DetectionResult { delay, duration: took, .. } in detection_results(jobs, lives) {
        let most = (0.5 * took).max(30.0) + 0.01;
        assert!(delay <= most, "{what}: {delay} s after {took} s");
    }
}

fn assert_within(one: f64, other: f64, tolerance: f64, what: &str) {
    assert!((one / other - 1.0).abs() <= tolerance, "{what}: {one} and {other}");
}

#[test]
fn the_maximum_wait_is_kept_when_all_durations_jump() {
    for kind in [WorkloadKind::DuneQueries, WorkloadKind::Mixed] {
        for by in [10.0, 0.1] {
            let mut jobs = draw_jobs(kind, 800, 1);
            scale_second_half(&mut jobs, by);
            let lives = track_all(&jobs, &SimulationSettings::learned(1.0, true));
            assert_maximum_wait_kept(&jobs, &lives, &format!("{} × {by}", kind.name()));
        }
    }
}

#[test]
fn a_high_request_price_does_not_exceed_the_maximum_wait() {
    let jobs = draw_jobs(WorkloadKind::Mixed, 400, 2);
    assert_maximum_wait_kept(
        &jobs,
        &track_all(&jobs, &SimulationSettings::learned(1e6, true)),
        "a price of days",
    );
}

#[test]
fn the_tracker_matches_the_policy_alone() {
    for kind in WorkloadKind::ALL {
        let jobs = draw_jobs(kind, 1500, 3);
        let alone = policy_only::simulate_policy(&jobs, &poll_rule(1.0, true));
        let (alone, tracked) = (
            Metrics::from_results(&alone),
            track_all(&jobs, &SimulationSettings::learned(1.0, true)),
        );
        let tracked = Metrics::from_results(&detection_results(&jobs, &tracked));
        assert_within(tracked.requests, alone.requests, 0.05, kind.name());
        assert_within(tracked.mean_delay, alone.mean_delay, 0.1, kind.name());
    }
}

#[test]
fn learning_saves_requests_and_detection_delay() {
    let jobs = draw_jobs(WorkloadKind::DuneQueries, 1500, 4);
    let backoff = second_half_metrics(
        &jobs,
        &SimulationSettings::backoff(SimulationSettings::DEFAULT_BACKOFF),
    );
    let learned = second_half_metrics(&jobs, &SimulationSettings::learned(1.0, true));
    assert!(learned.requests < backoff.requests, "{learned:?} {backoff:?}");
    assert!(learned.mean_delay < 0.7 * backoff.mean_delay, "{learned:?} {backoff:?}");
}

#[test]
fn a_restart_loses_nothing_of_what_was_learned() {
    let jobs = draw_jobs(WorkloadKind::Mixed, 1200, 5);
    let setup = SimulationSettings::learned(1.0, true);
    let through = track_all(&jobs, &setup);
    let restarted = track_all(&jobs, &SimulationSettings { restart_at_job: Some(700), ..setup });
    let same = |range: std::ops::Range<usize>| {
        let is_same = |index: &usize| {
            let (one, other) = (&through[*index].poll_times, &restarted[*index].poll_times);
            one.len() == other.len() && are_close(one, other, jobs[*index].start_ms)
        };
        range.filter(is_same).count()
    };
    assert!(same(700..1200) >= 490, "{} of 500 jobs that came after it", same(700..1200));
    // Those that run meanwhile are looked at as planned.
    assert!(same(0..700) >= 690, "{} of 700 jobs that came before it", same(0..700));
}

/// Whether the times differ by less than a hundredth of the job's age.
fn are_close(times: &[u64], others: &[u64], start_ms: u64) -> bool {
    let mut pairs = times.iter().zip(others);
    pairs.all(|(time, other)| time.abs_diff(*other) * 100 <= time - start_ms)
}

/// What a provider tells of a job's times.
type ProviderTimesFn = fn(&SimulatedJob, u64) -> ProviderTimes;

/// Times that cannot be.
fn invalid_times() -> [(&'static str, ProviderTimesFn); 4] {
    fn ended_before_started(job: &SimulatedJob, now: u64) -> ProviderTimes {
        let times = true_provider_times(job, now);
        ProviderTimes { ended_at: times.ended_at.and(Some(simulation::utc_time(0))), ..times }
    }
    fn times_in_1970(job: &SimulatedJob, now: u64) -> ProviderTimes {
        let ended_at = true_provider_times(job, now).ended_at.and(Some(UtcTime::from_millis(0)));
        let began = Some(UtcTime::from_millis(0));
        ProviderTimes { submitted_at: began, started_at: began, ended_at, expires_at: None }
    }
    fn times_in_9999(job: &SimulatedJob, now: u64) -> ProviderTimes {
        let late = Some(UtcTime::from_millis(i64::MAX));
        let ended_at = true_provider_times(job, now).ended_at.and(late);
        ProviderTimes { submitted_at: late, started_at: late, ended_at, expires_at: None }
    }
    fn no_times(_: &SimulatedJob, _: u64) -> ProviderTimes {
        ProviderTimes::default()
    }
    [
        ("ended before it started", ended_before_started),
        ("1970", times_in_1970),
        ("9999", times_in_9999),
        ("none", no_times),
    ]
}

#[test]
fn invalid_provider_times_do_not_exceed_the_maximum_wait() {
    for (what, times) in invalid_times() {
        let jobs = draw_jobs(WorkloadKind::Mixed, 400, 6);
        let setup =
            SimulationSettings { provider_times: times, ..SimulationSettings::learned(1.0, true) };
        assert_maximum_wait_kept(&jobs, &track_all(&jobs, &setup), what);
    }
}

#[test]
fn clock_skew_changes_nothing() {
    let jobs = draw_jobs(WorkloadKind::DuneQueries, 1000, 7);
    let setup = SimulationSettings::learned(1.0, true);
    let agreeing = second_half_metrics(&jobs, &setup);
    for skew in [-420_123, 420_123] {
        let skewed =
            second_half_metrics(&jobs, &SimulationSettings { clock_skew_ms: skew, ..setup });
        assert_within(skewed.requests, agreeing.requests, 0.05, &format!("{skew} ms, requests"));
        assert_within(skewed.mean_delay, agreeing.mean_delay, 0.1, &format!("{skew} ms, delay"));
    }
}

fn duration_class(median: f64, spread: f64, key_count: usize) -> DurationClass {
    DurationClass { weight: 1.0, median, spread, key_count }
}

fn workload_spec(classes: Vec<DurationClass>) -> WorkloadSpec {
    WorkloadSpec {
        classes,
        max_seconds: 86_400.0,
        per_job_shift: None,
        regime_change_probability: 0.0,
    }
}

#[test]
fn one_similarity_key_with_thousands_of_runs_is_predicted_well() {
    let jobs = generate_jobs(
        &workload_spec(vec![duration_class(300.0, 0.1, 1)]),
        4000,
        AVERAGE_RUNNING,
        8,
    );
    let learned = second_half_metrics(&jobs, &SimulationSettings::learned(3.0, true));
    let backoff = second_half_metrics(
        &jobs,
        &SimulationSettings::backoff(SimulationSettings::DEFAULT_BACKOFF),
    );
    assert!(learned.mean_delay < 0.3 * backoff.mean_delay, "{learned:?} {backoff:?}");
    assert!(learned.requests < 1.3 * backoff.requests, "{learned:?} {backoff:?}");
}

/// Ten thousand names, a job each, and requests for one look a minute at each that runs.
#[test]
fn no_job_starves_among_ten_thousand_similarity_keys() {
    const BUDGET: u32 = 60;
    let strangers = WorkloadSpec {
        per_job_shift: Some(2.0),
        ..workload_spec(vec![duration_class(60.0, 1.0, 100)])
    };
    let jobs = generate_jobs(&strangers, 10_000, 60.0, 9);
    let until = 9_000;
    let lives = run_simulation(
        &jobs,
        until,
        &SimulationSettings {
            requests_per_minute: BUDGET,
            ..SimulationSettings::learned(1.0, true)
        },
    );
    let most_at_once = jobs.iter().map(|one| {
        let ran =
            |other: &&SimulatedJob| other.start_ms <= one.start_ms && other.end_ms() > one.start_ms;
        jobs.iter().filter(ran).count()
    });
    let most_at_once = most_at_once.step_by(100).max().expect("jobs") as f64;
    // Five rounds, those included that are over and not yet seen to be.
    let bound = 2.0 * 5.0 * most_at_once * 60.0 / f64::from(BUDGET);
    for (job, life) in jobs.iter().zip(&lives[..until]) {
        for PollGap { elapsed, length: pause } in life.poll_gaps(job) {
            let idle = elapsed.max(60.0);
            assert!(pause <= bound.max(idle), "{pause} s after {elapsed} s, bound {bound}");
        }
    }
}

/// As many cases as `POLLING_CASES` says.
fn config_from_env() -> ProptestConfig {
    let cases = std::env::var("POLLING_CASES").ok().and_then(|told| told.parse().ok());
    ProptestConfig { max_shrink_iters: 8, ..ProptestConfig::with_cases(cases.unwrap_or(3)) }
}

fn any_workload_spec() -> impl Strategy<Value = WorkloadSpec> {
    let classes = (0.1..1.0f64, (1.5..8.0f64).prop_map(f64::exp), 0.0..1.2f64, 1usize..60);
    let classes = classes.prop_map(|(share, median, spread, likenesses)| DurationClass {
        weight: share,
        median,
        spread,
        key_count: likenesses,
    });
    let own = prop::option::weighted(0.2, 0.2..1.0f64);
    let drift = prop_oneof![Just(0.0), 0.0..0.05f64];
    (prop::collection::vec(classes, 1..4), own, drift).prop_map(|(classes, own, drift)| {
        WorkloadSpec {
            classes,
            max_seconds: 86_400.0,
            per_job_shift: own,
            regime_change_probability: drift,
        }
    })
}

proptest! {
    #![proptest_config(config_from_env())]

    /// At as many requests as growing pauses take, the delay is not more than a tenth longer.
    #[test]
    fn learned_policy_is_not_worse_than_backoff(
        recipe in any_workload_spec(), seed in any::<u64>(), most in 60u64..600,
    ) {
        let jobs = generate_jobs(&recipe, 1200, AVERAGE_RUNNING, seed);
        let backoff = Backoff { min: Duration::from_secs(1), max: Duration::from_secs(most) };
        let backoff = second_half_metrics(&jobs, &SimulationSettings::backoff(backoff));
        let learned = delay_at_requests(backoff.requests, |price| second_half_metrics(&jobs, &SimulationSettings::learned(price, true)));
        prop_assert!(learned <= 1.1 * backoff.mean_delay, "{learned} s, and {} s by growing pauses", backoff.mean_delay);
    }
}
