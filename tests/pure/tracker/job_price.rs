//! The price of a job, which replaces that of its provider.

use std::time::Duration;

use jobtrack::job::{JobId, MonotonicTime};
use jobtrack::policy::{LearnedPolicySettings, PollPrice};
use jobtrack::tracker::{ForecastReason, NextPollTime, PollPolicy, ProviderSettings};

use super::fixtures::{HOUR, MINUTE, SECOND, WriteOutcome};
use super::learned_policy::RepeatedRuns;
use super::spare_polls::auto_settings;

const fn fixed(seconds: u64) -> PollPrice {
    PollPrice::Fixed(Duration::from_secs(seconds))
}

/// As [`auto_settings`], with this price.
fn settings(price: PollPrice) -> ProviderSettings {
    let settings = auto_settings(600);
    let PollPolicy::Learned(rule) = settings.policy else { panic!("learned") };
    ProviderSettings {
        policy: PollPolicy::Learned(LearnedPolicySettings { price, ..rule }),
        ..settings
    }
}

/// A provider with this price, where similar jobs took one to two hours.
fn runs_of_about_an_hour(price: PollPrice) -> RepeatedRuns {
    let took = |job: JobId| HOUR + (job.0.unsigned_abs() % 5) * 15 * MINUTE;
    let mut runs = RepeatedRuns::new(settings(price), |_| 7, took);
    runs.run_jobs(20);
    runs
}

#[test]
fn a_job_with_a_fixed_price_gets_no_spare_polls_and_one_with_auto_gets_them() {
    for provider_price in [PollPrice::Auto, fixed(1)] {
        let mut runs = runs_of_about_an_hour(provider_price);
        let jobs = [None, Some(fixed(1)), Some(PollPrice::Auto)].map(|price| {
            let job = runs.add();
            if let Some(price) = price {
                runs.sim.set_price(job, price);
            }
            job
        });
        runs.sim.run_until(runs.sim.now + 30 * MINUTE);
        let [default, fixed, auto] = jobs.map(|job| runs.poll_offsets(job).len());
        assert!(auto > 50 && fixed < 10, "{provider_price}: {fixed}, {auto}");
        let as_default = if provider_price == PollPrice::Auto { auto } else { fixed };
        assert!(default.abs_diff(as_default) <= 1, "{provider_price}: {default}, {as_default}");

        // The restarted daemon reads the prices from the database.
        runs.sim.restart();
        runs.sim.run_until(runs.sim.now + 10 * MINUTE);
        let [_, fixed_after, auto_after] = jobs.map(|job| runs.poll_offsets(job).len());
        assert!(auto_after > auto + 10 && fixed_after < fixed + 10, "{fixed_after}, {auto_after}");
    }
}

#[test]
fn a_new_price_applies_to_a_job_that_waits() {
    let mut runs = runs_of_about_an_hour(fixed(600));
    let job = runs.add();
    runs.sim.run_until(runs.sim.now + MINUTE);
    let mut next_poll = |price: Option<PollPrice>| {
        if let Some(price) = price {
            runs.sim.set_price(job, price);
        }
        let now = MonotonicTime::from_millis(runs.sim.now);
        let forecast = runs.sim.tracker.forecast(job, now).expect("a tracked job");
        let NextPollTime::In(wait) = forecast.next_poll else { panic!("{forecast:?}") };
        (wait, forecast.reason)
    };
    let reason = |seconds| ForecastReason::Price(Duration::from_secs(seconds));
    let (of_provider, why) = next_poll(None);
    assert_eq!(why, reason(600));
    let (low, why) = next_poll(Some(fixed(120)));
    assert_eq!(why, reason(120));
    let (high, why) = next_poll(Some(fixed(3600)));
    assert_eq!(why, reason(3600));
    assert!(low < of_provider && of_provider < high, "{low:?}, {of_provider:?}, {high:?}");
    assert_eq!(next_poll(Some(fixed(600))).0, of_provider);
    runs.sim.set_price(job, fixed(3600));
    runs.sim.set_price(job, None);
    let now = MonotonicTime::from_millis(runs.sim.now);
    let forecast = runs.sim.tracker.forecast(job, now).expect("a tracked job");
    assert_eq!(forecast.next_poll, NextPollTime::In(of_provider), "the provider's price again");

    runs.sim.set_price(job, fixed(120));
    let before = runs.poll_offsets(job).len();
    runs.sim.run_until(runs.sim.now + u64::try_from(low.as_millis()).expect("short") + SECOND);
    assert_eq!(runs.poll_offsets(job).len(), before + 1, "polled when it is due by the new price");
}

