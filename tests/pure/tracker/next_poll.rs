//! The forecast of the next poll: a pause and the rate limit delay it, and the poll is sent at the time that was
//! forecast.

use std::time::Duration;

use jobtrack::job::{
    Answer, JobId, MonotonicTime, ObservedState, ProviderError, ProviderErrorKind,
};
use jobtrack::policy::Backoff;
use jobtrack::tracker::{NextPollTime, PollDelay, PollForecast, ProviderSettings};

use super::fixtures::{SECOND, answer_with_state, default_settings};
use super::simulation::Simulation;

const LATENCY_MS: u64 = 100;

fn forecast(sim: &Simulation, job: JobId) -> PollForecast {
    let now = MonotonicTime::from_millis(sim.now);
    sim.tracker.forecast(job, now).expect("an unfinished job")
}

/// The time of the next poll by the forecast; panics if the job is overdue.
fn forecast_time(sim: &Simulation, job: JobId) -> u64 {
    let NextPollTime::In(wait) = forecast(sim, job).next_poll else {
        panic!("{:?}", forecast(sim, job))
    };
    sim.now + u64::try_from(wait.as_millis()).expect("a short time")
}

/// Runs until the time of the forecast, and checks that the job is polled then and not before.
fn assert_polled_as_forecast(sim: &mut Simulation, job: JobId) {
    let (at, polls) = (forecast_time(sim, job), sim.poll_times(job).len());
    sim.run_until(at + SECOND);
    assert_eq!(sim.poll_times(job).get(polls), Some(&at));
}

#[test]
fn a_pause_after_a_rejection_delays_the_next_poll_until_its_end() {
    let reject = |_, _| {
        let error = ProviderError::new(ProviderErrorKind::Auth, "HTTP 401");
        (LATENCY_MS, Answer::failed(error))
    };
    let mut sim = Simulation::with_settings(vec![default_settings("dune")], reject);
    let job = sim.add_job("dune");
    sim.run_until(5 * SECOND);
    let reason = Some("HTTP 401".to_owned());
    assert_eq!(forecast(&sim, job).delay, Some(PollDelay::Pause { reason }));
    assert!(forecast_time(&sim, job) >= 60 * SECOND);
    assert_polled_as_forecast(&mut sim, job);
}

#[test]
fn failures_delay_the_next_poll_until_the_next_try() {
    let fail = |_, _| {
        let error = ProviderError::new(ProviderErrorKind::Transient, "HTTP 503");
        (LATENCY_MS, Answer::failed(error))
    };
    let mut sim = Simulation::with_settings(vec![default_settings("dune")], fail);
    let job = sim.add_job("dune");
    for seconds in [10, 40, 90] {
        sim.run_until(seconds * SECOND);
        assert_polled_as_forecast(&mut sim, job);
    }
}

#[test]
fn the_rate_limit_delays_the_next_poll_until_a_request_is_allowed() {
    let settings = ProviderSettings { requests_per_minute: 2, ..default_settings("dune") };
    let running = |_, _| (LATENCY_MS, answer_with_state(ObservedState::Running));
    let mut sim = Simulation::with_settings(vec![settings], running);
    let job = sim.add_job("dune");
    sim.run_until(70 * SECOND);
    let mut delays = Vec::new();
    for _ in 0..5 {
        delays.push(forecast(&sim, job).delay);
        assert_polled_as_forecast(&mut sim, job);
    }
    assert!(delays.contains(&Some(PollDelay::RateLimit)), "{delays:?}");
}

#[test]
fn other_due_polls_are_counted() {
    let settings = ProviderSettings { requests_per_minute: 30, ..default_settings("dune") };
    let running = |_, _| (LATENCY_MS, answer_with_state(ObservedState::Running));
    let mut sim = Simulation::with_settings(vec![settings], running);
    let jobs: Vec<_> = (0..100).map(|_| sim.add_job("dune")).collect();
    sim.run_until(60 * SECOND);
    let is_delayed = |job: &&JobId| match forecast(&sim, **job).delay {
        Some(PollDelay::OtherPolls { due_polls, requests_per_minute }) => {
            due_polls > 50 && requests_per_minute == 30
        }
        Some(_) | None => false,
    };
    assert!(jobs.iter().filter(is_delayed).count() > 50);
}

#[test]
fn a_job_of_a_removed_provider_waits_for_its_configuration() {
    let running = |_, _| (LATENCY_MS, answer_with_state(ObservedState::Running));
    let mut sim = Simulation::with_settings(vec![default_settings("dune")], running);
    let job = sim.add_job("dune");
    sim.run_until(10 * SECOND);
    assert_eq!(forecast(&sim, job).delay, None);
    sim.configure(Vec::new());
    sim.run_until(40 * SECOND);
    assert_eq!(forecast(&sim, job).delay, Some(PollDelay::ProviderNotConfigured));
    assert_eq!(forecast(&sim, job).next_poll, NextPollTime::NotPlanned);
}

#[test]
fn polls_that_are_due_delay_a_job_that_is_not_due_yet() {
    let minute = Duration::from_mins(1);
    let settings = ProviderSettings {
        requests_per_minute: 30,
        backoff: Backoff { min: minute, max: minute },
        ..default_settings("dune")
    };
    let running = |_, _| (LATENCY_MS, answer_with_state(ObservedState::Running));
    let mut sim = Simulation::with_settings(vec![settings], running);
    let jobs: Vec<_> = (0..300).map(|_| sim.add_job("dune")).collect();
    sim.run_until(15 * 60 * SECOND);
    let last_polled = jobs.iter().copied().max_by_key(|job| sim.poll_times(*job).last().copied());
    let job = last_polled.expect("jobs");
    let at = forecast_time(&sim, job);
    assert!(at > sim.now + 3 * 60 * SECOND, "{:?}", forecast(&sim, job));
    let Some(PollDelay::OtherPolls { due_polls, .. }) = forecast(&sim, job).delay else {
        panic!("{:?}", forecast(&sim, job))
    };
    assert!(due_polls > 200, "{due_polls}");
    let (now, polls) = (sim.now, sim.poll_times(job).len());
    sim.run_until(at + 5 * 60 * SECOND);
    let polled = sim.poll_times(job)[polls];
    assert!(polled > now + (at - now) / 2, "{polled} is long before {at}");
}

#[test]
fn after_a_restart_jobs_wait_for_requests_of_the_earlier_process() {
    let settings = ProviderSettings { requests_per_minute: 30, ..default_settings("dune") };
    let running = |_, _| (LATENCY_MS, answer_with_state(ObservedState::Running));
    let mut sim = Simulation::with_settings(vec![settings], running);
    let jobs = [0; 3].map(|_| sim.add_job("dune"));
    sim.run_until(60 * SECOND);
    sim.restart();
    sim.run_until(sim.now + 6 * SECOND);
    for job in jobs {
        assert_eq!(forecast(&sim, job).delay, Some(PollDelay::RateLimit));
    }
    let times = jobs.map(|job| (forecast_time(&sim, job), sim.poll_times(job).len()));
    sim.run_until(times[0].0 + SECOND);
    let is_polled_then = |(job, (at, polls)): (JobId, (u64, usize))| {
        sim.poll_times(job).get(polls).is_some_and(|polled| *polled == at)
    };
    assert!(jobs.into_iter().zip(times).any(is_polled_then), "{times:?}");
}
