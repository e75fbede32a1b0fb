//! The intervals between polls: the backoff, restarts, jumps of the wall clock, and jobs whose provider
//! is not configured.

use std::time::Duration;

use jobtrack::job::{JobId, ObservedState};
use jobtrack::policy::Backoff;
use jobtrack::tracker::ProviderSettings;

use super::fixtures::{
    DAY, HOUR, MINUTE, SECOND, answer_with_state, default_settings, transient_error,
};
use super::simulation::Simulation;

/// The times from an answer to the next poll of `job`.
fn poll_intervals(sim: &Simulation, job: JobId) -> Vec<u64> {
    let of: Vec<_> = sim.requests.iter().filter(|request| request.job == job).collect();
    of.windows(2).map(|pair| pair[1].sent_at - pair[0].answered_at.expect("answered")).collect()
}

/// Panics unless the intervals grow by half from a second to five minutes, give or take 10 %.
fn assert_intervals_grow(pauses: &[u64]) {
    let mut expected = 1000.0_f64;
    for (index, pause) in pauses.iter().enumerate() {
        let bounds = (0.9 * expected).max(1000.0)..=(1.1 * expected).min(300_000.0) + 1.0;
        let pause = f64::from(u32::try_from(*pause).expect("minutes"));
        assert!(bounds.contains(&pause), "pause {index}: {pause} ms, not in {bounds:?}");
        expected = (expected * 1.5).min(300_000.0);
    }
}

#[test]
fn the_interval_grows_from_min_to_max_while_the_state_is_unchanged() {
    let mut sim = Simulation::new(|_, _| (100, answer_with_state(ObservedState::Running)));
    let job = sim.add_job("dune");
    sim.run_until(2 * HOUR);
    let pauses = poll_intervals(&sim, job);
    assert!(pauses.len() > 30);
    assert_intervals_grow(&pauses);
    assert_eq!(
        sim.state_history(job),
        ["registered", "running"],
        "an unchanged answer is no transition"
    );
}

#[test]
fn the_interval_resets_when_the_state_changes() {
    let mut sim = Simulation::new(|_, at| {
        (
            100,
            answer_with_state(if at < HOUR {
                ObservedState::Pending
            } else {
                ObservedState::Running
            }),
        )
    });
    let job = sim.add_job("dune");
    sim.run_until(2 * HOUR);
    let polled = sim.poll_times(job);
    let moved = polled.iter().position(|at| *at >= HOUR).expect("more polls");
    let pauses = poll_intervals(&sim, job);
    assert!(pauses[moved - 1] > 4 * MINUTE);
    assert_intervals_grow(&pauses[moved..]);
}

#[test]
fn failed_polls_back_off_like_unchanged_ones() {
    let mut sim = Simulation::new(|_, _| (100, jobtrack::job::Answer::failed(transient_error())));
    let job = sim.add_job("dune");
    sim.run_until(2 * HOUR);
    let pauses = poll_intervals(&sim, job);
    assert!(pauses[0] > 1300, "the first failure also grows the interval");
    assert!(pauses.windows(2).all(|pair| pair[1] > pair[0] * 9 / 10), "{pauses:?}");
    assert!(pauses.last().is_some_and(|last| *last >= 270 * SECOND));
}

#[test]
fn after_a_restart_each_job_is_polled_at_its_stored_time() {
    let mut sim = Simulation::new(|_, _| (100, answer_with_state(ObservedState::Running)));
    let jobs: Vec<_> = (0..100).map(|_| sim.add_job("dune")).collect();
    sim.run_until(HOUR);
    let (wall, restarted_at, before) = (sim.wall_time(), sim.now, sim.requests.len());
    sim.restart_in_order();
    let planned: Vec<_> =
        sim.active_rows().map(|row| row.job.next_poll_at.expect("planned")).collect();
    sim.run_until(restarted_at + 10 * MINUTE);
    for (job, planned) in jobs.iter().zip(planned) {
        let mut after = sim.requests[before..].iter().filter(|request| request.job == *job);
        let polled = after.next().expect("another poll").sent_at - restarted_at;
        let wait = u64::try_from(planned.duration_since(wall).as_millis()).expect("short");
        // A request is available every 100 ms, the first 100 ms after the restart.
        assert!((wait..=wait + 3 * SECOND).contains(&polled), "{job}: {polled} ms, not {wait}");
    }
}

