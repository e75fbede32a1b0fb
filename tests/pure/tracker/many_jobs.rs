//! Many jobs at once, with everything that goes wrong: all of them end, as they really did, and none
//! is forgotten. Seeded, so that a failure can be seen again.

use std::collections::HashMap;
use std::time::Duration;

use jobtrack::job::{Answer, Change, JobId, ObservedState, ProviderError, RateLimitInfo, State};
use jobtrack::policy::Backoff;
use jobtrack::tracker::ProviderSettings;
use proptest::prelude::*;

use super::fixtures::{Fate, HOUR, MINUTE, SECOND, not_found, settings, told, transient};
use super::simulation::Sim;

/// A job's true life at the provider.
#[derive(Debug, Clone, Copy)]
struct Life {
    starts: u64,
    ends: u64,
    end: End,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Said(ObservedState),
    /// The provider knows it until then.
    Forgotten,
    /// It runs for ever.
    Never,
}

impl Life {
    fn random(chance: &mut fastrand::Rng) -> Self {
        let starts = chance.u64(..20 * MINUTE);
        let end = match chance.u8(..100) {
            0..70 => End::Said(ObservedState::Succeeded),
            70..80 => End::Said(ObservedState::Failed),
            80..85 => End::Said(ObservedState::Cancelled),
            85..88 => End::Said(ObservedState::Expired),
            88..91 => End::Said(ObservedState::Indeterminate),
            91..95 => End::Forgotten,
            _ => End::Never,
        };
        Self { starts, ends: starts + chance.u64(..3 * HOUR), end }
    }

    fn answer(self, at: u64) -> Answer {
        match self.end {
            _ if at < self.starts => told(ObservedState::Pending),
            End::Said(said) if at >= self.ends => told(said),
            End::Forgotten if at >= self.ends => not_found(),
            End::Said(_) | End::Forgotten | End::Never => told(ObservedState::Running),
        }
    }

    /// The state in which it must be found at last, if nobody untracked it.
    fn last_state(self) -> State {
        match self.end {
            End::Said(said) => said.to_state(),
            End::Forgotten => State::Lost,
            End::Never => State::Untracked,
        }
    }
}

/// One answer in fifty is a failure of some kind.
fn failure(chance: &mut fastrand::Rng) -> Option<Answer> {
    let retry_after = chance.bool().then(|| Duration::from_secs(chance.u64(..20)));
    let refused = |error| Answer {
        rate_limit: RateLimitInfo { retry_after, ..RateLimitInfo::default() },
        ..Answer::failed(error)
    };
    match chance.u16(..1000) {
        0..14 => Some(Answer::failed(transient())),
        14..18 => Some(Answer::failed(ProviderError::Malformed("not JSON".into()))),
        18 => Some(refused(ProviderError::RateLimited("HTTP 429".into()))),
        19 if chance.u8(..5) == 0 => Some(refused(ProviderError::Auth("HTTP 401".into()))),
        _ => None,
    }
}

/// Some writes are slow, some take effect unheard. One that leaves the state as it is cannot be told
/// from one that was never written.
fn fate(luck: &mut fastrand::Rng, change: &Change) -> (u64, Fate) {
    let slow = luck.u8(..20) == 0;
    let delay = if slow { luck.u64(..MINUTE) } else { luck.u64(..50) };
    let unheard = luck.u8(..50) == 0 && change.new_state.state != change.expected_state;
    (delay, if unheard { Fate::CommitUnheard } else { Fate::Commit })
}

fn fleet(lane: ProviderSettings, jobs: i64, seed: u64) -> (Sim, HashMap<JobId, Life>) {
    let mut chance = fastrand::Rng::with_seed(seed);
    let lives: HashMap<_, _> =
        (1..=jobs).map(|number| (JobId(number), Life::random(&mut chance))).collect();
    let (known, mut luck) = (lives.clone(), chance.fork());
    let mut sim = Sim::with(vec![lane], move |job, sent| {
        let latency = luck.u64(10..2 * SECOND);
        let seen_at = sent + luck.u64(..latency);
        (latency, failure(&mut luck).unwrap_or_else(|| known[&job].answer(seen_at)))
    });
    let mut luck = chance.fork();
    sim.writes(move |change| fate(&mut luck, change));
    sim.chance = chance;
    (sim, lives)
}

/// Panics unless every job ended as it did at the provider, or was untracked by hand.
fn assert_all_ended_truly(sim: &Sim, lives: &HashMap<JobId, Life>, untracked: &[JobId]) {
    for (job, row) in &sim.store {
        let ended = row.job.current_state.state;
        let by_hand = untracked.contains(job) && ended == State::Untracked;
        assert!(ended == lives[job].last_state() || by_hand, "{job}: {ended}, {:?}", lives[job]);
        assert!(!sim.tracker.contains(*job), "{job} is still held");
        assert!(row.anomalies.is_empty(), "{job}: {:?}", row.anomalies);
        assert_eq!(row.job.next_poll_at, None, "{job} is over");
    }
    let report = sim.report("dune");
    assert_eq!((report.active_jobs, report.due_polls), (0, 0));
}

#[test]
fn ten_thousand_jobs_all_end_as_they_did_and_none_is_forgotten() {
    const JOBS: i64 = 10_000;
    let lane = ProviderSettings {
        requests_per_minute: 3000,
        max_in_flight: 64,
        give_up_after: Duration::from_hours(8),
        ..settings("dune")
    };
    let (mut sim, lives) = fleet(lane, JOBS, 20_261_122);
    sim.check_every = 5003;
    for _ in 0..JOBS {
        sim.add("dune");
    }
    let mut untracked = Vec::new();
    let mut chance = fastrand::Rng::with_seed(5);
    for quarter in 1..=8 {
        sim.run_until(quarter * 15 * MINUTE);
        for _ in 0..20 {
            let job = JobId(chance.i64(1..=JOBS));
            if chance.bool() {
                sim.poll_by_hand(job);
            } else if !sim.state(job).is_terminal() {
                sim.untrack(job);
                untracked.push(job);
            }
        }
        if quarter == 4 {
            sim.restart();
        }
    }
    sim.run_to_the_end();
    assert_all_ended_truly(&sim, &lives, &untracked);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_small_fleet_of_any_shape_ends_within_its_limits(
        seed: u64, jobs in 1i64..40, requests_per_minute in 5u32..200, max_in_flight in 1u32..10,
        min_ms in 200u64..20_000, more_ms in 0u64..600_000,
    ) {
        let min = Duration::from_millis(min_ms);
        let backoff = Backoff { min, max: min + Duration::from_millis(more_ms) };
        let give_up_after = Duration::from_hours(8);
        let lane = ProviderSettings {
            requests_per_minute, max_in_flight, backoff, give_up_after, ..settings("dune")
        };
        let (mut sim, lives) = fleet(lane, jobs, seed);
        for _ in 0..jobs {
            sim.add("dune");
            sim.run_until(sim.now + 1);
        }
        sim.run_to_the_end();
        assert_all_ended_truly(&sim, &lives, &[]);
        sim.assert_no_minute_exceeds("dune", requests_per_minute as usize);
    }
}
