//! Many jobs by one request: what pages of a list cost and tell, beside asking each job by itself.

use std::time::Duration;

use jobtrack::job::{Answer, JobId, ObservedState, ProviderError, State, Transition, UtcTime};
use jobtrack::policy::Backoff;
use jobtrack::tracker::ProviderSettings;

use super::fixtures::{DAY, HOUR, MINUTE, SECOND, settings, told, transient};
use super::simulation::Sim;

/// The simulation's beginning, by the calendar.
const BEGIN_MS: i64 = 1_800_000_000_000;

fn lake(lists: bool) -> ProviderSettings {
    ProviderSettings {
        supports_list: lists,
        requests_per_minute: 6000,
        backoff: Backoff { min: Duration::from_mins(1), max: Duration::from_mins(1) },
        ..settings("lake")
    }
}

/// The `nth` of a thousand that were submitted within a day; each ends between six and nine hours on.
fn answer(job: JobId, at: u64) -> Answer {
    let nth = u64::try_from(job.0).expect("positive");
    let ends = 6 * HOUR + (nth * 7919 % 1000) * 10 * SECOND;
    let mut answer =
        told(if at >= ends { ObservedState::Succeeded } else { ObservedState::Running });
    if let Ok(seen) = &mut answer.result {
        let ago = DAY - nth * DAY / 1000;
        let ago = i64::try_from(ago).expect("a day");
        seen.list_time = Some(UtcTime::from_millis(BEGIN_MS - ago));
    }
    answer
}

fn fleet(lists: bool, strangers: u64) -> Sim {
    let mut sim = Sim::with(vec![lake(lists)], |job, at| (200, answer(job, at)));
    sim.check_every = 10_000;
    sim.strangers = strangers;
    for _ in 0..1000 {
        sim.add("lake");
    }
    sim
}

/// What was told of each job, without the times at which we looked.
fn histories(sim: &Sim) -> Vec<Vec<String>> {
    let row = |row: &Transition| format!("{} {:?} {:?}", row.to, row.word, row.evidence);
    sim.store.values().map(|job| job.history.iter().map(row).collect()).collect()
}

#[test]
fn a_thousand_running_jobs_cost_a_twentieth_of_their_single_polls_and_tell_the_same() {
    let mut singly = fleet(false, 0);
    singly.run_to_the_end();
    let mut together = fleet(true, 0);
    together.run_to_the_end();
    assert_eq!(histories(&together), histories(&singly));
    let (cost, single_cost) = (together.requests.len(), singly.requests.len());
    assert!(single_cost > 400_000, "{single_cost}");
    assert!(cost * 20 <= single_cost, "{cost} requests, {single_cost} singly");
    // Nobody is seen later for it.
    let polls = |sim: &Sim| sim.store.values().map(|row| u64::from(row.job.polls)).sum::<u64>();
    assert!(polls(&together) * 100 >= polls(&singly) * 99);
}

#[test]
fn a_list_that_is_full_of_others_is_left_for_single_polls() {
    let mut crowded = fleet(true, 400);
    crowded.run_until(HOUR);
    let (pages, all) = (crowded.pages, crowded.requests.len());
    assert!(pages > 0 && pages * 100 < all, "{pages} pages of {all} requests");
    let all_known = crowded.store.values().all(|row| row.job.polls > 50);
    assert!(all_known, "each is asked by itself as if there were no list");
}

#[test]
fn further_pages_are_asked_for_while_they_save_requests() {
    let mut shared = fleet(true, 9);
    shared.run_until(HOUR);
    let (mut few, all) = (0, shared.requests.len());
    for row in shared.store.values() {
        assert!(row.job.polls > 50, "job {} was polled {} times", row.job.id, row.job.polls);
        few += row.job.polls as usize;
    }
    assert!(all * 4 < few, "{all} requests for {few} looks");
}

#[test]
fn a_list_that_is_forbidden_pauses_nobody_and_loses_nothing() {
    for error in [ProviderError::Auth("HTTP 403".into()), transient()] {
        let mut sim = fleet(true, 0);
        sim.list_error = Some(error);
        sim.run_until(HOUR);
        assert!((1..=60).contains(&sim.pages), "{} pages", sim.pages);
        assert_eq!(sim.report("lake").pause, None);
        sim.list_error = None;
        sim.run_to_the_end();
        assert!(sim.store.keys().all(|job| sim.state(*job) == State::Succeeded));
        assert!(sim.pages > 1000, "the list is used once it is there: {}", sim.pages);
    }
}

#[test]
fn a_restart_finds_the_places_in_the_store() {
    let mut sim = fleet(true, 0);
    sim.run_until(10 * MINUTE);
    sim.restart();
    let before = sim.requests.len();
    sim.run_until(20 * MINUTE);
    let after = sim.requests.len() - before;
    assert!(after < 10 * 10 * 3, "{after} requests in ten minutes for a thousand jobs");
}

#[test]
fn a_job_asked_by_hand_or_let_go_while_its_page_is_under_way_is_done_right_by() {
    let mut sim = fleet(true, 0);
    sim.run_until(10 * MINUTE);
    let pages = sim.pages;
    while sim.pages == pages {
        sim.run_until(sim.now + 10);
    }
    for job in 1..=500 {
        sim.poll_by_hand(JobId(job));
        sim.untrack(JobId(job + 500));
    }
    sim.run_to_the_end();
    for job in 1..=500 {
        assert_eq!(sim.state(JobId(job)), State::Succeeded);
        assert_eq!(sim.state(JobId(job + 500)), State::Untracked);
    }
}
