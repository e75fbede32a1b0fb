//! Spare polls under the price `auto`: jobs that are not due are polled by requests that the budget leaves,
//! and nothing else waits for them.

use std::time::Duration;

use jobtrack::job::{JobId, MonotonicTime};
use jobtrack::policy::{LearnedPolicySettings, PollPrice};
use jobtrack::tracker::{
    Action, ForecastReason, Input, NextPollTime, PollPolicy, ProviderSettings,
};
use proptest::prelude::*;

use super::fixtures::{HOUR, MINUTE, SECOND};
use super::learned_policy::{RepeatedRuns, learned_settings};

/// The default settings with this limit; without the maximum wait, so that a job that is not due is polled
/// by spare requests alone.
pub(super) fn auto_settings(requests_per_minute: u32) -> ProviderSettings {
    ProviderSettings {
        policy: PollPolicy::Learned(LearnedPolicySettings {
            price: PollPrice::Auto,
            min_interval: Duration::from_secs(1),
            enforce_max_wait: false,
        }),
        ..learned_settings(requests_per_minute)
    }
}

fn pairs_are_apart(times: &[u64], min: u64) -> bool {
    times.windows(2).all(|pair| pair[1] - pair[0] >= min)
}

#[test]
fn the_end_of_a_short_job_alone_is_seen_within_a_second() {
    let took = 3 * SECOND;
    let mut runs = RepeatedRuns::new(auto_settings(30), |job| job.0.unsigned_abs(), |_| 3 * SECOND);
    let mut rng = fastrand::Rng::with_seed(1);
    let mut delays = Vec::new();
    for _ in 0..100 {
        let now = runs.sim.now;
        runs.sim.run_until(now + rng.u64(20 * SECOND..40 * SECOND));
        let job = runs.add();
        runs.sim.run_until_all_finished();
        delays.push(runs.poll_offsets(job).last().expect("a poll") - took);
    }
    let mean = delays.iter().sum::<u64>() / 100;
    assert!(mean <= SECOND, "{mean} ms: {delays:?}");
    runs.sim.assert_rate_limit("dune", 30);
}

#[test]
fn eight_jobs_added_together_without_past_runs_use_all_of_the_budget() {
    const ROUNDS: u64 = 40;
    let mut delays = Vec::new();
    for round in 0..ROUNDS {
        let mut rng = fastrand::Rng::with_seed(round);
        let took: Vec<_> = (0..8).map(|_| rng.u64(20 * SECOND..90 * SECOND)).collect();
        let took = move |job: JobId| took[usize::try_from(job.0).expect("small") - 1];
        let duration = took.clone();
        let mut runs = RepeatedRuns::new(auto_settings(40), |job| job.0.unsigned_abs(), duration);
        runs.sim.run_until(2 * MINUTE);
        let jobs: Vec<_> = (0..8).map(|_| runs.add()).collect();
        runs.sim.run_until_all_finished();
        for job in jobs {
            let polls = runs.poll_offsets(job);
            assert!(polls[0] <= 5 * SECOND, "asked after {} ms", polls[0]);
            delays.push(polls.last().expect("a poll") - took(job));
        }
        runs.sim.assert_rate_limit("dune", 40);
    }
    let mean = delays.iter().sum::<u64>() / (8 * ROUNDS);
    assert!(mean <= 5300, "{mean} ms");
}

/// The seconds after which each of eight jobs is asked that are added beside eight others.
fn wait_beside_eight_others(running_for: u64) -> Vec<u64> {
    let mut runs = RepeatedRuns::new(auto_settings(30), |job| job.0.unsigned_abs(), |_| HOUR);
    for _ in 0..8 {
        runs.add();
    }
    runs.sim.run_until(runs.sim.now + running_for);
    let added_at = runs.sim.now;
    let jobs: Vec<_> = (0..8).map(|_| runs.add()).collect();
    runs.sim.run_until(added_at + 2 * MINUTE);
    runs.sim.assert_rate_limit("dune", 30);
    jobs.iter().map(|job| (runs.sim.poll_times(*job)[0] - added_at).div_ceil(SECOND)).collect()
}

#[test]
fn jobs_that_are_added_together_are_asked_one_after_the_other_while_others_are_due() {
    for (running_for, slowest) in [(30 * SECOND, 18), (90 * SECOND, 18), (10 * MINUTE, 6)] {
        let waits = wait_beside_eight_others(running_for);
        assert!(waits.iter().all(|wait| *wait <= slowest), "after {running_for} ms: {waits:?}");
    }
}

