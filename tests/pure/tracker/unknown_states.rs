//! Words that are not known: said once, shown until they are known, asked again when the provider is
//! configured anew.

use std::cell::Cell;
use std::rc::Rc;

use jobtrack::job::ObservedState;
use jobtrack::tracker::Notice;

use super::fixtures::{HOUR, MINUTE, SECOND, settings, told, told_word};
use super::simulation::Sim;

/// A provider that says one word of every job, and whether it knows it.
fn odd(latency: u64) -> (Sim, Rc<Cell<ObservedState>>) {
    let said = Rc::new(Cell::new(ObservedState::Unknown));
    let meant = Rc::clone(&said);
    let sim = Sim::new(move |_, _| (latency, told_word(meant.get(), "DAYDREAMING")));
    (sim, said)
}

fn said_of_words(sim: &Sim) -> usize {
    sim.tells.iter().filter(|(_, tell)| matches!(tell, Notice::UnknownState { .. })).count()
}

#[test]
fn an_unknown_word_is_said_once_and_shown() {
    let (mut sim, _) = odd(100);
    sim.add("dune");
    sim.add("dune");
    sim.run_until(HOUR);
    assert_eq!(sim.report("dune").unknown_states, ["DAYDREAMING"]);
    assert_eq!(said_of_words(&sim), 1);
}

#[test]
fn a_word_that_is_known_at_last_moves_its_jobs_at_once() {
    let (mut sim, said) = odd(100);
    let job = sim.add("dune");
    sim.run_until(HOUR);
    said.set(ObservedState::Running);
    sim.configure(vec![settings("dune")]);
    assert!(sim.report("dune").unknown_states.is_empty());
    sim.run_until(HOUR + SECOND);
    assert_eq!(sim.states(job), ["registered", "unknown", "running"]);
    let words = sim.store[&job].history[1..].iter().map(|row| row.word.as_deref());
    assert_eq!(words.collect::<Vec<_>>(), [Some("DAYDREAMING"); 2], "the word stays the same");
    assert!(sim.report("dune").unknown_states.is_empty());
}

#[test]
fn a_word_that_is_still_unknown_is_shown_again() {
    let (mut sim, _) = odd(100);
    let job = sim.add("dune");
    sim.run_until(HOUR);
    sim.configure(vec![settings("dune")]);
    sim.run_until(HOUR + SECOND);
    assert_eq!(sim.report("dune").unknown_states, ["DAYDREAMING"]);
    assert_eq!(sim.states(job), ["registered", "unknown"]);
}

#[test]
fn an_answer_that_was_under_way_is_asked_for_once_more() {
    let (mut sim, said) = odd(10 * SECOND);
    let job = sim.add("dune");
    sim.run_until(5 * SECOND);
    assert_eq!(sim.asked_at(job).len(), 1, "it is being asked");
    said.set(ObservedState::Running);
    sim.configure(vec![settings("dune")]);
    sim.run_until(30 * SECOND);
    assert_eq!(sim.states(job), ["registered", "unknown", "running"]);
    let asked = sim.asked_at(job);
    assert!(asked[1] - asked[0] < 10 * SECOND + 500, "at once: {asked:?}");
    assert!(sim.report("dune").unknown_states.is_empty());
}

#[test]
fn only_the_jobs_in_doubt_are_asked_at_once() {
    let mut sim = Sim::new(|job, _| {
        (100, told(if job.0 == 1 { ObservedState::Unknown } else { ObservedState::Running }))
    });
    let (odd, plain) = (sim.add("dune"), sim.add("dune"));
    sim.run_until(HOUR + MINUTE);
    let asked = |sim: &Sim| (sim.asked_at(odd).len(), sim.asked_at(plain).len());
    let before = asked(&sim);
    let due = sim.tracker.next_wakeup().expect("somebody waits").as_millis();
    assert!(due > HOUR + MINUTE + SECOND, "nobody is due by itself");
    sim.configure(vec![settings("dune")]);
    sim.run_until(HOUR + MINUTE + SECOND);
    assert_eq!(asked(&sim), (before.0 + 1, before.1));
}
