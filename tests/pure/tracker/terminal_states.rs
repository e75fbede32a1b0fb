//! How a job ends: `lost` after repeated "not found" answers, given up only after a successful answer,
//! untracked in any phase; and polls on demand after the end.

use std::time::Duration;

use jobtrack::job::{Answer, JobId, ObservedState, State};
use jobtrack::policy::Backoff;
use jobtrack::tracker::ProviderSettings;

use super::fixtures::{
    DAY, HOUR, MINUTE, SECOND, answer_with_state, default_settings, not_found_answer,
    transient_error,
};
use super::simulation::Simulation;

/// `observed_at` of the last transition, in milliseconds since the start of the simulation.
fn end_time(sim: &Simulation, job: JobId) -> u64 {
    let row = sim.store[&job].history.last().expect("a row");
    assert!(row.to.is_terminal(), "{row:?}");
    let age = sim.wall_time().duration_since(row.observed_at);
    sim.now - u64::try_from(age.as_millis()).expect("short")
}

#[test]
fn an_observed_job_is_lost_after_a_quarter_of_an_hour_of_not_found() {
    let mut sim = Simulation::new(|_, at| {
        (
            100,
            if at < 2 * HOUR {
                answer_with_state(ObservedState::Running)
            } else {
                not_found_answer()
            },
        )
    });
    let job = sim.add_job("dune");
    sim.run_until_all_finished();
    assert_eq!(sim.state_history(job), ["registered", "running", "lost"]);
    let polled = sim.poll_times(job);
    let first = polled.iter().find(|at| **at >= 2 * HOUR).expect("another poll") + 100;
    let after = end_time(&sim, job) - first;
    assert!((15 * MINUTE..21 * MINUTE).contains(&after), "{after} ms");
    let row = sim.store[&job].history.last().expect("lost").clone();
    assert!(row.message.is_some_and(|why| why.contains("no such job")));
    let last_seen = polled.iter().rfind(|at| **at < 2 * HOUR).expect("seen");
    let earliest = sim.wall_time().duration_since(row.earliest_at.expect("it was seen"));
    assert_eq!(sim.now - u64::try_from(earliest.as_millis()).expect("short"), *last_seen);
}

#[test]
fn a_job_that_was_never_observed_is_lost_after_an_hour() {
    let mut sim = Simulation::new(|_, _| (100, not_found_answer()));
    let job = sim.add_job("dune");
    sim.run_until_all_finished();
    assert_eq!(sim.state_history(job), ["registered", "lost"]);
    assert!((HOUR..HOUR + 6 * MINUTE).contains(&end_time(&sim, job)));
    assert_eq!(sim.store[&job].history[1].earliest_at, None);
}

/// A provider with these bounds of the backoff.
fn settings_with_backoff(min: Duration, max: Duration) -> ProviderSettings {
    ProviderSettings { backoff: Backoff { min, max }, ..default_settings("dune") }
}

#[test]
fn lost_needs_three_not_found_answers_however_long_they_take() {
    let pause = Duration::from_hours(5);
    let mut sim = Simulation::with_settings(vec![settings_with_backoff(pause, pause)], |_, at| {
        (
            100,
            if at < HOUR { answer_with_state(ObservedState::Running) } else { not_found_answer() },
        )
    });
    let job = sim.add_job("dune");
    sim.run_until_all_finished();
    assert_eq!(sim.poll_times(job).len(), 1 + 3);
}

#[test]
fn a_good_answer_resets_the_not_found_streak() {
    // Not found for 14 of every 15 minutes, polled at least every 20 s.
    let settings = settings_with_backoff(Duration::from_secs(1), Duration::from_secs(20));
    let mut sim = Simulation::with_settings(vec![settings], |_, at| {
        let found = at % (15 * MINUTE) < MINUTE;
        (100, if found { answer_with_state(ObservedState::Running) } else { not_found_answer() })
    });
    let job = sim.add_job("dune");
    sim.run_until(DAY);
    assert_eq!(sim.state(job), State::Running);
}

#[test]
fn an_outage_does_not_count_as_not_found() {
    let mut sim = Simulation::new(|_, at| match at {
        0..HOUR => (100, answer_with_state(ObservedState::Running)),
        // Two "not found" answers, then an outage of three days.
        HOUR..4_200_000 => (100, not_found_answer()),
        _ if at < 3 * DAY => (100, Answer::failed(transient_error())),
        _ => (100, answer_with_state(ObservedState::Succeeded)),
    });
    let job = sim.add_job("dune");
    sim.run_until(3 * DAY - 1);
    assert_eq!(sim.state(job), State::Running);
    sim.run_until_all_finished();
    assert_eq!(sim.state_history(job), ["registered", "running", "succeeded"]);
}

#[test]
fn gives_up_on_the_first_unfinished_answer_after_the_limit() {
    let mut sim = Simulation::new(|_, _| (100, answer_with_state(ObservedState::Running)));
    let job = sim.add_job_giving_up_after("dune", Some(Duration::from_hours(2)));
    let patient = sim.add_job("dune");
    sim.run_until(3 * HOUR);
    assert_eq!(sim.state_history(job), ["registered", "running", "untracked"]);
    assert!((2 * HOUR..2 * HOUR + 6 * MINUTE).contains(&end_time(&sim, job)));
    let why = sim.store[&job].history[2].message.clone();
    assert_eq!(why.as_deref(), Some("given up: unfinished 2h after registration"));
    assert!(!sim.tracker.contains(job));
    sim.run_until_all_finished();
    assert!((30 * DAY..30 * DAY + 6 * MINUTE).contains(&end_time(&sim, patient)));
}

