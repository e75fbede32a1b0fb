//! What stands between a decision and the next poll: the commit. Slow ones, refused ones, and those
//! whose success was never heard of.

use jobtrack::job::{JobId, ObservedState, State};

use super::fixtures::{Fate, HOUR, MINUTE, SECOND, told, told_word};
use super::simulation::Sim;

/// A job that waits for two minutes and then runs; the commit that says so takes a minute.
fn moving() -> (Sim, JobId) {
    moving_with(Fate::Commit)
}

/// The same; `fate` is what becomes of that commit.
fn moving_with(fate: Fate) -> (Sim, JobId) {
    let mut sim = Sim::new(|_, at| {
        (100, told(if at < 2 * MINUTE { ObservedState::Pending } else { ObservedState::Running }))
    });
    sim.writes(move |change| match change.new_state.state {
        State::Running => (MINUTE, fate),
        _ => (5, Fate::Commit),
    });
    let job = sim.add("dune");
    while sim.asked_at(job).last().is_none_or(|asked| *asked < 2 * MINUTE) {
        assert!(sim.now < 10 * MINUTE, "it is not asked on");
        sim.run_until(sim.now + 50);
    }
    sim.run_until(sim.now + SECOND);
    assert_eq!(sim.state(job), State::Pending, "decided, not committed");
    (sim, job)
}

#[test]
fn a_job_is_not_asked_while_its_change_is_unwritten_and_at_once_after_it() {
    let (mut sim, job) = moving();
    let answered = sim.requests.last().and_then(|request| request.answered).expect("answered");
    sim.poll_by_hand(job);
    sim.run_until(answered + HOUR);
    let next = sim.asked_at(job).into_iter().find(|at| *at > answered).expect("asked on");
    assert_eq!(next, answered + MINUTE, "long overdue when the commit was in");
    assert_eq!(sim.states(job), ["registered", "pending", "running"]);
}

#[test]
fn a_change_that_finds_another_state_is_planned_anew_on_it() {
    let (mut sim, job) = moving();
    sim.store.get_mut(&job).expect("there").meddle(State::Unknown);
    sim.run_until(sim.now + 3 * MINUTE);
    assert_eq!(sim.states(job), ["registered", "pending", "unknown", "running"]);
    let anomalies = &sim.store[&job].anomalies;
    assert_eq!(anomalies.len(), 1);
    assert_eq!(anomalies[0].description, "the database says unknown where we knew pending");
}

#[test]
fn a_change_that_is_refused_twice_is_left_to_the_next_answer() {
    let (mut sim, job) = moving();
    sim.store.get_mut(&job).expect("there").meddle(State::Unknown);
    sim.run_until(sim.now + MINUTE);
    sim.store.get_mut(&job).expect("there").meddle(State::Registered);
    let asked = sim.requests.len();
    sim.run_until(sim.now + MINUTE);
    assert_eq!(sim.store[&job].anomalies.len(), 2);
    assert!(sim.requests.len() > asked, "it is asked, not planned a third time");
    sim.run_until(sim.now + HOUR);
    assert_eq!(sim.states(job).last(), Some(&"running"));
    assert_eq!(sim.store[&job].anomalies.len(), 2);
}

#[test]
fn a_job_that_somebody_ended_meanwhile_is_left_so() {
    let (mut sim, job) = moving();
    sim.store.get_mut(&job).expect("there").meddle(State::Cancelled);
    sim.run_until(sim.now + HOUR);
    assert_eq!(sim.states(job), ["registered", "pending", "cancelled"]);
    assert!(!sim.tracker.contains(job));
    assert_eq!(sim.store[&job].anomalies.len(), 1);
}

#[test]
fn a_job_that_is_gone_from_the_database_is_dropped() {
    let (mut sim, job) = moving();
    sim.store.remove(&job);
    sim.run_until(sim.now + HOUR);
    assert!(!sim.tracker.contains(job));
    assert_eq!(sim.report("dune").active_jobs, 0);
}