#[test]
fn requests_wait_after_a_restart_because_the_earlier_process_may_have_sent_a_burst() {
    let backoff = Backoff { min: Duration::from_secs(1), max: Duration::from_secs(1) };
    let settings =
        ProviderSettings { requests_per_minute: 60, backoff, ..default_settings("dune") };
    let mut sim = Simulation::with_settings(vec![settings], |_, _| {
        (100, answer_with_state(ObservedState::Running))
    });
    sim.run_until(10 * MINUTE);
    for _ in 0..100 {
        sim.add_job("dune");
    }
    let mut restarted_at = 0;
    for _ in 0..5 {
        sim.run_until(sim.now + SECOND);
        sim.restart();
        restarted_at = sim.now;
    }
    let wait_after = |sim: &mut Simulation, restarted_at: u64| {
        sim.run_until(restarted_at + 5 * MINUTE);
        let after = sim.requests.iter().find(|request| request.sent_at > restarted_at);
        after.expect("a poll").sent_at - restarted_at
    };
    let wait = wait_after(&mut sim, restarted_at);
    assert!((16 * SECOND..17 * SECOND).contains(&wait), "{wait} ms");
    sim.assert_rate_limit("dune", 60);
    // An old record shows only that nothing was recorded later.
    let restarted_at = sim.now;
    sim.restart_after(sim.wall_time().minus(Duration::from_hours(1)));
    let wait = wait_after(&mut sim, restarted_at);
    assert!((16 * SECOND..17 * SECOND).contains(&wait), "{wait} ms");
}

#[test]
fn after_an_orderly_end_the_first_request_does_not_wait() {
    let settings = ProviderSettings { requests_per_minute: 30, ..default_settings("dune") };
    let shared = |name| ProviderSettings {
        account: Some("shared".into()),
        requests_per_minute: 30,
        ..default_settings(name)
    };
    for (provider, settings) in
        [("dune", vec![settings]), ("lake", vec![shared("lake"), shared("scripts")])]
    {
        let mut sim = Simulation::with_new_database(settings, |_, _| {
            (100, answer_with_state(ObservedState::Running))
        });
        sim.add_job(provider);
        sim.run_until(10 * SECOND);
        sim.restart_in_order();
        sim.restart_in_order();
        let job = sim.add_job(provider);
        let added_at = sim.now;
        sim.run_until(added_at + SECOND);
        assert_eq!(sim.poll_times(job), [added_at], "{provider}");
        // The first request of the next process waits if this one is killed.
        sim.restart();
        let job = sim.add_job(provider);
        sim.run_until(sim.now + 15 * SECOND);
        assert_eq!(sim.poll_times(job), [0; 0], "{provider}");
    }
}

#[test]
fn a_provider_that_is_new_after_a_restart_in_order_does_not_wait() {
    let settings = |names: &[&str]| -> Vec<ProviderSettings> {
        let of =
            |name: &&str| ProviderSettings { requests_per_minute: 30, ..default_settings(name) };
        names.iter().map(of).collect()
    };
    // (settings before, after, whether the process before is killed a second before, whether the first request waits)
    let cases = [
        (vec!["dune"], vec!["dune", "lake"], false, false),
        (vec!["dune"], vec!["dune", "lake"], true, true),
        // The provider may have been renamed.
        (vec!["dune"], vec!["lake"], false, true),
        (vec!["dune", "scripts"], vec!["dune", "lake"], false, true),
    ];
    for (before, after, is_killed, waits) in cases {
        let mut sim = Simulation::with_new_database(settings(&before), |_, _| {
            (100, answer_with_state(ObservedState::Running))
        });
        sim.add_job("dune");
        sim.run_until(10 * SECOND);
        if is_killed {
            sim.restart();
            sim.run_until(sim.now + SECOND);
        }
        sim.restart_in_order_with(settings(&after));
        let job = sim.add_job("lake");
        sim.run_until(sim.now + 15 * SECOND);
        let polls = sim.poll_times(job).len();
        assert_eq!(polls == 0, waits, "{before:?} {after:?} {is_killed}: {polls} polls");
        // Nothing is forgotten by the next restart.
        sim.restart_in_order();
        sim.run_until(sim.now + MINUTE);
        sim.assert_rate_limit("lake", 30);
        sim.assert_rate_limit("dune", 30);
    }
}

