//! A provider that gets another name while it is asked: nothing is lost, doubled or forgotten, and
//! the service sees no difference.

use std::time::Duration;

use jobtrack::job::{Answer, JobId, ObservedState, OutageEdge, Transition, UtcTime};
use jobtrack::policy::Backoff;
use jobtrack::tracker::{Input, ProviderSettings};

use super::fixtures::{Fate, HOUR, MINUTE, SECOND, settings, told, transient};
use super::simulation::Sim;

const BEGIN_MS: i64 = 1_800_000_000_000;

/// A provider of this name whose jobs are asked every ten seconds.
fn lake(name: &str, lists: bool) -> ProviderSettings {
    let pace = Duration::from_secs(10);
    let backoff = Backoff { min: pace, max: pace };
    ProviderSettings { requests_per_minute: 100, backoff, supports_list: lists, ..settings(name) }
}

/// A service that knows each job's place, and ends one after the other within half an hour.
fn answer(job: JobId, at: u64) -> Answer {
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
    let mut answer = told(said);
    if let Ok(seen) = &mut answer.result {
        seen.list_time = Some(UtcTime::from_millis(BEGIN_MS + job.0 * 1000));
    }
    answer
}

/// Fifty jobs of the provider `old`; answers and writes take their time.
fn fleet(lists: bool) -> Sim {
    let mut sim = Sim::with(vec![lake("old", lists)], |job, at| (3 * SECOND, answer(job, at)));
    sim.strangers = 3;
    sim.check_every = 7;
    sim.writes(|_| (2 * SECOND, Fate::Commit));
    for _ in 0..50 {
        sim.add("old");
    }
    sim
}

/// What was told of each job, without the times at which we looked.
fn histories(sim: &Sim) -> Vec<Vec<String>> {
    let row = |row: &Transition| format!("{} {:?} {:?}", row.to, row.word, row.evidence);
    sim.store.values().map(|job| job.history.iter().map(row).collect()).collect()
}

/// Who is reported.
fn names(sim: &Sim) -> Vec<String> {
    let now = jobtrack::job::MonotonicTime::from_millis(sim.now);
    sim.tracker.report(now).iter().map(|lane| lane.provider.to_string()).collect()
}

#[test]
fn at_whatever_moment_it_is_renamed_its_jobs_live_on_and_no_minute_holds_too_much() {
    for lists in [false, true] {
        let mut as_it_was = fleet(lists);
        as_it_was.run_to_the_end();
        assert_eq!(as_it_was.pages > 0, lists);
        let (mut under_way, mut unwritten, mut due) = (0, 0, 0);
        for moment in (0..30).map(|nth| nth * 20 * SECOND + nth * 97) {
            let mut sim = fleet(lists);
            sim.run_until(moment);
            let before = sim.report("old");
            sim.rename("old", "new", vec![lake("new", lists)]);
            let after = sim.report("new");
            assert_eq!(after.active_jobs, before.active_jobs);
            assert!(after.in_flight >= before.in_flight, "at {moment}: {after:?}");
            assert!(
                after.requests_last_minute >= before.requests_last_minute,
                "at {moment}: {after:?}"
            );
            assert_eq!(names(&sim), ["new"], "at {moment}");
            under_way += before.in_flight;
            due += before.due_polls;
            unwritten += sim.store.keys().filter(|job| sim.tracker.is_committing(**job)).count();
            sim.run_to_the_end();
            assert!(histories(&sim) == histories(&as_it_was), "at {moment}");
            sim.assert_no_minute_exceeds("new", 100);
            assert_eq!(sim.report("new").in_flight, 0);
        }
        assert!(under_way > 0 && unwritten > 0 && due > 0, "{under_way} {unwritten} {due}");
    }
}

#[test]
fn the_jobs_of_two_providers_come_under_one_name() {
    for account in [None, Some("huawei".to_owned())] {
        let of = |name, max_in_flight| ProviderSettings {
            account: account.clone(),
            max_in_flight,
            ..lake(name, false)
        };
        let both = vec![of("lake", 4), of("tank", 4)];
        let mut sim = Sim::with(both, |job, at| (SECOND, answer(job, at)));
        for _ in 0..6 {
            sim.add("lake");
            sim.add("tank");
        }
        sim.run_until(5 * MINUTE);
        sim.rename("tank", "lake", vec![of("lake", 8)]);
        assert_eq!(names(&sim), ["lake"]);
        sim.run_to_the_end();
        let over = sim.store.values().all(|row| row.job.current_state.state.is_terminal());
        assert!(over, "{account:?}: all are told");
        sim.assert_no_minute_exceeds("lake", 100);
    }
}

#[test]
fn who_waits_by_hand_keeps_his_turn() {
    let slow = |name| ProviderSettings { requests_per_minute: 1, ..lake(name, false) };
    let mut sim = Sim::with(vec![slow("old")], |_, _| (100, told(ObservedState::Running)));
    let jobs: Vec<_> = (0..6).map(|_| sim.add("old")).collect();
    sim.run_until(30 * SECOND);
    sim.poll_by_hand(jobs[4]);
    sim.poll_by_hand(jobs[2]);
    assert_eq!(sim.asked_at(jobs[4]), [0; 0], "there is no room in this minute");
    sim.rename("old", "new", vec![slow("new")]);
    let before = sim.requests.len();
    sim.run_until(5 * MINUTE);
    let asked: Vec<_> = sim.requests[before..].iter().map(|request| request.job).collect();
    assert_eq!(asked[..2], [jobs[4], jobs[2]]);
}