#[test]
fn a_commit_that_was_not_heard_of_is_written_once() {
    let mut sim = Sim::new(|_, at| {
        let said = match at {
            0..MINUTE => ObservedState::Pending,
            MINUTE..HOUR => ObservedState::Running,
            _ => ObservedState::Succeeded,
        };
        (100, told(said))
    });
    sim.writes(|_| (5, Fate::CommitUnheard));
    let job = sim.add("dune");
    sim.run_to_the_end();
    assert_eq!(sim.states(job), ["registered", "pending", "running", "succeeded"]);
    assert!(sim.store[&job].anomalies.is_empty(), "{:?}", sim.store[&job].anomalies);
}

#[test]
fn untracking_while_writing_follows_the_write() {
    let (mut sim, job) = moving();
    sim.untrack(job);
    sim.untrack(job);
    sim.run_until(sim.now + 2 * MINUTE);
    assert_eq!(sim.states(job), ["registered", "pending", "running", "untracked"]);
    assert!(!sim.tracker.contains(job));
}

#[test]
fn untracking_while_the_end_is_being_written_changes_nothing() {
    let mut sim = Sim::new(|_, _| (100, told(ObservedState::Succeeded)));
    sim.writes(|_| (MINUTE, Fate::Commit));
    let job = sim.add("dune");
    sim.run_until(10 * SECOND);
    sim.untrack(job);
    sim.run_until(10 * MINUTE);
    assert_eq!(sim.states(job), ["registered", "succeeded"]);
    assert!(!sim.tracker.contains(job));
}

#[test]
fn untracking_is_not_forgotten_when_the_write_before_it_is_refused() {
    // The store has the change already, or somebody else's, twice.
    let cases: [(Fate, &[State]); 2] =
        [(Fate::CommitUnheard, &[]), (Fate::Commit, &[State::Unknown, State::Pending])];
    for (fate, meddled) in cases {
        let (mut sim, job) = moving_with(fate);
        sim.untrack(job);
        for state in meddled {
            sim.store.get_mut(&job).expect("there").meddle(*state);
            sim.run_until(sim.now + MINUTE);
        }
        let (asked, state) = (sim.requests.len(), sim.state(job));
        sim.run_until(sim.now + 2 * MINUTE);
        assert_eq!(sim.states(job).last(), Some(&"untracked"), "{fate:?} {:?}", sim.states(job));
        assert_eq!(sim.requests.len(), asked, "it is asked no more, {state}");
        assert!(!sim.tracker.contains(job));
    }
}

#[test]
fn a_job_whose_untracking_is_refused_while_it_is_asked_is_not_asked_twice_at_once() {
    let mut sim = Sim::new(|_, _| (20 * SECOND, told(ObservedState::Running)));
    sim.writes(|_| (SECOND, Fate::Commit));
    let job = sim.add("dune");
    sim.run_until(10 * SECOND);
    sim.untrack(job);
    for state in [State::Pending, State::Unknown] {
        sim.store.get_mut(&job).expect("there").meddle(state);
        sim.run_until(sim.now + SECOND);
    }
    assert!(sim.tracker.contains(job), "refused twice");
    sim.run_until(HOUR);
    assert_eq!(sim.states(job).last(), Some(&"running"), "the answer under way was heard");
}

#[test]
fn words_are_written_as_they_come() {
    let mut sim = Sim::new(|_, at| {
        let word = if (at / HOUR).is_multiple_of(2) { "RUNNING" } else { "SCALING" };
        (100, told_word(ObservedState::Running, word))
    });
    let job = sim.add("dune");
    sim.run_until(4 * HOUR - MINUTE);
    let words: Vec<_> =
        sim.store[&job].history[1..].iter().map(|row| row.word.as_deref()).collect();
    assert_eq!(words, ["RUNNING", "SCALING", "RUNNING", "SCALING"].map(Some));
}