#[test]
fn requests_still_count_when_providers_share_an_account_after_a_restart() {
    let settings = |account: Option<&str>| {
        ["lake", "scripts"].map(|name| ProviderSettings {
            account: account.map(str::to_owned),
            requests_per_minute: 30,
            ..default_settings(name)
        })
    };
    for (before, after) in [(None, Some("x")), (Some("x"), None)] {
        let mut sim = Simulation::with_new_database(settings(before).to_vec(), |_, _| {
            (100, answer_with_state(ObservedState::Running))
        });
        for _ in 0..40 {
            sim.add_job("lake");
            sim.add_job("scripts");
        }
        sim.run_until(SECOND);
        sim.restart_in_order_with(settings(after).to_vec());
        let restarted_at = sim.now;
        sim.run_until(restarted_at + 15 * SECOND);
        let sent = sim.requests.iter().filter(|request| request.sent_at >= restarted_at).count();
        assert_eq!(sent, 0, "{before:?} {after:?}: it is not known what each account sent");
        sim.run_until(restarted_at + 20 * SECOND);
        assert!(sim.requests.iter().any(|request| request.sent_at >= restarted_at));
    }
}

#[test]
fn requests_still_count_when_their_provider_is_missing_for_a_while() {
    let settings = vec![ProviderSettings { requests_per_minute: 30, ..default_settings("dune") }];
    for is_removed_by_reload in [false, true] {
        let mut sim = Simulation::with_new_database(settings.clone(), |_, _| {
            (100, answer_with_state(ObservedState::Running))
        });
        for _ in 0..40 {
            sim.add_job("dune");
        }
        sim.run_until(SECOND);
        assert!(sim.requests.len() >= 7, "a burst");
        if is_removed_by_reload {
            sim.configure(Vec::new());
        }
        sim.restart_in_order_with(Vec::new());
        sim.restart_in_order_with(settings.clone());
        sim.run_until(2 * MINUTE);
        sim.assert_rate_limit("dune", 30);
    }
}

#[test]
fn restarts_in_order_keep_the_rate_limit() {
    let backoff = Backoff { min: Duration::from_secs(1), max: Duration::from_secs(1) };
    let settings =
        ProviderSettings { requests_per_minute: 60, backoff, ..default_settings("dune") };
    let mut sim = Simulation::with_new_database(vec![settings], |_, _| {
        (100, answer_with_state(ObservedState::Running))
    });
    for _ in 0..100 {
        sim.add_job("dune");
    }
    for _ in 0..40 {
        sim.run_until(sim.now + 3 * SECOND);
        sim.restart_in_order();
    }
    sim.assert_rate_limit("dune", 60);
    let sent = sim.requests.len();
    assert!(sent > 105, "{sent} requests in two minutes");
}

#[test]
fn polls_missed_while_the_daemon_was_down_cause_no_burst() {
    let mut sim = Simulation::new(|_, _| (100, answer_with_state(ObservedState::Running)));
    sim.report_check_interval = 101;
    for _ in 0..1000 {
        sim.add_job("dune");
    }
    sim.run_until(HOUR);
    let before = sim.requests.len();
    sim.now += HOUR;
    let restarted_at = sim.now;
    sim.restart();
    sim.run_until(restarted_at + 5 * MINUTE);
    let sent: Vec<_> = sim.requests[before..].iter().map(|request| request.sent_at).collect();
    assert!(sent.len() > 1000);
    assert!(sent[0] >= restarted_at + 100);
    assert!(sent.windows(2).all(|pair| pair[1] - pair[0] >= 100), "600 a minute");
}

#[test]
fn a_stored_poll_time_is_bounded_by_the_longest_interval() {
    let mut sim = Simulation::new(|_, _| (100, answer_with_state(ObservedState::Running)));
    let job = sim.add_job("dune");
    sim.run_until(HOUR);
    sim.wall_offset_ms = -10 * i64::try_from(DAY).expect("small");
    sim.restart();
    let restarted_at = sim.now;
    sim.run_until(restarted_at + 6 * MINUTE);
    let polled = *sim.poll_times(job).last().expect("polled");
    assert!(polled > restarted_at, "the policy bounds the wait");
}

