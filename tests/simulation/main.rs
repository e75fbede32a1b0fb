//! Tests of the whole daemon but its sockets, in virtual time and on seeds; see `simulator`.

#![allow(clippy::expect_used, reason = "a test crate: a broken expectation is a failed test")]

#[path = "../support/fake_server/mod.rs"]
mod fake_server;
mod simulator;

use std::time::Duration;

use simulator::{Options, PlantedBug, Profile, Report, simulate, suspend};

fn options(seed: u64, days: u32) -> Options {
    let print = std::env::var_os("SIMULATION_PRINT").is_some();
    Options { seed, profile: Profile::of_seed(seed), days, planted: None, print }
}

fn assert_sound(report: &Report) {
    assert!(
        report.violations.is_empty(),
        "{:?}; SIMULATION_PRINT=1 prints every event\n{}\n{}",
        report.options,
        report.newest_events.join("\n"),
        report.violations.join("\n"),
    );
}

#[test]
fn no_rule_is_broken_in_simulated_days() {
    for (seed, profile) in (1..).zip(Profile::ALL) {
        assert_sound(&simulate(Options { profile, ..options(seed, 2) }));
    }
}

#[test]
fn the_same_seed_leads_to_the_same_events() {
    let hashes = [1, 2].map(|_| simulate(options(11, 1)).event_hash);
    assert_eq!(hashes[0], hashes[1]);
    assert_ne!(hashes[0], simulate(options(12, 1)).event_hash);
}

#[test]
fn planted_bugs_are_found() {
    for planted in PlantedBug::ALL {
        let found = (1..=9).find(|seed| {
            let profile = Profile::Dense;
            let options = Options { profile, planted: Some(planted), ..options(*seed, 2) };
            !simulate(options).violations.is_empty()
        });
        assert!(found.is_some(), "{planted:?} is not found");
    }
}

#[test]
fn fault_31_after_a_suspend_each_job_is_polled_once_and_the_polls_are_spread() {
    const JOBS: u64 = 20;
    let after = suspend(JOBS, Duration::from_hours(8));
    assert!(after.request_in_flight_took < Duration::from_secs(5), "{after:?}");
    let times: Vec<_> = after.polls.iter().map(|(at, _)| *at).collect();
    assert!(times[0] < Duration::from_secs(5), "{after:?}");
    assert!(times.last().is_some_and(|last| *last < Duration::from_mins(1)), "{after:?}");
    // After a burst of eight, 23 requests a minute are sent, and arrive after different delays.
    let is_spread = |five: &[Duration]| five[4].saturating_sub(five[0]) > Duration::from_secs(4);
    assert!(times[8..].windows(5).all(is_spread), "{after:?}");
    let mut jobs: Vec<_> = after.polls.iter().map(|(_, job)| job).collect();
    jobs.sort_unstable();
    jobs.dedup();
    assert_eq!((jobs.len(), after.polls.len()), (20, 20), "{after:?}");
}