#[test]
fn a_predictable_job_of_an_hour_is_polled_at_most_each_fiftieth_of_its_age() {
    let mut runs = RepeatedRuns::new(auto_settings(600), |_| 7, |_| HOUR);
    runs.run_jobs(20);
    let job = runs.add();
    runs.sim.run_until_all_finished();
    let polls = runs.poll_offsets(job);
    // Once a second up to the age of 50 s, then by 2 % of the age; and near the end, when it is due.
    assert!((100..=50 + 217 + 20).contains(&polls.len()), "{}", polls.len());
    for pair in polls.windows(2).filter(|pair| pair[0] < HOUR / 2) {
        let min = SECOND.max(pair[0] / 50);
        assert!(pair[1] - pair[0] >= min, "{pair:?}");
    }
    let delay = polls.last().expect("a poll") - HOUR;
    assert!(delay <= HOUR / 50, "{delay} ms");
}

#[test]
fn spare_polls_leave_a_fifth_of_the_limit() {
    let mut runs = RepeatedRuns::new(auto_settings(600), |_| 7, |_| 12 * HOUR);
    runs.run_jobs(20);
    runs.sim.configure(vec![auto_settings(20)]);
    for _ in 0..8 {
        runs.add();
    }
    runs.sim.run_until(runs.sim.now + 2 * MINUTE);
    let before = runs.sim.requests.len();
    runs.sim.run_until(runs.sim.now + 10 * MINUTE);
    let sent = runs.sim.requests.len() - before;
    assert!((150..=16 * 10 + 1).contains(&sent), "{sent} of 160 in ten minutes");
    runs.sim.requests.drain(..before);
    runs.sim.assert_rate_limit("dune", 16);
    let report = runs.sim.provider_report("dune");
    assert_eq!((report.due_polls, report.price), (0, Some(PollPrice::Auto)));
    assert!((0.0..1.0).contains(&report.price_in_force), "{}", report.price_in_force);
}

#[test]
fn nothing_waits_for_spare_polls_longer_than_the_spacing_of_requests() {
    let mut runs = RepeatedRuns::new(auto_settings(600), |_| 7, |_| 12 * HOUR);
    runs.run_jobs(10);
    runs.sim.configure(vec![auto_settings(30)]);
    let jobs: Vec<_> = (0..20).map(|_| runs.add()).collect();
    runs.sim.run_until(runs.sim.now + 5 * MINUTE);
    let mut rng = fastrand::Rng::with_seed(2);
    for round in 0..90 {
        let asked_at = runs.sim.now + rng.u64(10 * SECOND..20 * SECOND);
        runs.sim.run_until(asked_at);
        let before = runs.sim.requests.len();
        let wanted = if round % 3 == 0 { runs.add() } else { jobs[round % jobs.len()] };
        if round % 3 == 1 {
            runs.sim.poll_on_demand(wanted);
        }
        let sent_at = if round % 3 == 2 {
            runs.sim.ordered.clear();
            runs.sim.handle(Input::Cancel("dune".parse().expect("a name"), wanted));
            runs.sim.run_until(asked_at + 5 * SECOND);
            let sent = runs.sim.ordered.iter();
            let mut sent = sent.filter(|(_, action)| matches!(action, Action::Cancel(..)));
            let (sent_at, _) = sent.next().expect("a cancel");
            let sent_at = *sent_at;
            runs.sim.finish_cancel(wanted, Ok(()));
            sent_at
        } else {
            runs.sim.run_until(asked_at + 5 * SECOND);
            let polled = runs.sim.requests[before..].iter().find(|sent| sent.job == wanted);
            polled.expect("a poll").sent_at
        };
        assert!(sent_at - asked_at <= 2200, "round {round}: {} ms", sent_at - asked_at);
    }
}

#[test]
fn the_job_with_the_highest_index_is_polled_first() {
    // Each tenth job takes a minute, the others a day, and similar runs of both are known.
    let mut runs = RepeatedRuns::new(
        auto_settings(6000),
        |job| u64::from(job.0 % 10 == 0),
        |job| if job.0 % 10 == 0 { MINUTE } else { 24 * HOUR },
    );
    for _ in 0..20 {
        for _ in 0..10 {
            runs.add();
        }
        runs.sim.run_until_all_finished();
    }
    // The requests of the last minute are more than the lower limit permits.
    runs.sim.run_until(runs.sim.now + 2 * MINUTE);
    runs.sim.configure(vec![auto_settings(10)]);
    for _ in 0..9 {
        runs.add();
    }
    runs.sim.run_until(runs.sim.now + 10 * MINUTE);
    let short = runs.add();
    runs.sim.run_until(runs.sim.now + 3 * MINUTE);
    let polls = runs.poll_offsets(short);
    assert!(runs.sim.state(short).is_terminal());
    let delay = polls.last().expect("a poll") - MINUTE;
    assert!(delay <= 10 * SECOND, "{delay} ms: {polls:?}");
}

