//! Giving up: a job whose answers cannot be read while others are, and wall clocks that are wrong.

use std::time::Duration;

use jobtrack::job::{
    Answer, JobId, ObservedState, ProviderError, ProviderErrorKind, State, UtcTime,
};

use super::fixtures::{DAY, HOUR, MINUTE, answer_with_state};
use super::simulation::Simulation;

const FAILURES: [ProviderErrorKind; 5] = [
    ProviderErrorKind::Malformed,
    ProviderErrorKind::Transient,
    ProviderErrorKind::Auth,
    ProviderErrorKind::Misconfigured,
    ProviderErrorKind::QuotaExceeded,
];

fn failure(kind: ProviderErrorKind) -> Answer {
    Answer::failed(ProviderError::new(kind, "cannot be parsed"))
}

fn running() -> Answer {
    answer_with_state(ObservedState::Running)
}

#[test]
fn fault_70_a_job_that_alone_is_never_answered_is_given_up_with_the_reason() {
    for kind in FAILURES {
        let mut sim = Simulation::new(move |job, _| {
            (100, if job.0 == 1 { failure(kind) } else { running() })
        });
        let limit = Some(Duration::from_hours(2));
        let unread = sim.add_job_giving_up_after("dune", limit);
        (0..5).for_each(|_| _ = sim.add_job("dune"));
        sim.run_until(2 * HOUR - MINUTE);
        assert_eq!(sim.state_history(unread), ["registered"], "{kind:?}");
        sim.run_until(3 * HOUR);
        assert_eq!(sim.state_history(unread), ["registered", "untracked"], "{kind:?}");
        let why = sim.store[&unread].history[1].message.clone().expect("a reason");
        assert!(why.starts_with("given up: unfinished 2h after registration"), "{why}");
        assert!(why.contains("cannot be parsed"), "{why}");
        assert!(!sim.tracker.contains(unread));
    }
}

#[test]
fn fault_70_an_outage_gives_up_no_job() {
    for kind in FAILURES {
        let mut sim =
            Simulation::new(move |_, at| (100, if at < HOUR { running() } else { failure(kind) }));
        let limit = Some(Duration::from_hours(2));
        (0..5).for_each(|_| _ = sim.add_job_giving_up_after("dune", limit));
        sim.run_until(5 * DAY);
        assert_eq!(sim.active_rows().count(), 5, "{kind:?}");
    }
}

#[test]
fn fault_70_the_only_job_of_a_provider_is_not_given_up_without_an_answer() {
    let mut sim = Simulation::new(|_, _| (100, failure(ProviderErrorKind::Malformed)));
    let job = sim.add_job_giving_up_after("dune", Some(Duration::from_hours(2)));
    sim.run_until(5 * DAY);
    assert_eq!(sim.state(job), State::Registered);
}

#[test]
fn fault_70_a_few_failures_amid_answers_do_not_give_up_a_job() {
    // Every fourth poll of each job is answered.
    let mut counts = std::collections::HashMap::<JobId, u32>::new();
    let mut sim = Simulation::new(move |job, _| {
        let count = counts.entry(job).or_default();
        *count += 1;
        let answered = count.is_multiple_of(4);
        (100, if answered { running() } else { failure(ProviderErrorKind::Malformed) })
    });
    let patient = Some(Duration::from_hours(400));
    (0..5).for_each(|_| _ = sim.add_job_giving_up_after("dune", patient));
    sim.run_until(5 * DAY);
    assert_eq!(sim.active_rows().count(), 5);
}

/// Answers with a `Date` that is right although the wall clock is wrong.
fn dated(answer: Answer, at: u64) -> Answer {
    let ms = 1_800_000_000_000 + i64::try_from(at).expect("short");
    Answer { server_date: Some(UtcTime::from_millis(ms)), ..answer }
}

#[test]
fn fault_67_a_wall_clock_that_jumps_gives_up_no_job() {
    let day_ms = 86_400_000;
    for has_date in [true, false] {
        for jump in [400 * day_ms, 40 * day_ms, day_ms / 8, -400 * day_ms] {
            let mut sim = Simulation::new(move |_, at| {
                (100, if has_date { dated(running(), at) } else { running() })
            });
            let limit = Some(Duration::from_hours(2));
            let jobs: Vec<_> =
                (0..10).map(|_| sim.add_job_giving_up_after("dune", limit)).collect();
            sim.run_until(HOUR);
            // For eight seconds, a minute, and for good.
            for seconds in [8, 60, 1800] {
                sim.wall_offset_ms = jump;
                for job in &jobs {
                    sim.poll_on_demand(*job);
                }
                sim.run_until(sim.now + seconds * 1000);
                if seconds < 1800 {
                    sim.wall_offset_ms = 0;
                }
                sim.run_until(sim.now + MINUTE);
            }
            assert_eq!(sim.active_rows().count(), 10, "{has_date} {jump}");
            // They are given up in time, unless the wall clock stays behind and no provider shows it.
            sim.run_until(3 * HOUR);
            let left = sim.active_rows().count();
            assert_eq!(left, if jump > 0 || has_date { 0 } else { 10 }, "{has_date} {jump}");
        }
    }
}

#[test]
fn fault_67_a_wall_clock_that_is_ahead_at_the_start_gives_up_no_job() {
    for has_date in [true, false] {
        let mut sim = Simulation::new(move |_, at| {
            (100, if has_date { dated(running(), at) } else { running() })
        });
        let jobs: Vec<_> = (0..5).map(|_| sim.add_job("dune")).collect();
        sim.run_until(DAY);
        let last = sim.wall_time();
        sim.wall_offset_ms = 400 * 86_400_000;
        sim.restart_after(last);
        sim.run_until(2 * DAY - HOUR);
        assert_eq!(sim.active_rows().count(), jobs.len(), "{has_date}");
        let certain = sim.certain_time();
        assert_eq!(certain.is_some(), has_date);
        // Without any other witness, a clock that has been steady for a day is believed.
        sim.run_until(3 * DAY);
        assert_eq!(sim.active_rows().count(), if has_date { jobs.len() } else { 0 });
    }
}

#[test]
fn fault_67_a_job_added_while_the_clock_was_behind_is_not_given_up_when_it_is_set() {
    let mut sim = Simulation::new(|_, at| (100, dated(running(), at)));
    sim.wall_offset_ms = -40 * 86_400_000;
    let job = sim.add_job("dune");
    sim.run_until(HOUR);
    sim.wall_offset_ms = 0;
    sim.run_until(DAY);
    assert_eq!(sim.state(job), State::Running);
}
