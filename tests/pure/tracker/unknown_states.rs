//! Unknown states: reported once, listed until they are mapped, and polled again when the provider is
//! configured.

use std::cell::Cell;
use std::rc::Rc;

use jobtrack::job::ObservedState;
use jobtrack::tracker::Notice;

use super::fixtures::{
    HOUR, MINUTE, SECOND, answer_with_provider_state, answer_with_state, default_settings,
};
use super::simulation::Simulation;

/// A provider that reports the same provider state for every job, and the state that it maps to.
fn simulation_with_unknown_state(latency: u64) -> (Simulation, Rc<Cell<ObservedState>>) {
    let observed = Rc::new(Cell::new(ObservedState::Unknown));
    let meant = Rc::clone(&observed);
    let sim = Simulation::new(move |_, _| {
        (latency, answer_with_provider_state(meant.get(), "DAYDREAMING"))
    });
    (sim, observed)
}

fn unknown_state_notices(sim: &Simulation) -> usize {
    sim.notices.iter().filter(|(_, tell)| matches!(tell, Notice::UnknownState { .. })).count()
}

#[test]
fn an_unknown_state_is_reported_once_and_listed() {
    let (mut sim, _) = simulation_with_unknown_state(100);
    sim.add_job("dune");
    sim.add_job("dune");
    sim.run_until(HOUR);
    assert_eq!(sim.provider_report("dune").unknown_states, ["DAYDREAMING"]);
    assert_eq!(unknown_state_notices(&sim), 1);
}

#[test]
fn a_newly_mapped_state_repolls_its_jobs_at_once() {
    let (mut sim, observed) = simulation_with_unknown_state(100);
    let job = sim.add_job("dune");
    sim.run_until(HOUR);
    observed.set(ObservedState::Running);
    sim.configure(vec![default_settings("dune")]);
    assert!(sim.provider_report("dune").unknown_states.is_empty());
    sim.run_until(HOUR + SECOND);
    assert_eq!(sim.state_history(job), ["registered", "unknown", "running"]);
    let provider_states =
        sim.store[&job].history[1..].iter().map(|row| row.provider_state.as_deref());
    assert_eq!(
        provider_states.collect::<Vec<_>>(),
        [Some("DAYDREAMING"); 2],
        "the provider state is unchanged"
    );
    assert!(sim.provider_report("dune").unknown_states.is_empty());
}

#[test]
fn a_still_unknown_state_is_listed_again() {
    let (mut sim, _) = simulation_with_unknown_state(100);
    let job = sim.add_job("dune");
    sim.run_until(HOUR);
    sim.configure(vec![default_settings("dune")]);
    sim.run_until(HOUR + SECOND);
    assert_eq!(sim.provider_report("dune").unknown_states, ["DAYDREAMING"]);
    assert_eq!(sim.state_history(job), ["registered", "unknown"]);
}

#[test]
fn an_answer_in_flight_during_a_reload_is_polled_again() {
    let (mut sim, observed) = simulation_with_unknown_state(10 * SECOND);
    let job = sim.add_job("dune");
    sim.run_until(5 * SECOND);
    assert_eq!(sim.poll_times(job).len(), 1, "a poll is in flight");
    observed.set(ObservedState::Running);
    sim.configure(vec![default_settings("dune")]);
    sim.run_until(30 * SECOND);
    assert_eq!(sim.state_history(job), ["registered", "unknown", "running"]);
    let polled = sim.poll_times(job);
    assert!(polled[1] - polled[0] < 10 * SECOND + 500, "at once: {polled:?}");
    assert!(sim.provider_report("dune").unknown_states.is_empty());
}

#[test]
fn only_jobs_in_an_unknown_state_are_polled_at_once() {
    let mut sim = Simulation::new(|job, _| {
        (
            100,
            answer_with_state(if job.0 == 1 {
                ObservedState::Unknown
            } else {
                ObservedState::Running
            }),
        )
    });
    let (odd, plain) = (sim.add_job("dune"), sim.add_job("dune"));
    sim.run_until(HOUR + MINUTE);
    let polled = |sim: &Simulation| (sim.poll_times(odd).len(), sim.poll_times(plain).len());
    let before = polled(&sim);
    let due = sim.tracker.next_wakeup().expect("a waiting job").as_millis();
    assert!(due > HOUR + MINUTE + SECOND, "no job is due");
    sim.configure(vec![default_settings("dune")]);
    sim.run_until(HOUR + MINUTE + SECOND);
    assert_eq!(polled(&sim), (before.0 + 1, before.1));
}
