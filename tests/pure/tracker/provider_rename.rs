//! A provider that gets another name while it is asked: nothing is lost, doubled or forgotten, and
//! the service sees no difference.

use std::time::Duration;

use jobtrack::job::{Answer, JobId, ObservedState, OutageEdge, Transition, UtcTime};
use jobtrack::policy::Backoff;
use jobtrack::tracker::{Input, ProviderSettings};

use super::fixtures::{
    HOUR, MINUTE, SECOND, WriteOutcome, answer_with_state, default_settings, transient_error,
};
use super::simulation::Simulation;

const EPOCH_MS: i64 = 1_800_000_000_000;

/// A provider of this name whose jobs are asked every ten seconds.
fn dli_settings(name: &str, lists: bool) -> ProviderSettings {
    let pace = Duration::from_secs(10);
    let backoff = Backoff { min: pace, max: pace };
    ProviderSettings {
        requests_per_minute: 100,
        backoff,
        supports_list: lists,
        ..default_settings(name)
    }
}

/// A service that knows each job's place, and ends one after the other within half an hour.
fn answer_at(job: JobId, at: u64) -> Answer {
    let nth = u64::try_from(job.0).expect("positive");
    let begins = 2 * MINUTE + nth * 7919 % 600 * SECOND;
    let ends = begins + 5 * MINUTE + nth * 104_729 % 600 * SECOND;
    let said = if at < begins {
        ObservedState::Pending
    } else if at < ends {
        ObservedState::Running
    } else {
        ObservedState::Succeeded
    };
    let mut answer = answer_with_state(said);
    if let Ok(seen) = &mut answer.result {
        seen.list_time = Some(UtcTime::from_millis(EPOCH_MS + job.0 * 1000));
    }
    answer
}

/// Fifty jobs of the provider `old`; answers and writes take their time.
fn simulate_jobs(lists: bool) -> Simulation {
    let mut sim = Simulation::with_settings(vec![dli_settings("old", lists)], |job, at| {
        (3 * SECOND, answer_at(job, at))
    });
    sim.foreign_rows_per_job = 3;
    sim.report_check_interval = 7;
    sim.set_write_outcome(|_| (2 * SECOND, WriteOutcome::Committed));
    for _ in 0..50 {
        sim.add_job("old");
    }
    sim
}

/// What was told of each job, without the times at which we looked.
fn state_histories(sim: &Simulation) -> Vec<Vec<String>> {
    let row = |row: &Transition| format!("{} {:?} {:?}", row.to, row.word, row.evidence);
    sim.store.values().map(|job| job.history.iter().map(row).collect()).collect()
}

/// Who is reported.
fn provider_names(sim: &Simulation) -> Vec<String> {
    let now = jobtrack::job::MonotonicTime::from_millis(sim.now);
    sim.tracker.report(now).iter().map(|lane| lane.provider.to_string()).collect()
}

#[test]
fn renaming_at_any_time_keeps_jobs_and_the_rate_limit() {
    for lists in [false, true] {
        let mut as_it_was = simulate_jobs(lists);
        as_it_was.run_until_all_finished();
        assert_eq!(as_it_was.page_count > 0, lists);
        let (mut under_way, mut unwritten, mut due) = (0, 0, 0);
        for moment in (0..30).map(|nth| nth * 20 * SECOND + nth * 97) {
            let mut sim = simulate_jobs(lists);
            sim.run_until(moment);
            let before = sim.provider_report("old");
            sim.rename("old", "new", vec![dli_settings("new", lists)]);
            let after = sim.provider_report("new");
            assert_eq!(after.active_jobs, before.active_jobs);
            assert!(after.in_flight >= before.in_flight, "at {moment}: {after:?}");
            assert!(
                after.requests_last_minute >= before.requests_last_minute,
                "at {moment}: {after:?}"
            );
            assert_eq!(provider_names(&sim), ["new"], "at {moment}");
            under_way += before.in_flight;
            due += before.due_polls;
            unwritten += sim.store.keys().filter(|job| sim.tracker.is_committing(**job)).count();
            sim.run_until_all_finished();
            assert!(state_histories(&sim) == state_histories(&as_it_was), "at {moment}");
            sim.assert_rate_limit("new", 100);
            assert_eq!(sim.provider_report("new").in_flight, 0);
        }
        assert!(under_way > 0 && unwritten > 0 && due > 0, "{under_way} {unwritten} {due}");
    }
}

