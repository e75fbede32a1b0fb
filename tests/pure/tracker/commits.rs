//! Commits of changes: slow commits, rejected ones, and commits whose success is not reported.

use jobtrack::job::{JobId, ObservedState, State};
use jobtrack::tracker::{FailedRow, Input};

use super::fixtures::{
    HOUR, MINUTE, SECOND, WriteOutcome, answer_with_provider_state, answer_with_state,
};
use super::simulation::Simulation;

/// A job that is pending for two minutes and then runs. The commit of `running` takes a minute and is in
/// flight.
fn job_with_pending_change() -> (Simulation, JobId) {
    job_with_write_outcome(WriteOutcome::Committed)
}

/// The same with the given outcome of that commit.
fn job_with_write_outcome(fate: WriteOutcome) -> (Simulation, JobId) {
    let mut sim = Simulation::new(|_, at| {
        (
            100,
            answer_with_state(if at < 2 * MINUTE {
                ObservedState::Pending
            } else {
                ObservedState::Running
            }),
        )
    });
    sim.set_write_outcome(move |change| match change.new_state.state() {
        State::Running => (MINUTE, fate),
        _ => (5, WriteOutcome::Committed),
    });
    let job = sim.add_job("dune");
    while sim.poll_times(job).last().is_none_or(|polled| *polled < 2 * MINUTE) {
        assert!(sim.now < 10 * MINUTE, "the job is not polled again");
        sim.run_until(sim.now + 50);
    }
    sim.run_until(sim.now + SECOND);
    assert_eq!(sim.state(job), State::Pending, "decided, not committed");
    (sim, job)
}

#[test]
fn a_job_is_not_polled_until_its_change_is_committed() {
    let (mut sim, job) = job_with_pending_change();
    let answered = sim.requests.last().and_then(|request| request.answered_at).expect("answered");
    sim.poll_on_demand(job);
    sim.run_until(answered + HOUR);
    let next = sim.poll_times(job).into_iter().find(|at| *at > answered).expect("another poll");
    assert_eq!(next, answered + MINUTE, "the job is overdue when the commit ends");
    assert_eq!(sim.state_history(job), ["registered", "pending", "running"]);
}

#[test]
fn fault_47_a_change_on_a_different_state_is_planned_again() {
    let (mut sim, job) = job_with_pending_change();
    sim.store.get_mut(&job).expect("there").change_externally(State::Unknown);
    sim.run_until(sim.now + 3 * MINUTE);
    assert_eq!(sim.state_history(job), ["registered", "pending", "unknown", "running"]);
    let anomalies = &sim.store[&job].anomalies;
    assert_eq!(anomalies.len(), 1);
    assert_eq!(anomalies[0].description, "the database holds unknown; expected pending");
}

#[test]
fn a_change_rejected_twice_is_dropped_until_the_next_answer() {
    let (mut sim, job) = job_with_pending_change();
    sim.store.get_mut(&job).expect("there").change_externally(State::Unknown);
    sim.run_until(sim.now + MINUTE);
    sim.store.get_mut(&job).expect("there").change_externally(State::Registered);
    let polled = sim.requests.len();
    sim.run_until(sim.now + MINUTE);
    assert_eq!(sim.store[&job].anomalies.len(), 2);
    assert!(
        sim.requests.len() > polled,
        "the job is polled; the change is not planned a third time"
    );
    sim.run_until(sim.now + HOUR);
    assert_eq!(sim.state_history(job).last(), Some(&"running"));
    assert_eq!(sim.store[&job].anomalies.len(), 2);
}

#[test]
fn a_job_ended_externally_stays_ended() {
    let (mut sim, job) = job_with_pending_change();
    sim.store.get_mut(&job).expect("there").change_externally(State::Cancelled);
    sim.run_until(sim.now + HOUR);
    assert_eq!(sim.state_history(job), ["registered", "pending", "cancelled"]);
    assert!(!sim.tracker.contains(job));
    assert_eq!(sim.store[&job].anomalies.len(), 1);
}

