//! The learned policy: learning durations, due times by the price of a request, the maximum wait, and
//! the order of polls when requests are scarce.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use jobtrack::job::{
    Answer, JobId, MonotonicTime, Observation, ObservedState, ProviderTimes, SimilarityKeys,
    UtcTime,
};
use jobtrack::policy::{Backoff, LearnedPolicySettings, PollPrice};
use jobtrack::tracker::{ForecastReason, NextPollTime, PollPolicy, ProviderSettings};
use proptest::prelude::*;

use super::fixtures::{HOUR, MINUTE, SECOND, default_settings};
use super::simulation::Simulation;

pub(super) fn learned_settings(requests_per_minute: u32) -> ProviderSettings {
    let second = Duration::from_secs(1);
    let rule = LearnedPolicySettings {
        price: PollPrice::Fixed(second),
        min_interval: second,
        enforce_max_wait: true,
    };
    ProviderSettings {
        policy: PollPolicy::Learned(rule),
        requests_per_minute,
        ..default_settings("dune")
    }
}

/// The answer at time `at` for a run of `query`, with the times of the provider.
fn answer_at(query: u64, started_at: u64, duration: u64, at: u64) -> Answer {
    let utc = |at: u64| {
        UtcTime::from_millis(1_800_000_000_000 + i64::try_from(at).expect("a short simulation"))
    };
    let is_over = at >= started_at + duration;
    let observation = Observation {
        state: if is_over { ObservedState::Succeeded } else { ObservedState::Running },
        provider_state: if is_over { "COMPLETED".into() } else { "EXECUTING".into() },
        times: ProviderTimes {
            submitted_at: Some(utc(started_at)),
            started_at: Some(utc(started_at)),
            ended_at: is_over.then(|| utc(started_at + duration)),
            expires_at: None,
        },
        message: None,
        list_time: None,
        similarity_keys: SimilarityKeys::from_provider([format!("query {query}")]),
        reported_duration: None,
        source: None,
        credits: None,
        detail: serde_json::Map::default(),
    };
    let server_date = Some(utc(at / SECOND * SECOND));
    Answer { server_date, ..Answer::from_result(Ok(observation)) }
}

/// A simulation in which a job starts when it is added and runs as long as a function returns.
pub(super) struct RepeatedRuns {
    pub(super) sim: Simulation,
    started_at: Rc<RefCell<HashMap<JobId, u64>>>,
    /// Whether answers report the start only as the time in a list.
    pub(super) is_listed: Rc<Cell<bool>>,
}

impl RepeatedRuns {
    pub(super) fn new(
        settings: ProviderSettings,
        query: fn(JobId) -> u64,
        took: impl Fn(JobId) -> u64 + 'static,
    ) -> Self {
        let started_at = Rc::<RefCell<HashMap<JobId, u64>>>::default();
        let is_listed = Rc::<Cell<bool>>::default();
        let (lives, listed) = (started_at.clone(), is_listed.clone());
        let sim = Simulation::with_settings(vec![settings], move |job, at| {
            let mut answer = answer_at(query(job), lives.borrow()[&job], took(job), at);
            if let Ok(seen) = &mut answer.result
                && listed.get()
            {
                seen.list_time = seen.times.started_at.take();
                seen.times.submitted_at = None;
            }
            (0, answer)
        });
        Self { sim, started_at, is_listed }
    }

    pub(super) fn add(&mut self) -> JobId {
        let next = JobId(i64::try_from(self.sim.store.len()).expect("few") + 1);
        self.started_at.borrow_mut().insert(next, self.sim.now);
        self.sim.add_job("dune")
    }

    /// Runs jobs one after another, each to its end.
    pub(super) fn run_jobs(&mut self, jobs: usize) {
        for _ in 0..jobs {
            self.add();
            self.sim.run_until_all_finished();
        }
    }

    /// The times of the polls of a job, in milliseconds since its start.
    pub(super) fn poll_offsets(&self, job: JobId) -> Vec<u64> {
        let began = self.started_at.borrow()[&job];
        self.sim.poll_times(job).into_iter().map(|at| at - began).collect()
    }
}

#[test]
fn a_job_whose_similar_runs_took_a_minute_is_polled_after_a_minute() {
    let mut runs = RepeatedRuns::new(
        learned_settings(600),
        |_| 7,
        |job| MINUTE + u64::try_from(job.0 % 5).expect("small") * 500,
    );
    runs.run_jobs(20);
    let job = runs.add();
    runs.sim.run_until_all_finished();
    let polls = runs.poll_offsets(job);
    assert!(polls[0] < SECOND, "the first poll comes at once: {polls:?}");
    let soon = polls.iter().filter(|at| (50 * SECOND..65 * SECOND).contains(*at)).count();
    assert!(polls.len() <= 8 && soon >= 1, "{polls:?}");
    let late = polls.last().expect("a poll") - (MINUTE + 500);
    assert!(late <= 2 * SECOND, "{late} ms late: {polls:?}");
}