#[test]
fn two_providers_can_be_merged_under_one_name() {
    for account in [None, Some("huawei".to_owned())] {
        let of = |name, max_in_flight| ProviderSettings {
            account: account.clone(),
            max_in_flight,
            ..dli_settings(name, false)
        };
        let both = vec![of("lake", 4), of("tank", 4)];
        let mut sim = Simulation::with_settings(both, |job, at| (SECOND, answer_at(job, at)));
        for _ in 0..6 {
            sim.add_job("lake");
            sim.add_job("tank");
        }
        sim.run_until(5 * MINUTE);
        sim.rename("tank", "lake", vec![of("lake", 8)]);
        assert_eq!(provider_names(&sim), ["lake"]);
        sim.run_until_all_finished();
        let over = sim.store.values().all(|row| row.job.current_state.state.is_terminal());
        assert!(over, "{account:?}: all are told");
        sim.assert_rate_limit("lake", 100);
    }
}

#[test]
fn a_waiting_on_demand_poll_survives_the_rename() {
    let slow = |name| ProviderSettings { requests_per_minute: 1, ..dli_settings(name, false) };
    let mut sim = Simulation::with_settings(vec![slow("old")], |_, _| {
        (100, answer_with_state(ObservedState::Running))
    });
    let jobs: Vec<_> = (0..6).map(|_| sim.add_job("old")).collect();
    sim.run_until(30 * SECOND);
    sim.poll_on_demand(jobs[4]);
    sim.poll_on_demand(jobs[2]);
    assert_eq!(sim.poll_times(jobs[4]), [0; 0], "there is no room in this minute");
    sim.rename("old", "new", vec![slow("new")]);
    let before = sim.requests.len();
    sim.run_until(5 * MINUTE);
    let asked: Vec<_> = sim.requests[before..].iter().map(|request| request.job).collect();
    assert_eq!(asked[..2], [jobs[4], jobs[2]]);
}

#[test]
fn an_answer_to_a_request_under_the_previous_name_is_applied_even_if_the_name_is_reused() {
    let mut sim = Simulation::with_settings(vec![dli_settings("old", false)], |_, _| {
        (10 * SECOND, answer_with_state(ObservedState::Running))
    });
    let job = sim.add_job("old");
    sim.run_until(SECOND);
    sim.rename("old", "new", vec![dli_settings("new", false)]);
    sim.configure(vec![dli_settings("new", false), dli_settings("old", false)]);
    let fresh = sim.add_job("old");
    sim.run_until(2 * SECOND);
    assert_eq!(
        (sim.provider_report("new").in_flight, sim.provider_report("old").in_flight),
        (1, 1)
    );
    sim.run_until(11 * SECOND);
    assert_eq!(sim.state_history(job), ["registered", "running"]);
    assert_eq!(
        (sim.provider_report("new").in_flight, sim.provider_report("old").in_flight),
        (0, 1)
    );
    sim.run_until(HOUR);
    assert_eq!(sim.state_history(fresh), ["registered", "running"]);
    // Once more, and the answers of both former names have one heir.
    sim.rename("new", "last", vec![dli_settings("last", false), dli_settings("old", false)]);
    sim.rename("old", "last", vec![dli_settings("last", false)]);
    assert_eq!(provider_names(&sim), ["last"]);
    assert_eq!(sim.provider_report("last").active_jobs, 2);
    sim.run_until(2 * HOUR);
    assert!(
        [job, fresh].iter().all(|job| sim.poll_times(*job).iter().any(|at| *at > 119 * MINUTE))
    );
}