#[test]
fn a_job_that_is_gone_from_the_database_is_dropped() {
    let (mut sim, job) = job_with_pending_change();
    sim.store.remove(&job);
    sim.run_until(sim.now + HOUR);
    assert!(!sim.tracker.contains(job));
    assert_eq!(sim.provider_report("dune").active_jobs, 0);
}

#[test]
fn an_unacknowledged_commit_is_written_once() {
    let mut sim = Simulation::new(|_, at| {
        let observed = match at {
            0..MINUTE => ObservedState::Pending,
            MINUTE..HOUR => ObservedState::Running,
            _ => ObservedState::Succeeded,
        };
        (100, answer_with_state(observed))
    });
    sim.set_write_outcome(|_| (5, WriteOutcome::CommittedUnacknowledged));
    let job = sim.add_job("dune");
    sim.run_until_all_finished();
    assert_eq!(sim.state_history(job), ["registered", "pending", "running", "succeeded"]);
    assert!(sim.store[&job].anomalies.is_empty(), "{:?}", sim.store[&job].anomalies);
}

#[test]
fn untracking_while_writing_follows_the_write() {
    let (mut sim, job) = job_with_pending_change();
    sim.untrack(job);
    sim.untrack(job);
    sim.run_until(sim.now + 2 * MINUTE);
    assert_eq!(sim.state_history(job), ["registered", "pending", "running", "untracked"]);
    assert!(!sim.tracker.contains(job));
}

#[test]
fn untracking_while_the_end_is_being_written_changes_nothing() {
    let mut sim = Simulation::new(|_, _| (100, answer_with_state(ObservedState::Succeeded)));
    sim.set_write_outcome(|_| (MINUTE, WriteOutcome::Committed));
    let job = sim.add_job("dune");
    sim.run_until(10 * SECOND);
    sim.untrack(job);
    sim.run_until(10 * MINUTE);
    assert_eq!(sim.state_history(job), ["registered", "succeeded"]);
    assert!(!sim.tracker.contains(job));
}

#[test]
fn untracking_is_kept_when_the_preceding_write_is_rejected() {
    // The store holds the change already, or another program changed the job twice.
    let cases: [(WriteOutcome, &[State]); 2] = [
        (WriteOutcome::CommittedUnacknowledged, &[]),
        (WriteOutcome::Committed, &[State::Unknown, State::Pending]),
    ];
    for (fate, meddled) in cases {
        let (mut sim, job) = job_with_write_outcome(fate);
        sim.untrack(job);
        for state in meddled {
            sim.store.get_mut(&job).expect("there").change_externally(*state);
            sim.run_until(sim.now + MINUTE);
        }
        let (polled, state) = (sim.requests.len(), sim.state(job));
        sim.run_until(sim.now + 2 * MINUTE);
        assert_eq!(
            sim.state_history(job).last(),
            Some(&"untracked"),
            "{fate:?} {:?}",
            sim.state_history(job)
        );
        assert_eq!(sim.requests.len(), polled, "the job is not polled again, {state}");
        assert!(!sim.tracker.contains(job));
    }
}

#[test]
fn a_job_whose_untracking_is_rejected_is_not_polled_concurrently() {
    let mut sim = Simulation::new(|_, _| (20 * SECOND, answer_with_state(ObservedState::Running)));
    sim.set_write_outcome(|_| (SECOND, WriteOutcome::Committed));
    let job = sim.add_job("dune");
    sim.run_until(10 * SECOND);
    sim.untrack(job);
    for state in [State::Pending, State::Unknown] {
        sim.store.get_mut(&job).expect("there").change_externally(state);
        sim.run_until(sim.now + SECOND);
    }
    assert!(sim.tracker.contains(job), "two rejections");
    sim.run_until(HOUR);
    assert_eq!(sim.state_history(job).last(), Some(&"running"), "the answer in flight is applied");
}