#[test]
fn what_was_learned_outlives_a_restart_and_is_forgotten_on_demand() {
    let polls = |restart: bool, forget: bool| {
        let mut runs = RepeatedRuns::new(learned_settings(600), |_| 7, |_| 200 * SECOND);
        runs.run_jobs(8);
        if restart {
            runs.sim.restart_in_order();
        }
        if forget {
            runs.sim.forget_durations("dune", Some("query 7"));
        }
        let job = runs.add();
        runs.sim.run_until_all_finished();
        runs.poll_offsets(job)
    };
    let apart = |one: &[u64], other: &[u64]| {
        let pairs = one.iter().zip(other).map(|(one, other)| one.abs_diff(*other));
        one.len().abs_diff(other.len()) as u64 * MINUTE + pairs.max().unwrap_or(0)
    };
    let known = polls(false, false);
    assert!(apart(&polls(true, false), &known) < SECOND, "as without a restart");
    assert!(apart(&polls(false, true), &known) > SECOND, "different without the durations");
}

#[test]
fn a_job_outliving_its_similar_runs_is_polled_within_the_maximum_wait() {
    // The similar runs took 20 s; the job takes a hundred times as long.
    let mut runs = RepeatedRuns::new(
        learned_settings(600),
        |_| 7,
        |job| if job.0 <= 20 { 20 * SECOND } else { 2000 * SECOND },
    );
    runs.run_jobs(20);
    let job = runs.add();
    runs.sim.run_until_all_finished();
    for pair in runs.poll_offsets(job).windows(2) {
        let promised = (30 * SECOND).max(pair[0] / 2);
        assert!(pair[1] - pair[0] <= promised + 1, "{pair:?}");
    }
}

#[test]
fn the_forecast_gives_time_reason_and_similar_runs() {
    let mut runs = RepeatedRuns::new(learned_settings(600), |_| 7, |_| 200 * SECOND);
    runs.run_jobs(8);
    let job = runs.add();
    runs.sim.run_until(runs.sim.now + SECOND);
    let now = MonotonicTime::from_millis(runs.sim.now);
    let forecast = runs.sim.tracker.forecast(job, now).expect("a tracked job");
    let similar = forecast.similar_runs.clone().expect("similar runs");
    assert_eq!((similar.similarity_key.as_str(), similar.count), ("query 7", 8));
    assert!((199.0..201.0).contains(&similar.median_duration.as_secs_f64()), "{similar:?}");
    let ends_in = forecast.expected_remaining.expect("an estimate").as_secs();
    assert!((150..=220).contains(&ends_in), "{ends_in} s");
    assert_eq!(forecast.reason, ForecastReason::MaxWait, "the minimum of the maximum wait");
    let NextPollTime::In(wait) = forecast.next_poll else { panic!("{forecast:?}") };
    assert_eq!(wait.as_secs(), 29);
    runs.sim.run_until_all_finished();
    assert_eq!(runs.sim.tracker.forecast(job, MonotonicTime::from_millis(runs.sim.now)), None);
}

#[test]
fn a_new_rule_applies_to_waiting_jobs_at_once() {
    let mut runs = RepeatedRuns::new(learned_settings(600), |_| 7, |_| 100 * HOUR);
    let job = runs.add();
    runs.sim.run_until(13 * HOUR);
    let wait = |runs: &RepeatedRuns| {
        let forecast = runs.sim.tracker.forecast(job, MonotonicTime::from_millis(runs.sim.now));
        let NextPollTime::In(wait) = forecast.expect("a tracked job").next_poll else {
            panic!("the job does not wait")
        };
        wait
    };
    while wait(&runs) < Duration::from_mins(1) {
        runs.sim.run_until(runs.sim.now + SECOND);
    }
    let second = Duration::from_secs(1);
    let quick = Backoff { min: second, max: second };
    runs.sim.configure(vec![ProviderSettings { backoff: quick, ..default_settings("dune") }]);
    assert!(wait(&runs) <= second);
}

#[test]
fn when_requests_are_scarce_likely_finished_jobs_are_polled_first() {
    // Even jobs take a minute, odd ones a day, and similar runs of both are known.
    let took = |job: JobId| if job.0 % 2 == 0 { MINUTE } else { 24 * HOUR };
    let query = |job: JobId| u64::try_from(job.0 % 2).expect("small");
    let mut runs = RepeatedRuns::new(learned_settings(6000), query, took);
    for _ in 0..20 {
        runs.add();
    }
    runs.sim.run_until_all_finished();
    runs.sim.configure(vec![learned_settings(20)]);
    let jobs: Vec<_> = (0..200).map(|_| runs.add()).collect();
    runs.sim.run_until(runs.sim.now + 20 * MINUTE);
    let over = |job: &&JobId| runs.sim.state(**job).is_terminal();
    let seen = jobs.iter().filter(over).count();
    assert!(seen >= 95, "{seen} of 100 ended jobs");
}

