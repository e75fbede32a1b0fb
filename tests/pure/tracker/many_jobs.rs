//! Many jobs with random failures of polls and writes: every job reaches its true final state and is
//! then no longer tracked. The random numbers are seeded, so that a failure is reproducible.

use std::collections::HashMap;
use std::time::Duration;

use jobtrack::job::{
    Answer, Change, JobId, ObservedState, ProviderError, ProviderErrorKind, RateLimitInfo, State,
};
use jobtrack::policy::Backoff;
use jobtrack::tracker::ProviderSettings;
use proptest::prelude::*;

use super::fixtures::{
    HOUR, MINUTE, SECOND, WriteOutcome, answer_with_state, default_settings, not_found_answer,
    transient_error,
};
use super::simulation::Simulation;

#[test]
fn jobs_stay_tracked_while_most_others_are_untracked() {
    let mut sim = Simulation::new(|_, _| (50, answer_with_state(ObservedState::Running)));
    let jobs: Vec<_> = (0..1100).map(|_| sim.add_job("dune")).collect();
    let is_kept = |job: &JobId| job.0 % 5 == 2;
    jobs.iter().filter(|job| !is_kept(job)).for_each(|job| sim.untrack(*job));
    sim.run_until(SECOND);
    for job in &jobs {
        assert_eq!(sim.tracker.contains(*job), is_kept(job), "{job}");
    }
}

/// The true course of a job at the provider.
#[derive(Debug, Clone, Copy)]
struct TrueJob {
    starts_at: u64,
    ends_at: u64,
    end: TrueEnd,
}

#[derive(Debug, Clone, Copy)]
enum TrueEnd {
    Reported(ObservedState),
    /// The provider reports "not found" from then on.
    Forgotten,
    /// The job never ends.
    Never,
}

impl TrueJob {
    fn random(rng: &mut fastrand::Rng) -> Self {
        let starts_at = rng.u64(..20 * MINUTE);
        let end = match rng.u8(..100) {
            0..70 => TrueEnd::Reported(ObservedState::Succeeded),
            70..80 => TrueEnd::Reported(ObservedState::Failed),
            80..85 => TrueEnd::Reported(ObservedState::Cancelled),
            85..88 => TrueEnd::Reported(ObservedState::Expired),
            88..91 => TrueEnd::Reported(ObservedState::Indeterminate),
            91..95 => TrueEnd::Forgotten,
            _ => TrueEnd::Never,
        };
        Self { starts_at, ends_at: starts_at + rng.u64(..3 * HOUR), end }
    }

    fn answer(self, at: u64) -> Answer {
        match self.end {
            _ if at < self.starts_at => answer_with_state(ObservedState::Pending),
            TrueEnd::Reported(observed) if at >= self.ends_at => answer_with_state(observed),
            TrueEnd::Forgotten if at >= self.ends_at => not_found_answer(),
            TrueEnd::Reported(_) | TrueEnd::Forgotten | TrueEnd::Never => {
                answer_with_state(ObservedState::Running)
            }
        }
    }

    /// The final state of the job unless a user untracks it.
    fn expected_final_state(self) -> State {
        match self.end {
            TrueEnd::Reported(observed) => observed.to_state(),
            TrueEnd::Forgotten => State::Lost,
            TrueEnd::Never => State::Untracked,
        }
    }
}

/// About one answer in fifty is a failure.
fn random_failure(rng: &mut fastrand::Rng) -> Option<Answer> {
    let retry_after = rng.bool().then(|| Duration::from_secs(rng.u64(..20)));
    let refused = |error| Answer {
        rate_limit: RateLimitInfo { retry_after, ..RateLimitInfo::default() },
        ..Answer::failed(error)
    };
    match rng.u16(..1000) {
        0..14 => Some(Answer::failed(transient_error())),
        14..18 => {
            Some(Answer::failed(ProviderError::new(ProviderErrorKind::Malformed, "not JSON")))
        }
        18 => Some(refused(ProviderError::new(ProviderErrorKind::RateLimited, "HTTP 429"))),
        19 if rng.u8(..5) == 0 => {
            Some(refused(ProviderError::new(ProviderErrorKind::Auth, "HTTP 401")))
        }
        _ => None,
    }
}

