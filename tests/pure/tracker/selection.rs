//! The selection of the next poll: the rate limit, the limit of polls in flight, first polls and repeat
//! polls, the order of due jobs, and polls on demand.

use std::collections::HashSet;
use std::time::Duration;

use jobtrack::job::{JobId, ObservedState};
use jobtrack::policy::Backoff;
use jobtrack::tracker::ProviderSettings;
use proptest::prelude::*;

use super::fixtures::{HOUR, MINUTE, SECOND, answer_with_state, default_settings};
use super::simulation::Simulation;

/// A provider that polls each job at a fixed interval.
fn settings_with_interval(requests_per_minute: u32, pace: Duration) -> ProviderSettings {
    let backoff = Backoff { min: pace, max: pace };
    ProviderSettings { requests_per_minute, backoff, ..default_settings("dune") }
}

/// The maximum number of concurrent requests.
fn max_in_flight(sim: &Simulation) -> usize {
    let at = |moment: u64| {
        let under_way = |sent, answered: Option<u64>| {
            sent <= moment && answered.is_none_or(|answered| answered > moment)
        };
        sim.requests
            .iter()
            .filter(|request| under_way(request.sent_at, request.answered_at))
            .count()
    };
    sim.requests.iter().map(|request| at(request.sent_at)).max().unwrap_or(0)
}

#[test]
fn polls_in_flight_reach_the_limit_and_never_exceed_it() {
    let settings = ProviderSettings { max_in_flight: 3, ..default_settings("dune") };
    let mut sim = Simulation::with_settings(vec![settings], |_, _| {
        (10 * SECOND, answer_with_state(ObservedState::Running))
    });
    for _ in 0..20 {
        sim.add_job("dune");
    }
    sim.run_until(5 * MINUTE);
    assert_eq!(max_in_flight(&sim), 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_minute_holds_more_requests_than_the_limit(
        limit in 1u32..60, jobs in 1usize..30, slowest in 1u64..40_000, seed: u64,
    ) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let settings = ProviderSettings { max_in_flight: 8, ..settings_with_interval(limit, Duration::from_secs(1)) };
        let settings = ProviderSettings { request_timeout: Duration::from_mins(1), ..settings };
        let mut sim =
            Simulation::with_settings(vec![settings], move |_, _| (rng.u64(..slowest), answer_with_state(ObservedState::Running)));
        for _ in 0..jobs {
            sim.add_job("dune");
        }
        sim.run_until(10 * MINUTE);
        sim.assert_rate_limit("dune", limit as usize);
    }
}

#[test]
fn the_rate_limit_is_used_evenly_and_nearly_in_full() {
    let settings = settings_with_interval(30, Duration::from_secs(1));
    let mut sim = Simulation::with_settings(vec![settings], |_, _| {
        (100, answer_with_state(ObservedState::Running))
    });
    for _ in 0..100 {
        sim.add_job("dune");
    }
    sim.run_until(10 * MINUTE);
    assert!(sim.requests.len() >= 295, "{} of 300", sim.requests.len());
    for pair in sim.requests.windows(2) {
        assert!(pair[1].sent_at - pair[0].sent_at >= 2 * SECOND, "{pair:?}");
    }
    assert!(
        sim.requests[0].sent_at >= 2 * SECOND,
        "an earlier process may have sent a request just before"
    );
}

#[test]
fn jobs_added_together_after_idle_time_are_all_polled_at_once() {
    let settings = settings_with_interval(30, Duration::from_hours(1));
    let mut sim = Simulation::with_settings(vec![settings], |_, _| {
        (300, answer_with_state(ObservedState::Running))
    });
    sim.run_until(MINUTE);
    for _ in 0..30 {
        sim.add_job("dune");
    }
    sim.run_until(MINUTE + SECOND);
    assert_eq!(sim.requests.len(), 8, "a quarter of the limit, and the request that is due anyway");
    sim.run_until(2 * MINUTE);
    let rest: Vec<_> = sim.requests[8..].windows(2).collect();
    assert!(rest.len() >= 20, "{}", rest.len());
    assert!(rest.iter().all(|pair| pair[1].sent_at - pair[0].sent_at < 3 * SECOND), "{rest:?}");
    sim.assert_rate_limit("dune", 30);
}

#[test]
fn with_a_new_database_the_first_jobs_are_polled_at_once() {
    let settings = settings_with_interval(30, Duration::from_hours(1));
    let mut sim = Simulation::with_new_database(vec![settings], |_, _| {
        (300, answer_with_state(ObservedState::Running))
    });
    for _ in 0..8 {
        sim.add_job("dune");
    }
    sim.run_until(SECOND);
    assert_eq!(sim.requests.len(), 8);
}

/// Among `take` requests after the first `skip`, the number that were the first poll of their job.
fn count_first_polls(sim: &Simulation, skip: usize, take: usize) -> usize {
    let mut known = HashSet::new();
    let firsts = sim.requests.iter().map(|request| known.insert(request.job));
    firsts.skip(skip).take(take).filter(|first| *first).count()
}

