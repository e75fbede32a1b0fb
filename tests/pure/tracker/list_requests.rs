//! List requests: their cost and their results, compared with individual polls.

use std::time::Duration;

use jobtrack::job::{
    Answer, JobId, ObservedState, ProviderError, ProviderErrorKind, State, Transition, UtcTime,
};
use jobtrack::policy::Backoff;
use jobtrack::tracker::ProviderSettings;

use super::fixtures::{
    DAY, HOUR, MINUTE, SECOND, WriteOutcome, answer_with_state, default_settings, transient_error,
};
use super::simulation::Simulation;

/// The start of the simulation by the wall clock.
const EPOCH_MS: i64 = 1_800_000_000_000;

fn dli_settings(lists: bool) -> ProviderSettings {
    ProviderSettings {
        supports_list: lists,
        requests_per_minute: 6000,
        backoff: Backoff { min: Duration::from_mins(1), max: Duration::from_mins(1) },
        ..default_settings("lake")
    }
}

/// One of a thousand jobs that were submitted within a day; each ends after six to nine hours.
fn answer_at(job: JobId, at: u64) -> Answer {
    let nth = u64::try_from(job.0).expect("positive");
    let ends = 6 * HOUR + (nth * 7919 % 1000) * 10 * SECOND;
    let mut answer = answer_with_state(if at >= ends {
        ObservedState::Succeeded
    } else {
        ObservedState::Running
    });
    if let Ok(seen) = &mut answer.result {
        let ago = DAY - nth * DAY / 1000;
        let ago = i64::try_from(ago).expect("a day");
        seen.list_time = Some(UtcTime::from_millis(EPOCH_MS - ago));
    }
    answer
}

fn simulate_jobs(lists: bool, foreign_rows: u64) -> Simulation {
    let mut sim =
        Simulation::with_settings(vec![dli_settings(lists)], |job, at| (200, answer_at(job, at)));
    sim.report_check_interval = 10_000;
    sim.foreign_rows_per_job = foreign_rows;
    for _ in 0..1000 {
        sim.add_job("lake");
    }
    sim
}

/// The history of each job without the times of its polls.
fn state_histories(sim: &Simulation) -> Vec<Vec<String>> {
    let row = |row: &Transition| format!("{} {:?} {:?}", row.to, row.provider_state, row.evidence);
    sim.store.values().map(|job| job.history.iter().map(row).collect()).collect()
}

#[test]
fn list_requests_cost_a_twentieth_of_individual_polls_with_equal_histories() {
    let mut singly = simulate_jobs(false, 0);
    singly.run_until_all_finished();
    let mut together = simulate_jobs(true, 0);
    together.run_until_all_finished();
    assert_eq!(state_histories(&together), state_histories(&singly));
    let (cost, single_cost) = (together.requests.len(), singly.requests.len());
    assert!(single_cost > 400_000, "{single_cost}");
    assert!(cost * 20 <= single_cost, "{cost} requests, {single_cost} individually");
    // Each job is observed as often as with individual polls.
    let polls =
        |sim: &Simulation| sim.store.values().map(|row| u64::from(row.job.polls)).sum::<u64>();
    assert!(polls(&together) * 100 >= polls(&singly) * 99);
}

#[test]
fn a_list_full_of_foreign_jobs_is_replaced_by_individual_polls() {
    let mut crowded = simulate_jobs(true, 400);
    crowded.run_until(HOUR);
    let (pages, all) = (crowded.page_count, crowded.requests.len());
    assert!(pages > 0 && pages * 100 < all, "{pages} pages of {all} requests");
    let all_known = crowded.store.values().all(|row| row.job.polls > 50);
    assert!(all_known, "each job is polled individually");
}

#[test]
fn further_pages_are_requested_while_they_save_requests() {
    let mut shared = simulate_jobs(true, 9);
    shared.run_until(HOUR);
    let (mut few, all) = (0, shared.requests.len());
    for row in shared.store.values() {
        assert!(row.job.polls > 50, "job {} was polled {} times", row.job.id, row.job.polls);
        few += row.job.polls as usize;
    }
    assert!(all * 4 < few, "{all} requests for {few} observations");
}