#[test]
fn a_new_price_applies_to_a_job_whose_change_is_being_committed() {
    let mut runs = runs_of_about_an_hour(fixed(3600));
    runs.sim.set_write_outcome(|_| (MINUTE, WriteOutcome::Committed));
    let job = runs.add();
    runs.sim.run_until(runs.sim.now + SECOND);
    runs.sim.set_price(job, fixed(120));
    runs.sim.run_until(runs.sim.now + 2 * MINUTE);
    let now = MonotonicTime::from_millis(runs.sim.now);
    let forecast = runs.sim.tracker.forecast(job, now).expect("a tracked job");
    let NextPollTime::In(wait) = forecast.next_poll else { panic!("{forecast:?}") };
    runs.sim.set_price(job, fixed(121));
    runs.sim.set_price(job, fixed(120));
    let forecast = runs.sim.tracker.forecast(job, now).expect("a tracked job");
    assert_eq!(forecast.next_poll, NextPollTime::In(wait));
}

/// When the job is expected to be polled, and the recorded time for that.
fn planned(runs: &RepeatedRuns, job: JobId) -> (u64, u64) {
    let now = MonotonicTime::from_millis(runs.sim.now);
    let forecast = runs.sim.tracker.forecast(job, now).expect("a tracked job");
    let NextPollTime::In(wait) = forecast.next_poll else { panic!("{forecast:?}") };
    let recorded = runs.sim.store[&job].job.next_poll_at.expect("it is recorded");
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).expect("short");
    (ms(wait), ms(recorded.duration_since(runs.sim.wall_time())))
}

#[test]
fn the_recorded_time_of_the_next_poll_follows_the_price() {
    for by_reload in [false, true] {
        let mut runs = runs_of_about_an_hour(fixed(3600));
        let waiting = runs.add();
        runs.sim.run_until(runs.sim.now + MINUTE);
        runs.sim.set_write_outcome(|_| (MINUTE, WriteOutcome::Committed));
        let committing = runs.add();
        runs.sim.run_until(runs.sim.now + SECOND);
        let (by_first_price, _) = planned(&runs, waiting);
        if by_reload {
            runs.sim.configure(vec![settings(fixed(120))]);
        } else {
            runs.sim.set_price(waiting, fixed(120));
            runs.sim.set_price(committing, fixed(120));
        }
        let assert_planned = |runs: &RepeatedRuns, job: JobId| {
            let (expected, recorded) = planned(runs, job);
            assert!(recorded.abs_diff(expected) <= 1, "{by_reload}: {expected}, {recorded}");
            assert!(
                expected + MINUTE < by_first_price,
                "{by_reload}: {expected}, {by_first_price}"
            );
        };
        assert_planned(&runs, waiting);
        let polls = runs.poll_offsets(committing).len();
        runs.sim.run_until(runs.sim.now + 2 * MINUTE);
        assert_eq!(runs.poll_offsets(committing).len(), polls, "no answer has planned it");
        assert_planned(&runs, committing);
    }
}

#[test]
fn a_new_price_polls_a_job_at_once_if_it_has_been_due_by_it() {
    let mut runs = runs_of_about_an_hour(fixed(3600));
    let job = runs.add();
    // Most similar runs are over by now.
    runs.sim.run_until(runs.sim.now + 90 * MINUTE);
    let before = runs.poll_offsets(job);
    runs.sim.set_price(job, fixed(1));
    runs.sim.run_until(runs.sim.now + SECOND);
    let after = runs.poll_offsets(job);
    assert_eq!(after.len(), before.len() + 1, "{before:?}, {after:?}");
}

#[test]
fn a_reload_plans_many_jobs_in_several_turns() {
    let fast = |price| ProviderSettings { requests_per_minute: 600_000, ..settings(price) };
    let took = |job: JobId| HOUR + (job.0.unsigned_abs() % 5) * 15 * MINUTE;
    let mut runs = RepeatedRuns::new(fast(fixed(3600)), |_| 7, took);
    runs.sim.report_check_interval = u64::MAX;
    runs.run_jobs(20);
    let jobs: Vec<_> = (0..2500).map(|_| runs.add()).collect();
    runs.sim.run_until(runs.sim.now + MINUTE);
    let planned = |runs: &RepeatedRuns| -> Vec<_> {
        jobs.iter().map(|job| runs.sim.store[job].job.next_poll_at.expect("a time")).collect()
    };
    let before = planned(&runs);
    runs.sim.configure(vec![fast(fixed(600))]);
    let earlier = |runs: &RepeatedRuns| {
        planned(runs).iter().zip(&before).filter(|(now, before)| now < before).count()
    };
    let of_first_turn = earlier(&runs);
    assert!((1..2500).contains(&of_first_turn), "{of_first_turn}");
    runs.sim.run_until(runs.sim.now + 10);
    assert_eq!(earlier(&runs), 2500);
}
