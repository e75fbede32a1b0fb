//! The lives of the jobs at their services, drawn at random.

use std::time::Duration;

use jiff::Timestamp;
use jobtrack::job::State;

use super::plan::Profile;
use crate::fake_server::{JobEnd, JobPhase, JobScript, ServiceKind};

const MINUTE: u64 = 60;
/// A state that no kind knows. Dune says whether such a job has ended.
pub const UNKNOWN_STATE: &str = "DAYDREAMING";
pub const UNKNOWN_END: &str = "DAYDREAMED";

/// The name of the provider in the configuration.
pub fn provider_name(kind: ServiceKind) -> &'static str {
    match kind {
        ServiceKind::Dune => "dune",
        ServiceKind::Dli => "lake",
        ServiceKind::DataArts => "scripts",
    }
}

/// The `number`th id of a job in the form of the kind.
pub fn remote_id(kind: ServiceKind, number: u64) -> String {
    match kind {
        ServiceKind::Dune => format!("01SIM{number:021}"),
        ServiceKind::Dli => format!("208b08d4-0dc2-4dd7-8879-{number:012}"),
        ServiceKind::DataArts => format!("script{}/instance-{number}", number % 5),
    }
}

/// The state that a job of this kind has while its service reports `provider_state`.
pub fn expected_state(kind: ServiceKind, provider_state: &str) -> State {
    match kind.phase_of_state(provider_state) {
        Some(JobPhase::Pending) => State::Pending,
        Some(JobPhase::Running) => State::Running,
        Some(JobPhase::Ended(JobEnd::Completed | JobEnd::CompletedPartial)) => State::Succeeded,
        Some(JobPhase::Ended(JobEnd::Failed)) => State::Failed,
        Some(JobPhase::Ended(JobEnd::Cancelled | JobEnd::Canceled)) => State::Cancelled,
        Some(JobPhase::Ended(JobEnd::Expired)) => State::Expired,
        Some(JobPhase::Custom { .. }) | None => {
            if kind == ServiceKind::Dune && provider_state == UNKNOWN_END {
                State::Indeterminate
            } else {
                State::Unknown
            }
        }
    }
}

/// A life that begins within half an hour before or 20 minutes after `now`.
pub fn random_life(
    kind: ServiceKind,
    now: Timestamp,
    profile: Profile,
    random: &mut fastrand::Rng,
) -> JobScript {
    let span = |seconds: u64| Duration::from_secs(seconds);
    let begins = match random.u32(0..10) {
        0 => now + span(random.u64(1..20 * MINUTE)),
        1..=3 => now - span(random.u64(0..30 * MINUTE)),
        _ => now,
    };
    let mut script = JobScript::new().with_result_rows(2).submitted_at(begins);
    script = script.pending(span(random.u64(0..5 * MINUTE)));
    if random.u32(0..10) == 0 {
        let state = JobPhase::Custom { state: UNKNOWN_STATE.into(), finished: None };
        script = script.with_phase(span(random.u64(1..30 * MINUTE)), state);
    }
    script = script.running(random_run_time(profile, random));
    let completed = [JobEnd::Completed, JobEnd::Completed, JobEnd::Completed, JobEnd::Failed];
    let end = match kind {
        ServiceKind::Dune if random.u32(0..20) == 0 => {
            return script.ending_in_state(UNKNOWN_END, Some(true));
        }
        ServiceKind::Dune if random.u32(0..10) == 0 => {
            // The result expires after the job has ended.
            let lives_for = span(random.u64(1..5 * 60 * MINUTE));
            return script
                .with_phase(lives_for, JobPhase::Ended(JobEnd::Completed))
                .ending_with(JobEnd::Expired);
        }
        ServiceKind::Dune => match random.u32(0..4) {
            0 => JobEnd::CompletedPartial,
            1 => JobEnd::Canceled,
            _ => completed[random.usize(..4)],
        },
        ServiceKind::Dli if random.u32(0..5) == 0 => JobEnd::Cancelled,
        ServiceKind::Dli | ServiceKind::DataArts => completed[random.usize(..4)],
    };
    script.ending_with(end)
}

fn random_run_time(profile: Profile, random: &mut fastrand::Rng) -> Duration {
    const HOUR: u64 = 60 * MINUTE;
    let draw = match profile {
        Profile::Dense | Profile::Sparse => random.u32(0..20),
        Profile::ShortJobs => random.u32(0..10),
        Profile::LongJobs => random.u32(10..20),
    };
    let seconds = match (profile, draw) {
        (_, 0..=1) => random.u64(1..20),
        (Profile::ShortJobs, _) => random.u64(20..15 * MINUTE),
        (_, 2..=15) => random.u64(20..HOUR),
        (_, 16..=18) => random.u64(HOUR..8 * HOUR),
        // Longer than the simulation, most of the time.
        _ => random.u64(24 * HOUR..20 * 24 * HOUR),
    };
    Duration::from_secs(seconds)
}