#[test]
fn never_gives_up_without_an_answer() {
    let mut sim = Simulation::new(|job, at| {
        let end = if job.0 == 1 { ObservedState::Succeeded } else { ObservedState::Running };
        match at {
            0..HOUR => (100, answer_with_state(ObservedState::Pending)),
            _ if at < 3 * DAY => (100, Answer::failed(transient_error())),
            _ => (100, answer_with_state(end)),
        }
    });
    let limit = Some(Duration::from_hours(2));
    let (ended, moved) =
        (sim.add_job_giving_up_after("dune", limit), sim.add_job_giving_up_after("dune", limit));
    sim.run_until(3 * DAY - 1);
    assert_eq!([sim.state(ended), sim.state(moved)], [State::Pending; 2]);
    sim.run_until_all_finished();
    assert_eq!(sim.state_history(ended), ["registered", "pending", "succeeded"]);
    assert_eq!(sim.state_history(moved), ["registered", "pending", "running", "untracked"]);
}

#[test]
fn untracking_a_waiting_job_ends_it() {
    let mut sim = Simulation::new(|_, _| (100, answer_with_state(ObservedState::Running)));
    let job = sim.add_job("dune");
    sim.run_until(HOUR);
    let polled = sim.requests.len();
    sim.untrack(job);
    sim.run_until(2 * HOUR);
    assert_eq!(sim.state_history(job), ["registered", "running", "untracked"]);
    assert_eq!((sim.tracker.contains(job), sim.requests.len()), (false, polled));
}

#[test]
fn untracking_during_a_poll_drops_the_answer() {
    let mut sim =
        Simulation::new(|_, _| (10 * SECOND, answer_with_state(ObservedState::Succeeded)));
    let job = sim.add_job("dune");
    sim.run_until(5 * SECOND);
    sim.untrack(job);
    sim.run_until(MINUTE);
    assert_eq!(sim.state_history(job), ["registered", "untracked"]);
    assert!(!sim.tracker.contains(job) && sim.store[&job].anomalies.is_empty());
    assert_eq!(sim.provider_report("dune").in_flight, 0, "its request has ended");
}

#[test]
fn a_job_untracked_during_a_poll_is_not_polled_concurrently() {
    let mut sim =
        Simulation::new(|_, _| (10 * SECOND, answer_with_state(ObservedState::Succeeded)));
    let job = sim.add_job("dune");
    sim.run_until(5 * SECOND);
    sim.untrack(job);
    sim.run_until(6 * SECOND);
    sim.poll_on_demand(job);
    sim.run_until(MINUTE);
    assert_eq!(sim.poll_times(job).len(), 1, "the answer in flight is used");
    assert!(!sim.tracker.contains(job));
}

#[test]
fn an_on_demand_poll_of_a_finished_job_only_records_a_contradiction() {
    // (observed at the end, observed later, number of contradictions)
    let cases = [
        (ObservedState::Succeeded, ObservedState::Running, 1),
        (ObservedState::Succeeded, ObservedState::Failed, 1),
        (ObservedState::Succeeded, ObservedState::Succeeded, 0),
    ];
    for (end, later, contradictions) in cases {
        let mut sim = Simulation::new(move |_, at| {
            (100, answer_with_state(if at < HOUR { end } else { later }))
        });
        let job = sim.add_job("dune");
        sim.run_until(HOUR);
        let history = sim.store[&job].history.clone();
        sim.poll_on_demand(job);
        sim.run_until(2 * HOUR);
        assert_eq!(sim.poll_times(job).len(), 2);
        assert_eq!(sim.store[&job].anomalies.len(), contradictions, "{end:?}, {later:?}");
        assert_eq!(sim.store[&job].history, history);
        assert!(!sim.tracker.contains(job));
        assert_eq!(sim.provider_report("dune").active_jobs, 0);
    }
}

#[test]
fn an_on_demand_poll_of_an_untracked_job_is_no_contradiction() {
    let mut sim = Simulation::new(|_, _| (100, answer_with_state(ObservedState::Running)));
    let job = sim.add_job("dune");
    sim.run_until(MINUTE);
    sim.untrack(job);
    sim.run_until(2 * MINUTE);
    sim.poll_on_demand(job);
    sim.run_until(3 * MINUTE);
    assert_eq!(sim.state_history(job), ["registered", "running", "untracked"]);
    assert!(sim.store[&job].anomalies.is_empty() && !sim.tracker.contains(job));
}

#[test]
fn a_failed_on_demand_poll_of_a_finished_job_is_not_retried() {
    let mut sim = Simulation::new(|_, at| {
        (
            100,
            if at < HOUR {
                answer_with_state(ObservedState::Failed)
            } else {
                Answer::failed(transient_error())
            },
        )
    });
    let job = sim.add_job("dune");
    sim.run_until(HOUR);
    sim.poll_on_demand(job);
    sim.run_until(2 * HOUR);
    assert_eq!((sim.poll_times(job).len(), sim.tracker.contains(job)), (2, false));
    assert_eq!(sim.state(job), State::Failed);
}