#[test]
fn a_rejected_list_request_pauses_no_polls_and_loses_nothing() {
    for error in [ProviderError::new(ProviderErrorKind::Auth, "HTTP 403"), transient_error()] {
        let mut sim = simulate_jobs(true, 0);
        sim.list_error = Some(error);
        sim.run_until(HOUR);
        assert!((1..=60).contains(&sim.page_count), "{} pages", sim.page_count);
        assert_eq!(sim.provider_report("lake").pause, None);
        sim.list_error = None;
        sim.run_until_all_finished();
        assert!(sim.store.keys().all(|job| sim.state(*job) == State::Succeeded));
        assert!(sim.page_count > 1000, "the list is used once it succeeds: {}", sim.page_count);
    }
}

#[test]
fn a_restart_restores_list_positions_from_the_store() {
    let mut sim = simulate_jobs(true, 0);
    sim.run_until(10 * MINUTE);
    sim.restart();
    let before = sim.requests.len();
    sim.run_until(20 * MINUTE);
    let after = sim.requests.len() - before;
    assert!(after < 10 * 10 * 3, "{after} requests in ten minutes for a thousand jobs");
}

#[test]
fn on_demand_poll_and_untrack_work_while_a_list_request_is_in_flight() {
    let mut sim = simulate_jobs(true, 0);
    sim.run_until(10 * MINUTE);
    let pages = sim.page_count;
    while sim.page_count == pages {
        sim.run_until(sim.now + 10);
    }
    for job in 1..=500 {
        sim.poll_on_demand(JobId(job));
        sim.untrack(JobId(job + 500));
    }
    sim.run_until_all_finished();
    for job in 1..=500 {
        assert_eq!(sim.state(JobId(job)), State::Succeeded);
        assert_eq!(sim.state(JobId(job + 500)), State::Untracked);
    }
}

#[test]
fn untracking_between_two_pages_of_a_list_request_ends_each_job_once() {
    let mut sim = simulate_jobs(true, 9);
    sim.set_write_outcome(|_| (5 * SECOND, WriteOutcome::Committed));
    sim.run_until(10 * MINUTE);
    // A reload forgets the number of foreign rows, so the next list request has several pages, which
    // wait for the lower rate limit.
    sim.configure(vec![ProviderSettings { requests_per_minute: 60, ..dli_settings(true) }]);
    let pages = sim.page_count;
    while sim.page_count < pages + 2 {
        sim.run_until(sim.now + 100);
    }
    for job in 1..=1000 {
        sim.untrack(JobId(job));
    }
    sim.run_until_all_finished();
    assert!(sim.store.keys().all(|job| sim.state(*job) == State::Untracked));
    assert_eq!(sim.provider_report("lake").in_flight, 0);
}

#[test]
fn fault_60_a_rejected_list_request_stops_no_poll_of_its_jobs() {
    let mut sim = simulate_jobs(true, 0);
    sim.list_error = Some(ProviderError::new(ProviderErrorKind::Auth, "HTTP 403"));
    sim.run_until(10 * MINUTE);
    assert!((2..10).contains(&sim.page_count), "{} list requests", sim.page_count);
    assert!(sim.store.values().all(|row| row.job.polls > 6), "polled about once a minute");
    assert!(sim.notices.is_empty(), "{:?}", sim.notices);
    assert_eq!(sim.provider_report("lake").pause, None);
}

#[test]
fn fault_63_a_list_whose_every_credential_is_replaced_and_rejected_fails() {
    let mut sim = simulate_jobs(true, 0);
    sim.list_error = Some(ProviderError::new(ProviderErrorKind::Auth, "HTTP 401"));
    sim.list_credential_replaced = true;
    sim.run_until(10 * MINUTE);
    assert!((4..20).contains(&sim.page_count), "{} list requests", sim.page_count);
    assert!(sim.store.values().all(|row| row.job.polls > 6), "polled about once a minute");
}