#[test]
fn an_ongoing_outage_continues_and_ends_once() {
    let mut sim = Simulation::with_settings(
        vec![dli_settings("old", false), dli_settings("other", false)],
        |_, at| {
            let out = (10 * MINUTE..30 * MINUTE).contains(&at);
            (
                100,
                if out {
                    Answer::failed(transient_error())
                } else {
                    answer_with_state(ObservedState::Running)
                },
            )
        },
    );
    sim.add_job("old");
    sim.run_until(20 * MINUTE);
    let since = sim.provider_report("old").outage_since;
    sim.rename("old", "new", vec![dli_settings("new", false)]);
    assert!(since.is_some() && sim.provider_report("new").outage_since == since);
    sim.run_until(HOUR);
    // The first good answer of a life ends whatever an earlier one may have left.
    let [
        OutageEdge::Ended { .. },
        OutageEdge::Began { .. },
        OutageEdge::Ended { failed_polls, .. },
    ] = &sim.outages[..]
    else {
        panic!("{:?}", sim.outages);
    };
    assert!(*failed_polls > 10, "those under both names: {failed_polls}");

    // A provider that answers takes over one that did not: the outage that came with it is ended.
    let mut sim = Simulation::with_settings(
        vec![dli_settings("lake", false), dli_settings("tank", false)],
        |job, at| {
            let out = job.0 == 1 && at < 10 * MINUTE;
            (
                100,
                if out {
                    Answer::failed(transient_error())
                } else {
                    answer_with_state(ObservedState::Running)
                },
            )
        },
    );
    sim.add_job("tank");
    sim.add_job("lake");
    sim.run_until(9 * MINUTE);
    sim.outages.clear();
    sim.rename("tank", "lake", vec![dli_settings("lake", false)]);
    sim.run_until(HOUR);
    assert!(matches!(sim.outages[..], [OutageEdge::Ended { .. }]), "{:?}", sim.outages);
}

#[test]
fn renaming_an_unknown_provider_changes_nothing() {
    let mut sim = Simulation::with_settings(vec![dli_settings("new", false)], |_, _| {
        (100, answer_with_state(ObservedState::Running))
    });
    sim.add_job("new");
    let [from, to] = ["old", "new"].map(|name| name.parse().expect("a name"));
    sim.handle(Input::ProviderRenamed { from, to });
    assert_eq!(provider_names(&sim), ["new"]);
    sim.run_until(MINUTE);
    assert!(sim.requests.len() > 3);
}

#[test]
fn jobs_on_later_list_pages_are_still_requested_after_the_rename() {
    let lane = |name| ProviderSettings { requests_per_minute: 10, ..dli_settings(name, true) };
    let mut sim =
        Simulation::with_settings(vec![lane("old")], |job, at| (200, answer_at(job, at / 10)));
    for _ in 0..50 {
        sim.add_job("old");
    }
    sim.run_until(10 * MINUTE);
    let before = sim.page_count;
    assert!(before > 0, "all places are known");
    // Now others fill the list: a page shows a tenth of those that it is asked for.
    sim.foreign_rows_per_job = 9;
    while sim.page_count == before {
        sim.run_until(sim.now + 100);
    }
    // It has come; the next one waits for its time.
    sim.run_until(sim.now + SECOND);
    assert_eq!((sim.page_count, sim.provider_report("old").in_flight), (before + 1, 0));
    sim.rename("old", "new", vec![lane("new")]);
    // Whoever was forgotten there would never be asked again.
    sim.run_until_all_finished();
}

#[test]
fn a_job_polled_under_the_previous_name_is_not_polled_concurrently() {
    let mut sim = Simulation::with_settings(vec![dli_settings("old", false)], |_, _| {
        (10 * SECOND, answer_with_state(ObservedState::Running))
    });
    let job = sim.add_job("old");
    sim.run_until(SECOND);
    sim.rename("old", "new", vec![dli_settings("new", false)]);
    sim.untrack(job);
    sim.run_until(2 * SECOND);
    assert_eq!(sim.state_history(job), ["registered", "untracked"]);
    // The simulator would not take a second question.
    sim.poll_on_demand(job);
    sim.run_until(MINUTE);
    assert_eq!(sim.poll_times(job).len(), 1, "the answer under way was the news asked for");
}
