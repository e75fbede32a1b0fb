//! How a job ends: lost after proof, given up on a good answer only, untracked at any stage; and
//! what is said of it afterwards.

use std::time::Duration;

use jobtrack::job::{Answer, JobId, ObservedState, State};
use jobtrack::policy::Backoff;
use jobtrack::tracker::ProviderSettings;

use super::fixtures::{DAY, HOUR, MINUTE, SECOND, not_found, settings, told, transient};
use super::simulation::Sim;

/// The last row's `observed_at`, in milliseconds of the simulation.
fn ended_at(sim: &Sim, job: JobId) -> u64 {
    let row = sim.store[&job].history.last().expect("a row");
    assert!(row.to.is_terminal(), "{row:?}");
    let age = sim.wall().duration_since(row.observed_at);
    sim.now - u64::try_from(age.as_millis()).expect("short")
}

#[test]
fn a_job_that_was_seen_is_lost_after_a_quarter_of_an_hour_of_not_found() {
    let mut sim = Sim::new(|_, at| {
        (100, if at < 2 * HOUR { told(ObservedState::Running) } else { not_found() })
    });
    let job = sim.add("dune");
    sim.run_to_the_end();
    assert_eq!(sim.states(job), ["registered", "running", "lost"]);
    let asked = sim.asked_at(job);
    let first = asked.iter().find(|at| **at >= 2 * HOUR).expect("asked on") + 100;
    let after = ended_at(&sim, job) - first;
    assert!((15 * MINUTE..21 * MINUTE).contains(&after), "{after} ms");
    let row = sim.store[&job].history.last().expect("lost").clone();
    assert!(row.message.is_some_and(|why| why.contains("no such job")));
    let last_seen = asked.iter().rfind(|at| **at < 2 * HOUR).expect("seen");
    let earliest = sim.wall().duration_since(row.earliest_at.expect("it was seen"));
    assert_eq!(sim.now - u64::try_from(earliest.as_millis()).expect("short"), *last_seen);
}

#[test]
fn a_job_that_was_never_seen_is_lost_after_an_hour() {
    let mut sim = Sim::new(|_, _| (100, not_found()));
    let job = sim.add("dune");
    sim.run_to_the_end();
    assert_eq!(sim.states(job), ["registered", "lost"]);
    assert!((HOUR..HOUR + 6 * MINUTE).contains(&ended_at(&sim, job)));
    assert_eq!(sim.store[&job].history[1].earliest_at, None);
}

/// A provider whose jobs are asked no less often and no more often than this.
fn asked_every(min: Duration, max: Duration) -> ProviderSettings {
    ProviderSettings { backoff: Backoff { min, max }, ..settings("dune") }
}

#[test]
fn three_times_not_found_is_needed_however_long_it_took() {
    let pause = Duration::from_hours(5);
    let mut sim = Sim::with(vec![asked_every(pause, pause)], |_, at| {
        (100, if at < HOUR { told(ObservedState::Running) } else { not_found() })
    });
    let job = sim.add("dune");
    sim.run_to_the_end();
    assert_eq!(sim.asked_at(job).len(), 1 + 3);
}

#[test]
fn a_good_answer_makes_not_found_forgotten() {
    // Not found for 14 minutes of each 15, asked every 20 s at least.
    let lane = asked_every(Duration::from_secs(1), Duration::from_secs(20));
    let mut sim = Sim::with(vec![lane], |_, at| {
        let found = at % (15 * MINUTE) < MINUTE;
        (100, if found { told(ObservedState::Running) } else { not_found() })
    });
    let job = sim.add("dune");
    sim.run_until(DAY);
    assert_eq!(sim.state(job), State::Running);
}

#[test]
fn an_outage_is_no_not_found() {
    let mut sim = Sim::new(|_, at| match at {
        0..HOUR => (100, told(ObservedState::Running)),
        // Twice not found, then nothing for three days.
        HOUR..4_200_000 => (100, not_found()),
        _ if at < 3 * DAY => (100, Answer::failed(transient())),
        _ => (100, told(ObservedState::Succeeded)),
    });
    let job = sim.add("dune");
    sim.run_until(3 * DAY - 1);
    assert_eq!(sim.state(job), State::Running);
    sim.run_to_the_end();
    assert_eq!(sim.states(job), ["registered", "running", "succeeded"]);
}

#[test]
fn the_first_good_answer_after_the_limit_that_is_no_end_gives_up() {
    let mut sim = Sim::new(|_, _| (100, told(ObservedState::Running)));
    let job = sim.add_with("dune", Some(Duration::from_hours(2)));
    let patient = sim.add("dune");
    sim.run_until(3 * HOUR);
    assert_eq!(sim.states(job), ["registered", "running", "untracked"]);
    assert!((2 * HOUR..2 * HOUR + 6 * MINUTE).contains(&ended_at(&sim, job)));
    let why = sim.store[&job].history[2].message.clone();
    assert_eq!(why.as_deref(), Some("given up: not over 2h after it was registered"));
    assert!(!sim.tracker.contains(job));
    sim.run_to_the_end();
    assert!((30 * DAY..30 * DAY + 6 * MINUTE).contains(&ended_at(&sim, patient)));
}

