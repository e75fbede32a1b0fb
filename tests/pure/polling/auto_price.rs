//! The price `auto` in the daemon's own tracker: as a price of a second where requests are scarce, and sooner
//! where they are not.

use std::ops::Range;

use jobtrack::policy::{LearnedPolicySettings, PollPrice};
use jobtrack::tracker::PollPolicy;

use super::assert_within;
use super::second_half_metrics;
use super::simulation::{SimulationSettings, poll_rule};
use super::workload::{WorkloadKind, generate_jobs};

/// The mean number of requests per job and the mean delay in seconds.
#[derive(Debug, Clone, Copy)]
struct MeanOutcome {
    requests: f64,
    delay: f64,
}

/// What a fixed price of a second and the price `auto` lead to, on workloads from these seeds.
fn fixed_and_auto(
    kind: WorkloadKind,
    running: f64,
    requests_per_minute: u32,
    seeds: Range<u64>,
) -> [MeanOutcome; 2] {
    let prices = [poll_rule(1.0, true).price, PollPrice::Auto];
    prices.map(|price| {
        let policy = PollPolicy::Learned(LearnedPolicySettings { price, ..poll_rule(1.0, true) });
        let fixed = SimulationSettings::learned(1.0, true);
        let settings = SimulationSettings { policy, requests_per_minute, ..fixed };
        let count = (seeds.end - seeds.start) as f64;
        let runs = seeds.clone().map(|seed| {
            second_half_metrics(&generate_jobs(&kind.spec(), 2000, running, seed), &settings)
        });
        runs.fold(MeanOutcome { requests: 0.0, delay: 0.0 }, |sum, run| MeanOutcome {
            requests: sum.requests + run.requests / count,
            delay: sum.delay + run.mean_delay / count,
        })
    })
}

#[test]
fn where_requests_are_scarce_the_price_auto_changes_nothing() {
    let [fixed, auto] = fixed_and_auto(WorkloadKind::Mixed, 100.0, 8, 11..14);
    assert_within(auto.requests, fixed.requests, 0.02, "requests");
    assert_within(auto.delay, fixed.delay, 0.02, "delay");
}

/// At times the requests suffice here. A single workload differs by chance.
#[test]
fn where_requests_are_nearly_scarce_the_price_auto_does_no_harm() {
    let [fixed, auto] = fixed_and_auto(WorkloadKind::DuneQueries, 20.0, 40, 20..24);
    assert!(auto.delay <= 1.03 * fixed.delay, "{auto:?} {fixed:?}");
}

#[test]
fn where_requests_are_left_the_price_auto_shortens_the_delay() {
    let [fixed, auto] = fixed_and_auto(WorkloadKind::DuneQueries, 4.0, 60, 11..12);
    assert!(auto.delay < 0.7 * fixed.delay, "{auto:?} {fixed:?}");
}