/// Some writes are slow, and some commits are not reported. A change that keeps the state is always
/// reported, because the tracker could not tell whether it was written.
fn random_write_outcome(rng: &mut fastrand::Rng, change: &Change) -> (u64, WriteOutcome) {
    let slow = rng.u8(..20) == 0;
    let delay = if slow { rng.u64(..MINUTE) } else { rng.u64(..50) };
    let unheard = rng.u8(..50) == 0 && change.new_state.state() != change.expected_state;
    (delay, if unheard { WriteOutcome::CommittedUnacknowledged } else { WriteOutcome::Committed })
}

fn simulate_jobs(
    settings: ProviderSettings,
    jobs: i64,
    seed: u64,
) -> (Simulation, HashMap<JobId, TrueJob>) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let true_jobs: HashMap<_, _> =
        (1..=jobs).map(|number| (JobId(number), TrueJob::random(&mut rng))).collect();
    let (known, mut luck) = (true_jobs.clone(), rng.fork());
    let mut sim = Simulation::with_settings(vec![settings], move |job, sent| {
        let latency = luck.u64(10..2 * SECOND);
        let seen_at = sent + luck.u64(..latency);
        (latency, random_failure(&mut luck).unwrap_or_else(|| known[&job].answer(seen_at)))
    });
    let mut luck = rng.fork();
    sim.set_write_outcome(move |change| random_write_outcome(&mut luck, change));
    sim.rng = rng;
    (sim, true_jobs)
}

/// Panics unless every job is in its true final state or was untracked by a user.
fn assert_all_finished_correctly(
    sim: &Simulation,
    true_jobs: &HashMap<JobId, TrueJob>,
    untracked: &[JobId],
) {
    for (job, row) in &sim.store {
        let ended = row.job.current_state.state();
        let by_hand = untracked.contains(job) && ended == State::Untracked;
        assert!(
            ended == true_jobs[job].expected_final_state() || by_hand,
            "{job}: {ended}, {:?}",
            true_jobs[job]
        );
        assert!(!sim.tracker.contains(*job), "{job} is still tracked");
        assert!(row.anomalies.is_empty(), "{job}: {:?}", row.anomalies);
        assert_eq!(row.job.next_poll_at, None, "{job} is terminal");
    }
    let report = sim.provider_report("dune");
    assert_eq!((report.active_jobs, report.due_polls), (0, 0));
}

#[test]
fn ten_thousand_jobs_all_reach_their_true_final_state() {
    const JOBS: i64 = 10_000;
    let settings = ProviderSettings {
        requests_per_minute: 3000,
        max_in_flight: 64,
        give_up_after: Duration::from_hours(8),
        ..default_settings("dune")
    };
    let (mut sim, true_jobs) = simulate_jobs(settings, JOBS, 20_261_122);
    sim.report_check_interval = 5003;
    for _ in 0..JOBS {
        sim.add_job("dune");
    }
    let mut untracked = Vec::new();
    let mut rng = fastrand::Rng::with_seed(5);
    for quarter in 1..=8 {
        sim.run_until(quarter * 15 * MINUTE);
        for _ in 0..20 {
            let job = JobId(rng.i64(1..=JOBS));
            if rng.bool() {
                sim.poll_on_demand(job);
            } else if !sim.state(job).is_terminal() {
                sim.untrack(job);
                untracked.push(job);
            }
        }
        if quarter == 4 {
            sim.restart();
        }
    }
    sim.run_until_all_finished();
    assert_all_finished_correctly(&sim, &true_jobs, &untracked);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_small_set_of_jobs_finishes_within_its_limits(
        seed: u64, jobs in 1i64..40, requests_per_minute in 5u32..200, max_in_flight in 1u32..10,
        min_ms in 200u64..20_000, more_ms in 0u64..600_000,
    ) {
        let min = Duration::from_millis(min_ms);
        let backoff = Backoff { min, max: min + Duration::from_millis(more_ms) };
        let give_up_after = Duration::from_hours(8);
        let settings = ProviderSettings {
            requests_per_minute, max_in_flight, backoff, give_up_after, ..default_settings("dune")
        };
        let (mut sim, true_jobs) = simulate_jobs(settings, jobs, seed);
        for _ in 0..jobs {
            sim.add_job("dune");
            sim.run_until(sim.now + 1);
        }
        sim.run_until_all_finished();
        assert_all_finished_correctly(&sim, &true_jobs, &[]);
        sim.assert_rate_limit("dune", requests_per_minute as usize);
    }
}