#[test]
fn provider_states_are_written_verbatim() {
    let mut sim = Simulation::new(|_, at| {
        let provider_state = if (at / HOUR).is_multiple_of(2) { "RUNNING" } else { "SCALING" };
        (100, answer_with_provider_state(ObservedState::Running, provider_state))
    });
    let job = sim.add_job("dune");
    sim.run_until(4 * HOUR - MINUTE);
    let provider_states: Vec<_> =
        sim.store[&job].history[1..].iter().map(|row| row.provider_state.as_deref()).collect();
    assert_eq!(provider_states, ["RUNNING", "SCALING", "RUNNING", "SCALING"].map(Some));
}

#[test]
fn fault_47_a_job_has_one_request_in_flight_whatever_the_latencies() {
    // The simulation checks it at each request, and that each history is legal. A late answer of `pending`
    // must not follow an earlier one of `running`.
    for seed in 0..20 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut sim = Simulation::new(move |_, at| {
            let state =
                if at < 30 * SECOND { ObservedState::Pending } else { ObservedState::Running };
            (rng.u64(1..60) * SECOND, answer_with_state(state))
        });
        let mut rng = fastrand::Rng::with_seed(seed);
        let jobs: Vec<_> = (0..5).map(|_| sim.add_job("dune")).collect();
        for _ in 0..200 {
            sim.run_until(sim.now + rng.u64(0..5) * SECOND);
            let job = jobs[rng.usize(0..jobs.len())];
            if rng.u8(0..10) == 0 {
                sim.untrack(job);
            } else {
                sim.poll_on_demand(job);
            }
        }
        for job in jobs {
            let states = sim.state_history(job);
            let last_pending = states.iter().rposition(|state| *state == "pending");
            let first_running = states.iter().position(|state| *state == "running");
            if let (Some(pending), Some(running)) = (last_pending, first_running) {
                assert!(pending < running, "{seed}: {states:?}");
            }
        }
    }
}

#[test]
fn a_job_whose_change_cannot_be_written_is_not_polled_until_it_is_tracked_again() {
    let (mut sim, job) = job_with_pending_change();
    sim.drop_write(job);
    sim.handle(Input::WriteFailed(job, FailedRow::Change));
    assert!(!sim.tracker.contains(job));
    let polled = sim.requests.len();
    sim.run_until(sim.now + HOUR);
    assert_eq!(sim.requests.len(), polled);
    assert_eq!(sim.state_history(job), ["registered", "pending"]);
    // A person orders a poll: the job is tracked again.
    sim.poll_on_demand(job);
    sim.run_until(sim.now + HOUR);
    assert_eq!(sim.state_history(job), ["registered", "pending", "running"]);
}

#[test]
fn a_job_whose_poll_record_cannot_be_written_leaves_the_tracker() {
    let mut sim = Simulation::new(|_, _| (100, answer_with_state(ObservedState::Running)));
    let job = sim.add_job("dune");
    sim.run_until(MINUTE);
    sim.handle(Input::WriteFailed(job, FailedRow::PollRecord));
    assert!(!sim.tracker.contains(job));
    let polled = sim.requests.len();
    sim.run_until(HOUR);
    assert_eq!(sim.requests.len(), polled);
}

#[test]
fn a_failed_poll_record_does_not_remove_a_job_whose_change_may_still_be_committed() {
    let (mut sim, job) = job_with_pending_change();
    sim.handle(Input::WriteFailed(job, FailedRow::PollRecord));
    assert!(sim.tracker.contains(job));
    sim.run_until(sim.now + HOUR);
    assert_eq!(sim.state_history(job), ["registered", "pending", "running"]);
    assert!(sim.poll_times(job).last().is_some_and(|at| *at > sim.now - 10 * MINUTE), "polled on");
}

#[test]
fn a_failed_write_of_a_job_that_is_not_tracked_has_no_effect() {
    let mut sim = Simulation::new(|_, _| (100, answer_with_state(ObservedState::Running)));
    sim.add_job("dune");
    sim.run_until(MINUTE);
    for row in [FailedRow::Change, FailedRow::PollRecord] {
        sim.handle(Input::WriteFailed(JobId(999), row));
    }
    assert_eq!(sim.provider_report("dune").active_jobs, 1);
}