#[test]
fn first_polls_get_a_quarter_when_requests_are_scarce() {
    let mut runs = RepeatedRuns::new(learned_settings(60), |_| 7, |_| 100 * HOUR);
    let old: Vec<_> = (0..600).map(|_| runs.add()).collect();
    runs.sim.run_until(runs.sim.now + 2 * HOUR);
    assert!(old.iter().all(|job| !runs.sim.poll_times(*job).is_empty()));
    // After two hours with hardly any request all jobs are due.
    runs.sim.report_check_interval = u64::MAX;
    runs.sim.configure(vec![learned_settings(1)]);
    runs.sim.run_until(runs.sim.now + 2 * HOUR);
    runs.sim.report_check_interval = 1;
    runs.sim.configure(vec![learned_settings(60)]);
    runs.sim.run_until(runs.sim.now + SECOND);
    let before = runs.sim.requests.len();
    let new: Vec<_> = (0..400).map(|_| runs.add()).collect();
    runs.sim.run_until(runs.sim.now + 5 * MINUTE);
    let polled = runs.sim.requests[before..].iter();
    let first = polled.filter(|request| new.contains(&request.job)).count();
    let all = runs.sim.requests.len() - before;
    assert!(all >= 235 && (all / 5..=all / 4 + 1).contains(&first), "{first} of {all}");
}

/// The mean time from the end of a job to the poll that observed it, in milliseconds.
fn mean_detection_delay(runs: &RepeatedRuns, jobs: &[JobId], took: fn(JobId) -> u64) -> u64 {
    let late = |job: &JobId| {
        let ended = runs.started_at.borrow()[job] + took(*job);
        let seen = runs.sim.poll_times(*job).into_iter().chain(runs.sim.page_request_times(*job));
        seen.filter(|at| *at >= ended).min().expect("the end was observed") - ended
    };
    jobs.iter().map(late).sum::<u64>() / jobs.len() as u64
}

#[test]
fn a_list_page_has_the_summed_priority_of_its_jobs() {
    let took =
        |job: JobId| 10 * MINUTE + u64::try_from(job.0 * 7919 % 1200).expect("small") * SECOND;
    let run = |lists: bool| {
        let settings = ProviderSettings { supports_list: lists, ..learned_settings(20) };
        let mut runs = RepeatedRuns::new(settings, |_| 7, took);
        runs.is_listed.set(true);
        runs.sim.report_check_interval = 1000;
        for _ in 0..40 {
            runs.add();
        }
        runs.sim.run_until_all_finished();
        let before = runs.sim.requests.len();
        let jobs = (0..150).map(|_| {
            runs.sim.run_until(runs.sim.now + SECOND);
            runs.add()
        });
        let jobs: Vec<_> = jobs.collect();
        runs.sim.run_until_all_finished();
        (mean_detection_delay(&runs, &jobs, took), runs.sim.requests.len() - before)
    };
    let ((alone, _), (together, requests)) = (run(false), run(true));
    assert!(
        together * 10 <= alone,
        "{together} ms with {requests} list requests, {alone} ms without"
    );
    assert!(together <= 6 * SECOND, "{together} ms");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A due job is polled within five rounds, whatever the priorities of the other jobs are.
    #[test]
    fn no_job_waits_more_than_five_rounds(
        jobs in 2u64..60, limit in 1u32..20, spread in 1u64..100, seed: u64,
    ) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let settings = ProviderSettings { max_in_flight: 1, ..learned_settings(limit) };
        let took: Vec<u64> = (0..jobs).map(|_| SECOND * rng.u64(1..=60 * spread)).collect();
        let began = 0;
        let mut sim = Simulation::with_settings(vec![settings], move |job, at| {
            let number = u64::try_from(job.0).expect("positive");
            let took = took[usize::try_from(number - 1).expect("few")];
            // Half of the jobs never end.
            let took = if number % 2 == 0 { 1000 * HOUR } else { took };
            (0, answer_at(number % 5, began, took, at))
        });
        for _ in 0..jobs {
            sim.add_job("dune");
        }
        let round = jobs * MINUTE / u64::from(limit);
        let mut latest = 0;
        for _ in 0..200 {
            sim.run_until(sim.now + round / 4 + SECOND);
            latest = latest.max(u64::try_from(sim.provider_report("dune").longest_overdue.as_millis()).expect("short"));
        }
        prop_assert!(latest <= 5 * round + 2 * MINUTE, "{latest} ms, a round is {round} ms");
    }
}