#[test]
fn an_answer_to_a_question_of_the_former_name_is_heard_though_the_name_is_used_anew() {
    let mut sim =
        Sim::with(vec![lake("old", false)], |_, _| (10 * SECOND, told(ObservedState::Running)));
    let job = sim.add("old");
    sim.run_until(SECOND);
    sim.rename("old", "new", vec![lake("new", false)]);
    sim.configure(vec![lake("new", false), lake("old", false)]);
    let fresh = sim.add("old");
    sim.run_until(2 * SECOND);
    assert_eq!((sim.report("new").in_flight, sim.report("old").in_flight), (1, 1));
    sim.run_until(11 * SECOND);
    assert_eq!(sim.states(job), ["registered", "running"]);
    assert_eq!((sim.report("new").in_flight, sim.report("old").in_flight), (0, 1));
    sim.run_until(HOUR);
    assert_eq!(sim.states(fresh), ["registered", "running"]);
    // Once more, and the answers of both former names have one heir.
    sim.rename("new", "last", vec![lake("last", false), lake("old", false)]);
    sim.rename("old", "last", vec![lake("last", false)]);
    assert_eq!(names(&sim), ["last"]);
    assert_eq!(sim.report("last").active_jobs, 2);
    sim.run_until(2 * HOUR);
    assert!([job, fresh].iter().all(|job| sim.asked_at(*job).iter().any(|at| *at > 119 * MINUTE)));
}

#[test]
fn an_outage_that_lasts_goes_on_and_ends_once() {
    let mut sim = Sim::with(vec![lake("old", false), lake("other", false)], |_, at| {
        let out = (10 * MINUTE..30 * MINUTE).contains(&at);
        (100, if out { Answer::failed(transient()) } else { told(ObservedState::Running) })
    });
    sim.add("old");
    sim.run_until(20 * MINUTE);
    let since = sim.report("old").outage_since;
    sim.rename("old", "new", vec![lake("new", false)]);
    assert!(since.is_some() && sim.report("new").outage_since == since);
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
    let mut sim = Sim::with(vec![lake("lake", false), lake("tank", false)], |job, at| {
        let out = job.0 == 1 && at < 10 * MINUTE;
        (100, if out { Answer::failed(transient()) } else { told(ObservedState::Running) })
    });
    sim.add("tank");
    sim.add("lake");
    sim.run_until(9 * MINUTE);
    sim.outages.clear();
    sim.rename("tank", "lake", vec![lake("lake", false)]);
    sim.run_until(HOUR);
    assert!(matches!(sim.outages[..], [OutageEdge::Ended { .. }]), "{:?}", sim.outages);
}

#[test]
fn a_name_that_was_never_heard_of_changes_nothing() {
    let mut sim = Sim::with(vec![lake("new", false)], |_, _| (100, told(ObservedState::Running)));
    sim.add("new");
    let [from, to] = ["old", "new"].map(|name| name.parse().expect("a name"));
    sim.step(Input::ProviderRenamed { from, to });
    assert_eq!(names(&sim), ["new"]);
    sim.run_until(MINUTE);
    assert!(sim.requests.len() > 3);
}

#[test]
fn who_is_to_be_on_a_further_page_is_asked_for_by_it() {
    let lane = |name| ProviderSettings { requests_per_minute: 10, ..lake(name, true) };
    let mut sim = Sim::with(vec![lane("old")], |job, at| (200, answer(job, at / 10)));
    for _ in 0..50 {
        sim.add("old");
    }
    sim.run_until(10 * MINUTE);
    let before = sim.pages;
    assert!(before > 0, "all places are known");
    // Now others fill the list: a page shows a tenth of those that it is asked for.
    sim.strangers = 9;
    while sim.pages == before {
        sim.run_until(sim.now + 100);
    }
    // It has come; the next one waits for its time.
    sim.run_until(sim.now + SECOND);
    assert_eq!((sim.pages, sim.report("old").in_flight), (before + 1, 0));
    sim.rename("old", "new", vec![lane("new")]);
    // Whoever was forgotten there would never be asked again.
    sim.run_to_the_end();
}

#[test]
fn a_job_that_is_asked_under_the_former_name_is_not_asked_twice_at_once() {
    let mut sim =
        Sim::with(vec![lake("old", false)], |_, _| (10 * SECOND, told(ObservedState::Running)));
    let job = sim.add("old");
    sim.run_until(SECOND);
    sim.rename("old", "new", vec![lake("new", false)]);
    sim.untrack(job);
    sim.run_until(2 * SECOND);
    assert_eq!(sim.states(job), ["registered", "untracked"]);
    // The simulator would not take a second question.
    sim.poll_by_hand(job);
    sim.run_until(MINUTE);
    assert_eq!(sim.asked_at(job).len(), 1, "the answer under way was the news asked for");
}