#[test]
fn without_an_answer_nobody_gives_up() {
    let mut sim = Sim::new(|job, at| {
        let end = if job.0 == 1 { ObservedState::Succeeded } else { ObservedState::Running };
        match at {
            0..HOUR => (100, told(ObservedState::Pending)),
            _ if at < 3 * DAY => (100, Answer::failed(transient())),
            _ => (100, told(end)),
        }
    });
    let limit = Some(Duration::from_hours(2));
    let (ended, moved) = (sim.add_with("dune", limit), sim.add_with("dune", limit));
    sim.run_until(3 * DAY - 1);
    assert_eq!([sim.state(ended), sim.state(moved)], [State::Pending; 2]);
    sim.run_to_the_end();
    assert_eq!(sim.states(ended), ["registered", "pending", "succeeded"]);
    assert_eq!(sim.states(moved), ["registered", "pending", "running", "untracked"]);
}

#[test]
fn untracking_a_waiting_job_ends_it() {
    let mut sim = Sim::new(|_, _| (100, told(ObservedState::Running)));
    let job = sim.add("dune");
    sim.run_until(HOUR);
    let asked = sim.requests.len();
    sim.untrack(job);
    sim.run_until(2 * HOUR);
    assert_eq!(sim.states(job), ["registered", "running", "untracked"]);
    assert_eq!((sim.tracker.contains(job), sim.requests.len()), (false, asked));
}

#[test]
fn untracking_while_asking_ends_it_and_the_answer_is_dropped() {
    let mut sim = Sim::new(|_, _| (10 * SECOND, told(ObservedState::Succeeded)));
    let job = sim.add("dune");
    sim.run_until(5 * SECOND);
    sim.untrack(job);
    sim.run_until(MINUTE);
    assert_eq!(sim.states(job), ["registered", "untracked"]);
    assert!(!sim.tracker.contains(job) && sim.store[&job].anomalies.is_empty());
    assert_eq!(sim.report("dune").in_flight, 0, "its request was accounted for");
}

#[test]
fn a_job_that_was_untracked_while_asking_is_not_asked_twice_at_once() {
    let mut sim = Sim::new(|_, _| (10 * SECOND, told(ObservedState::Succeeded)));
    let job = sim.add("dune");
    sim.run_until(5 * SECOND);
    sim.untrack(job);
    sim.run_until(6 * SECOND);
    sim.poll_by_hand(job);
    sim.run_until(MINUTE);
    assert_eq!(sim.asked_at(job).len(), 1, "the answer under way is the news asked for");
    assert!(!sim.tracker.contains(job));
}

#[test]
fn a_poll_by_hand_after_the_end_records_a_contradiction_and_obeys_it_not() {
    // (said at the end, said later, contradictions)
    let cases = [
        (ObservedState::Succeeded, ObservedState::Running, 1),
        (ObservedState::Succeeded, ObservedState::Failed, 1),
        (ObservedState::Succeeded, ObservedState::Succeeded, 0),
    ];
    for (end, later, contradictions) in cases {
        let mut sim = Sim::new(move |_, at| (100, told(if at < HOUR { end } else { later })));
        let job = sim.add("dune");
        sim.run_until(HOUR);
        let history = sim.store[&job].history.clone();
        sim.poll_by_hand(job);
        sim.run_until(2 * HOUR);
        assert_eq!(sim.asked_at(job).len(), 2);
        assert_eq!(sim.store[&job].anomalies.len(), contradictions, "{end:?}, {later:?}");
        assert_eq!(sim.store[&job].history, history);
        assert!(!sim.tracker.contains(job));
        assert_eq!(sim.report("dune").active_jobs, 0);
    }
}

#[test]
fn a_poll_by_hand_of_an_untracked_job_contradicts_nothing() {
    let mut sim = Sim::new(|_, _| (100, told(ObservedState::Running)));
    let job = sim.add("dune");
    sim.run_until(MINUTE);
    sim.untrack(job);
    sim.run_until(2 * MINUTE);
    sim.poll_by_hand(job);
    sim.run_until(3 * MINUTE);
    assert_eq!(sim.states(job), ["registered", "running", "untracked"]);
    assert!(sim.store[&job].anomalies.is_empty() && !sim.tracker.contains(job));
}

#[test]
fn a_failed_poll_by_hand_after_the_end_is_asked_once() {
    let mut sim = Sim::new(|_, at| {
        (100, if at < HOUR { told(ObservedState::Failed) } else { Answer::failed(transient()) })
    });
    let job = sim.add("dune");
    sim.run_until(HOUR);
    sim.poll_by_hand(job);
    sim.run_until(2 * HOUR);
    assert_eq!((sim.asked_at(job).len(), sim.tracker.contains(job)), (2, false));
    assert_eq!(sim.state(job), State::Failed);
}
