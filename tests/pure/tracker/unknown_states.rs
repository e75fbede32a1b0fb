//! Words that are not known: said once, shown until they are known, asked again when the provider is
//! configured anew.

use std::cell::Cell;
use std::rc::Rc;

use jobtrack::job::ObservedState;
use jobtrack::tracker::Notice;

use super::fixtures::{
    HOUR, MINUTE, SECOND, answer_with_provider_state, answer_with_state, default_settings,
};
use super::simulation::Simulation;

/// A provider that says one word of every job, and whether it knows it.
fn simulation_with_unknown_state(latency: u64) -> (Simulation, Rc<Cell<ObservedState>>) {
    let said = Rc::new(Cell::new(ObservedState::Unknown));
    let meant = Rc::clone(&said);
    let sim = Simulation::new(move |_, _| {
        (latency, answer_with_provider_state(meant.get(), "DAYDREAMING"))
    });
    (sim, said)
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
    let (mut sim, said) = simulation_with_unknown_state(100);
    let job = sim.add_job("dune");
    sim.run_until(HOUR);
    said.set(ObservedState::Running);
    sim.configure(vec![default_settings("dune")]);
    assert!(sim.provider_report("dune").unknown_states.is_empty());
    sim.run_until(HOUR + SECOND);
    assert_eq!(sim.state_history(job), ["registered", "unknown", "running"]);
    let words = sim.store[&job].history[1..].iter().map(|row| row.word.as_deref());
    assert_eq!(words.collect::<Vec<_>>(), [Some("DAYDREAMING"); 2], "the word stays the same");
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
    let (mut sim, said) = simulation_with_unknown_state(10 * SECOND);
    let job = sim.add_job("dune");
    sim.run_until(5 * SECOND);
    assert_eq!(sim.poll_times(job).len(), 1, "it is being asked");
    said.set(ObservedState::Running);
    sim.configure(vec![default_settings("dune")]);
    sim.run_until(30 * SECOND);
    assert_eq!(sim.state_history(job), ["registered", "unknown", "running"]);
    let asked = sim.poll_times(job);
    assert!(asked[1] - asked[0] < 10 * SECOND + 500, "at once: {asked:?}");
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
    let asked = |sim: &Simulation| (sim.poll_times(odd).len(), sim.poll_times(plain).len());
    let before = asked(&sim);
    let due = sim.tracker.next_wakeup().expect("somebody waits").as_millis();
    assert!(due > HOUR + MINUTE + SECOND, "nobody is due by itself");
    sim.configure(vec![default_settings("dune")]);
    sim.run_until(HOUR + MINUTE + SECOND);
    assert_eq!(asked(&sim), (before.0 + 1, before.1));
}