#[test]
fn ten_first_polls_come_first_and_then_between_one_and_three_requests_in_four() {
    let settings = settings_with_interval(60, Duration::from_secs(1));
    let mut sim = Simulation::with_settings(vec![settings], |_, _| {
        (100, answer_with_state(ObservedState::Running))
    });
    for _ in 0..200 {
        sim.add_job("dune");
    }
    sim.run_until(15 * MINUTE);
    assert!(sim.active_rows().all(|row| row.job.polls > 0));
    let before = sim.requests.len();
    for _ in 0..300 {
        sim.add_job("dune");
    }
    sim.run_until(sim.now + 10 * MINUTE);
    let first = count_first_polls(&sim, before, 10);
    assert!((9..=10).contains(&first), "first polls come first: {first} of 10");
    let then = count_first_polls(&sim, before + 10, 160);
    assert!(
        (40..=42).contains(&then),
        "one in four while the others were due before: {then} of 160"
    );
    let later = count_first_polls(&sim, before + 290, 200);
    assert!(
        (149..=151).contains(&later),
        "three in four once they were due before: {later} of 200"
    );
}

#[test]
fn new_jobs_do_not_fall_behind_where_all_jobs_get_too_few_requests() {
    let settings = settings_with_interval(60, Duration::from_secs(1));
    let mut sim = Simulation::with_settings(vec![settings], |_, _| {
        (100, answer_with_state(ObservedState::Running))
    });
    for _ in 0..120 {
        for _ in 0..15 {
            sim.add_job("dune");
        }
        sim.run_until(sim.now + MINUTE / 2);
    }
    let first_polls = count_first_polls(&sim, 0, sim.requests.len());
    // In the order of due times a new job waits as long as the others, half of its age at the end; with one request in
    // four 910 would have been polled.
    assert!(first_polls >= 1150, "{first_polls} of 1800 new jobs were polled");
}

#[test]
fn first_polls_get_everything_while_nothing_else_is_due() {
    let settings = settings_with_interval(60, Duration::from_hours(1));
    let mut sim = Simulation::with_settings(vec![settings], |_, _| {
        (100, answer_with_state(ObservedState::Running))
    });
    for _ in 0..100 {
        sim.add_job("dune");
    }
    sim.run_until(2 * MINUTE);
    assert_eq!(count_first_polls(&sim, 0, 100), 100);
}

#[test]
fn the_job_due_first_is_polled_first() {
    let settings = settings_with_interval(60, Duration::from_mins(4));
    let mut sim = Simulation::with_settings(vec![settings], |_, _| {
        (100, answer_with_state(ObservedState::Running))
    });
    for _ in 0..50 {
        sim.add_job("dune");
    }
    sim.run_until(2 * MINUTE);
    let wall = sim.wall_time();
    let mut rng = fastrand::Rng::with_seed(3);
    for row in sim.store.values_mut() {
        row.job.next_poll_at = Some(wall.plus(Duration::from_millis(rng.u64(..20_000))));
    }
    let mut expected: Vec<_> =
        sim.store.values().map(|row| (row.job.next_poll_at, row.job.id)).collect();
    expected.sort_unstable();
    let before = sim.requests.len();
    sim.restart();
    sim.run_until(sim.now + 2 * MINUTE);
    let polled: Vec<_> = sim.requests[before..].iter().map(|request| request.job).collect();
    let expected: Vec<JobId> = expected.into_iter().map(|(_, job)| job).collect();
    assert_eq!(polled, expected);
}

#[test]
fn an_on_demand_poll_precedes_all_due_polls() {
    let settings = settings_with_interval(60, Duration::from_secs(30));
    let mut sim = Simulation::with_settings(vec![settings], |_, _| {
        (100, answer_with_state(ObservedState::Running))
    });
    for _ in 0..300 {
        sim.add_job("dune");
    }
    sim.run_until(10 * MINUTE);
    let wanted = sim.requests[sim.requests.len() - 5].job;
    assert!(sim.provider_report("dune").due_polls > 100);
    let before = sim.requests.len();
    sim.poll_on_demand(wanted);
    sim.run_until(sim.now + 2 * SECOND);
    assert_eq!(sim.requests[before].job, wanted);
}

#[test]
fn an_on_demand_poll_of_a_job_in_flight_is_not_sent_twice() {
    let mut sim = Simulation::new(|_, _| (10 * SECOND, answer_with_state(ObservedState::Running)));
    let job = sim.add_job("dune");
    sim.run_until(5 * SECOND);
    sim.poll_on_demand(job);
    sim.poll_on_demand(job);
    sim.run_until(9 * SECOND);
    assert_eq!(sim.poll_times(job).len(), 1);
}

#[test]
fn the_report_counts_due_late_and_in_flight_polls() {
    let settings = settings_with_interval(60, Duration::from_hours(1));
    let mut sim = Simulation::with_settings(vec![settings], |_, _| {
        (1500, answer_with_state(ObservedState::Running))
    });
    for _ in 0..10 {
        sim.add_job("dune");
    }
    // (time, due, seconds overdue, in flight, sent in the last minute). Until the first answer at
    // 2500 ms only one request is sent, then about one each second.
    let cases = [
        (0, 10, 0, 0, 0),
        (1000, 9, 1, 1, 1),
        (2499, 9, 2, 1, 1),
        (3000, 8, 3, 1, 2),
        (3550, 7, 3, 2, 3),
        (3999, 7, 3, 2, 3),
        (4000, 7, 4, 1, 3),
        (20_000, 0, 0, 0, 10),
        (HOUR, 0, 0, 0, 0),
    ];
    for (at, due, late, in_flight, sent) in cases {
        sim.run_until(at);
        let report = sim.provider_report("dune");
        assert_eq!(
            (
                report.due_polls,
                report.longest_overdue.as_secs(),
                report.in_flight,
                report.requests_last_minute
            ),
            (due, late, in_flight, sent),
            "at {at} ms"
        );
        assert_eq!((report.active_jobs, report.requests_per_minute), (10, 60));
        assert!(report.configured && report.pause.is_none() && report.consecutive_failures == 0);
    }
}