#[test]
fn a_spare_request_for_a_list_page_polls_all_jobs_on_the_page() {
    let settings = |limit| ProviderSettings { supports_list: true, ..auto_settings(limit) };
    let mut runs = RepeatedRuns::new(settings(600), |_| 7, |_| 12 * HOUR);
    runs.is_listed.set(true);
    runs.run_jobs(5);
    runs.sim.configure(vec![settings(30)]);
    let jobs: Vec<_> = (0..50).map(|_| runs.add()).collect();
    runs.sim.run_until(runs.sim.now + 10 * MINUTE);
    let (requests, pages) = (runs.sim.requests.len(), runs.sim.page_count);
    runs.sim.run_until(runs.sim.now + 10 * MINUTE);
    let polls = runs.sim.requests.len() - requests;
    let pages = runs.sim.page_count - pages;
    assert!(polls <= 24 * 10 + 1 && pages * 10 >= polls * 9, "{pages} pages in {polls} requests");
    for job in jobs {
        let listed: Vec<_> = runs.sim.page_request_times(job).collect();
        let recent = listed.iter().filter(|at| **at > runs.sim.now - 10 * MINUTE).count();
        // Once in 2 % of the age, which is up to 24 s here, and the page of a job is requested for others too.
        assert!(recent >= 25, "job {job} on {recent} pages of {pages}");
    }
}

#[test]
fn the_forecast_tells_of_a_spare_poll_and_the_stored_time_agrees() {
    let mut runs = RepeatedRuns::new(auto_settings(30), |_| 7, |_| HOUR);
    let job = runs.add();
    runs.sim.run_until(10 * SECOND);
    for _ in 0..50 {
        let polled = runs.sim.poll_times(job);
        while runs.sim.poll_times(job).len() == polled.len() {
            runs.sim.run_until(runs.sim.now + 10);
        }
        runs.sim.run_until(runs.sim.now + 10);
        let now = runs.sim.now;
        let at = MonotonicTime::from_millis(now);
        let forecast = runs.sim.tracker.forecast(job, at).expect("a tracked job");
        assert_eq!(forecast.reason, ForecastReason::Spare);
        let NextPollTime::In(wait) = forecast.next_poll else { panic!("{forecast:?}") };
        let wait = u64::try_from(wait.as_millis()).expect("short");
        let stored = runs.sim.store[&job].job.next_poll_at.expect("a time");
        let stored_wait = stored.duration_since(runs.sim.wall_time()).as_millis();
        let stored_wait = u64::try_from(stored_wait).expect("short");
        runs.sim.run_until(now + wait.max(stored_wait) + 20);
        let next = *runs.sim.poll_times(job).last().expect("a poll");
        assert!(next.abs_diff(now + wait) <= 20, "{next} instead of {}", now + wait);
        assert!(next.abs_diff(now + stored_wait) <= 20, "{next} instead of {}", now + stored_wait);
    }
}

#[test]
fn a_reload_starts_and_ends_spare_polls_at_once() {
    let mut runs = RepeatedRuns::new(auto_settings(600), |_| 7, |_| 24 * HOUR);
    runs.run_jobs(20);
    let polls_of_half_a_minute = |runs: &mut RepeatedRuns, settings| {
        runs.sim.configure(vec![settings]);
        // The answer to the first request shows that the settings work.
        runs.sim.run_until(runs.sim.now + 10 * SECOND);
        let before = runs.sim.requests.len();
        runs.sim.run_until(runs.sim.now + 30 * SECOND);
        runs.sim.requests.len() - before
    };
    runs.add();
    let fixed = || {
        let ProviderSettings { policy: PollPolicy::Learned(rule), .. } = auto_settings(600) else {
            panic!("learned")
        };
        let price = PollPrice::Fixed(Duration::from_secs(1));
        let policy = PollPolicy::Learned(LearnedPolicySettings { price, ..rule });
        ProviderSettings { policy, ..auto_settings(600) }
    };
    runs.sim.run_until(runs.sim.now + SECOND);
    let polls = [fixed(), auto_settings(600), fixed()]
        .map(|settings| polls_of_half_a_minute(&mut runs, settings));
    assert!(polls[0] <= 1 && polls[1] >= 5 && polls[2] <= 1, "{polls:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_job_is_polled_twice_within_the_shortest_interval(
        limit in 1u32..200, min_interval in 100u64..20_000, jobs in 1usize..12, seed: u64,
    ) {
        let PollPolicy::Learned(rule) = auto_settings(limit).policy else { panic!("learned") };
        let policy = PollPolicy::Learned(LearnedPolicySettings {
            min_interval: Duration::from_millis(min_interval),
            ..rule
        });
        let settings = ProviderSettings { policy, ..auto_settings(limit) };
        let mut runs = RepeatedRuns::new(
            settings,
            |job| u64::from(job.0 % 3 == 0),
            |job| (job.0.unsigned_abs() % 7 + 1) * 9 * SECOND,
        );
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut added = Vec::new();
        for _ in 0..jobs {
            added.push(runs.add());
            runs.sim.run_until(runs.sim.now + rng.u64(0..10 * SECOND));
        }
        runs.sim.run_until(runs.sim.now + 3 * MINUTE);
        for job in added {
            let polls = runs.poll_offsets(job);
            prop_assert!(pairs_are_apart(&polls, min_interval), "{polls:?}");
        }
        runs.sim.assert_rate_limit("dune", limit as usize);
    }
}