#[test]
fn poll_times_do_not_follow_the_wall_clock() {
    let day = i64::try_from(DAY).expect("small");
    let lives = [[0, 0], [day, -3 * day]].map(|[first, second]| {
        let mut sim = Simulation::new(|job, at| {
            let over = at > HOUR * u64::try_from(job.0).expect("positive");
            (
                100,
                answer_with_state(if over {
                    ObservedState::Succeeded
                } else {
                    ObservedState::Running
                }),
            )
        });
        for _ in 0..5 {
            sim.add_job("dune");
        }
        sim.run_until(90 * MINUTE);
        sim.wall_offset_ms += first;
        sim.run_until(150 * MINUTE);
        sim.wall_offset_ms += second;
        sim.run_until_all_finished();
        sim.requests.into_iter().map(|request| (request.job, request.sent_at)).collect::<Vec<_>>()
    });
    assert!(lives[0].len() > 100);
    assert_eq!(lives[0], lives[1]);
}

#[test]
fn jobs_of_a_removed_provider_wait_and_resume_with_it() {
    let both = || vec![default_settings("dune"), default_settings("lake")];
    let mut sim = Simulation::with_settings(both(), |_, at| {
        (
            100,
            answer_with_state(if at < 3 * HOUR {
                ObservedState::Running
            } else {
                ObservedState::Succeeded
            }),
        )
    });
    let (here, gone) = (sim.add_job("dune"), sim.add_job("lake"));
    sim.run_until(HOUR);
    sim.configure(vec![default_settings("dune")]);
    let added_meanwhile = sim.add_job("lake");
    sim.run_until(4 * HOUR);
    assert!(sim.poll_times(gone).iter().all(|at| *at <= HOUR));
    assert_eq!(
        sim.state_history(gone),
        ["registered", "running"],
        "the job of the removed provider is unchanged"
    );
    assert_eq!(sim.state_history(here).last(), Some(&"succeeded"), "the other job is polled");
    let report = sim.provider_report("lake");
    assert_eq!((report.configured, report.active_jobs), (false, 2));
    sim.configure(both());
    sim.run_until_all_finished();
    assert_eq!(sim.state_history(gone), ["registered", "running", "succeeded"]);
    assert_eq!(sim.state_history(added_meanwhile), ["registered", "succeeded"]);
}

#[test]
fn an_answer_is_applied_after_its_provider_was_removed() {
    let mut sim = Simulation::new(|_, _| (10 * SECOND, answer_with_state(ObservedState::Running)));
    let job = sim.add_job("dune");
    sim.run_until(5 * SECOND);
    sim.configure(Vec::new());
    sim.run_until(HOUR);
    assert_eq!(sim.state_history(job), ["registered", "running"]);
    assert_eq!(sim.poll_times(job).len(), 1);
}

#[test]
fn a_provider_that_is_removed_and_brought_back_keeps_its_rate_limit_usage() {
    // All answers arrive together, every 33 s; the provider may receive each request as late.
    const REQUEST_INTERVAL: u64 = 33 * SECOND;
    let settings = || ProviderSettings { requests_per_minute: 10, ..default_settings("dune") };
    let mut sim = Simulation::with_settings(vec![settings()], |_, at| {
        (REQUEST_INTERVAL - at % REQUEST_INTERVAL, answer_with_state(ObservedState::Running))
    });
    for _ in 0..100 {
        sim.add_job("dune");
    }
    // One interval for the probe with the new settings, two for requests up to the limit.
    for third in 1..10 {
        sim.run_until(3 * third * REQUEST_INTERVAL + 50);
        sim.configure(Vec::new());
        sim.configure(vec![settings()]);
    }
    assert!(sim.requests.len() > 60, "{}", sim.requests.len());
    sim.assert_rate_limit("dune", 10);
}

#[test]
fn a_lower_limit_counts_the_requests_sent_under_the_higher_one() {
    let settings =
        |requests_per_minute| ProviderSettings { requests_per_minute, ..default_settings("dune") };
    let mut sim = Simulation::with_settings(vec![settings(60)], |_, _| {
        (10, answer_with_state(ObservedState::Running))
    });
    sim.report_check_interval = u64::MAX;
    for _ in 0..100 {
        sim.add_job("dune");
    }
    sim.run_until(5 * MINUTE);
    sim.configure(vec![settings(20)]);
    sim.run_until(10 * MINUTE);
    // A minute after the change the earlier requests have left the window.
    sim.requests.retain(|request| request.sent_at > 5 * MINUTE);
    sim.assert_rate_limit("dune", 20);
    let first = sim.requests[0].sent_at - 5 * MINUTE;
    assert!(first >= 35 * SECOND, "60 requests sent, limit 20: {first} ms");
}
