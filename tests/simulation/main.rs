//! Tests of the whole daemon but its sockets, in virtual time and on seeds; see `simulator`.

#![allow(clippy::expect_used, reason = "a test crate: a broken expectation is a failed test")]

#[path = "../support/fake_server/mod.rs"]
mod fake_server;
mod simulator;

use simulator::{Options, PlantedBug, Report, simulate};

fn options(seed: u64, days: u32) -> Options {
    Options { seed, days, planted: None, print: std::env::var_os("SIMULATION_PRINT").is_some() }
}

fn assert_sound(report: &Report) {
    assert!(
        report.violations.is_empty(),
        "seed {}; `just simulate --seed {} --days {}` repeats it\n{}\n{}",
        report.options.seed,
        report.options.seed,
        report.options.days,
        report.newest_events.join("\n"),
        report.violations.join("\n"),
    );
}

#[test]
fn no_rule_is_broken_in_simulated_days() {
    for seed in 1..=3 {
        assert_sound(&simulate(options(seed, 2)));
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
            let options = Options { planted: Some(planted), ..options(*seed, 2) };
            !simulate(options).violations.is_empty()
        });
        assert!(found.is_some(), "{planted:?} is not found");
    }
}
