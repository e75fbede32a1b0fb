//! One rejected job and its neighbours: rejections of some jobs do not stop the polls of the others, and
//! rejections of all jobs pause the provider.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use jobtrack::job::{Answer, JobId, ObservedState, ProviderError, ProviderErrorKind};
use jobtrack::policy::{Backoff, LearnedPolicySettings, PollPrice};
use jobtrack::tracker::{Notice, PollPolicy, ProviderSettings};

use super::fixtures::{HOUR, MINUTE, SECOND, answer_with_state, default_settings};
use super::simulation::Simulation;

const REJECTIONS: [ProviderErrorKind; 3] =
    [ProviderErrorKind::Auth, ProviderErrorKind::Misconfigured, ProviderErrorKind::QuotaExceeded];

fn rejection(kind: ProviderErrorKind) -> Answer {
    Answer::failed(ProviderError::new(kind, "rejected"))
}

fn settings() -> ProviderSettings {
    ProviderSettings { requests_per_minute: 60, ..default_settings("dune") }
}

/// `count` jobs that are added together, of which those in `rejected` are rejected.
fn jobs_with_rejected(
    count: i64,
    rejected: impl IntoIterator<Item = i64>,
    kind: ProviderErrorKind,
) -> Simulation {
    let rejected: BTreeSet<_> = rejected.into_iter().collect();
    let mut sim = Simulation::with_settings(vec![settings()], move |job, _| {
        let answer = if rejected.contains(&job.0) {
            rejection(kind)
        } else {
            answer_with_state(ObservedState::Running)
        };
        (200, answer)
    });
    (0..count).for_each(|_| _ = sim.add_job("dune"));
    sim
}

#[test]
fn fault_60_the_good_jobs_are_polled_whatever_jobs_are_rejected() {
    // With half of the jobs rejected, the second probe may concern a rejected one too.
    let sets: [(Vec<i64>, u64); 6] = [
        (vec![1], 2),
        ((1..=5).collect(), 2),
        ((21..=25).collect(), 2),
        (vec![1, 25], 2),
        ((1..=12).collect(), 3),
        ((1..25).step_by(2).collect(), 4),
    ];
    for kind in REJECTIONS {
        for (rejected, minutes) in &sets {
            let mut sim = jobs_with_rejected(25, rejected.iter().copied(), kind);
            sim.run_until(minutes * MINUTE);
            for job in (1..=25).filter(|job| !rejected.contains(job)) {
                let seen = sim.state_history(JobId(job));
                assert_eq!(seen, ["registered", "running"], "{kind:?} {rejected:?} {job}");
            }
            // The cadence of the good ones stays: at least every five minutes.
            sim.run_until(HOUR);
            for job in (1..=25).filter(|job| !rejected.contains(job)) {
                let polled = sim.poll_times(JobId(job));
                let longest = polled.windows(2).map(|pair| pair[1] - pair[0]).max();
                assert!(longest.is_some_and(|wait| wait < 6 * MINUTE), "{rejected:?} {longest:?}");
            }
            let is_paused_once = *minutes == 4;
            assert_eq!(sim.notices.is_empty(), !is_paused_once, "{rejected:?} {:?}", sim.notices);
            assert_eq!(sim.provider_report("dune").pause, None);
        }
    }
}

#[test]
fn fault_60_a_rejected_job_is_retried_at_growing_intervals() {
    for kind in REJECTIONS {
        let mut sim = jobs_with_rejected(10, [1], kind);
        sim.run_until(2 * HOUR);
        let polled = sim.poll_times(JobId(1));
        let waits: Vec<_> = polled.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(waits.iter().any(|wait| *wait < 10 * SECOND), "{waits:?}");
        assert!(waits.iter().all(|wait| *wait < 6 * MINUTE), "{waits:?}");
        assert!(waits.last().is_some_and(|wait| *wait > 4 * MINUTE), "{waits:?}");
        assert!((20..60).contains(&polled.len()), "{kind:?}: {} polls in two hours", polled.len());
        assert_eq!(sim.state_history(JobId(1)), ["registered"]);
    }
}

#[test]
fn fault_33_60_rejections_of_all_jobs_pause_the_provider() {
    for kind in REJECTIONS {
        let mut sim = jobs_with_rejected(20, 1..=20, kind);
        sim.run_until(2 * HOUR);
        let minutes: Vec<_> = sim.requests.iter().map(|polled| polled.sent_at / MINUTE).collect();
        assert_eq!(minutes, [0, 0, 1, 6, 21, 51, 81, 111], "{kind:?}");
        let distinct: BTreeSet<_> = sim.requests.iter().map(|polled| polled.job).collect();
        assert_eq!(distinct.len(), sim.requests.len(), "a job that was not rejected is tried");
        assert!(matches!(sim.notices[..], [(_, Notice::Paused { .. })]), "{:?}", sim.notices);
    }
}

#[test]
fn fault_60_an_answered_job_is_asked_before_it_is_due_to_find_out_about_the_credentials() {
    // One job was answered and is due in an hour; a hundred others are rejected.
    let hour = Duration::from_hours(1);
    let backoff = Backoff { min: hour, max: hour };
    let settings = ProviderSettings { backoff, ..settings() };
    let mut sim = Simulation::with_settings(vec![settings], |job, _| match job.0 {
        1 => (200, answer_with_state(ObservedState::Running)),
        _ => (200, rejection(ProviderErrorKind::Misconfigured)),
    });
    let good = sim.add_job("dune");
    sim.run_until(MINUTE);
    (0..100).for_each(|_| _ = sim.add_job("dune"));
    let late = sim.now + 10 * MINUTE;
    sim.run_until(late);
    assert_eq!(sim.provider_report("dune").pause, None);
    assert_eq!(sim.requests.iter().map(|polled| polled.job).collect::<BTreeSet<_>>().len(), 101);
    assert!(sim.poll_times(good).len() > 50, "it shows each time that the provider answers");
    assert!(sim.notices.is_empty(), "{:?}", sim.notices);
}

#[test]
fn fault_60_a_new_job_does_not_wait_for_the_pause_of_a_rejected_one() {
    for kind in REJECTIONS {
        let mut sim = jobs_with_rejected(1, [1], kind);
        sim.run_until(2 * HOUR);
        let minutes: Vec<_> = sim.poll_times(JobId(1)).iter().map(|at| at / MINUTE).collect();
        assert_eq!(minutes, [0, 1, 6, 21, 51, 81, 111], "alone it pauses for growing times");
        assert!(
            sim.provider_report("dune").pause.is_some(),
            "with a single job the pause is shown"
        );
        let added_at = sim.now;
        let good = sim.add_job("dune");
        sim.run_until(added_at + 2 * SECOND);
        assert_eq!(sim.state_history(good), ["registered", "running"], "{kind:?}");
        assert_eq!(sim.provider_report("dune").pause, None);
        assert_eq!(sim.provider_report("dune").outage_since, None);
    }
}

#[test]
fn fault_33_60_jobs_added_one_by_one_do_not_use_up_the_attempts_with_a_wrong_key() {
    let mut sim = jobs_with_rejected(1, 1..=1000, ProviderErrorKind::Auth);
    for _ in 0..60 {
        sim.run_until(sim.now + MINUTE);
        sim.add_job("dune");
    }
    assert!(sim.requests.len() <= 9, "{} requests in an hour", sim.requests.len());
}

#[test]
fn fault_60_a_key_that_is_withdrawn_pauses_the_provider_with_requests_in_flight() {
    let mut sim = Simulation::with_settings(vec![default_settings("dune")], |_, at| {
        let answer = if at < MINUTE {
            answer_with_state(ObservedState::Running)
        } else {
            rejection(ProviderErrorKind::Auth)
        };
        (5 * SECOND, answer)
    });
    (0..50).for_each(|_| _ = sim.add_job("dune"));
    sim.run_until(HOUR);
    let sent: Vec<_> = sim.requests.iter().map(|polled| polled.sent_at).collect();
    let first_rejection = sent.iter().find(|at| **at >= MINUTE).expect("one") + 5 * SECOND;
    let later = sent.iter().filter(|at| **at >= first_rejection).count();
    assert!((4..=6).contains(&later), "{later} requests after the first rejection");
    assert_eq!(sim.active_rows().count(), 50);
}

#[test]
fn fault_60_rejected_jobs_hardly_delay_the_first_polls_of_the_others() {
    // Dune's default settings: every other second a request.
    let last_first_poll = |rejected: i64| {
        let policy = PollPolicy::Learned(LearnedPolicySettings {
            price: PollPrice::Fixed(Duration::from_secs(1)),
            min_interval: Duration::from_secs(1),
            enforce_max_wait: true,
        });
        let settings =
            ProviderSettings { requests_per_minute: 30, policy, ..default_settings("dune") };
        let mut sim = Simulation::with_settings(vec![settings], move |job, _| {
            let answer = if job.0 <= rejected {
                rejection(ProviderErrorKind::Misconfigured)
            } else {
                answer_with_state(ObservedState::Running)
            };
            (200, answer)
        });
        (0..20 + rejected).for_each(|_| _ = sim.add_job("dune"));
        sim.run_until(10 * MINUTE);
        let good = rejected + 1..=rejected + 20;
        good.filter_map(|job| sim.poll_times(JobId(job)).first().copied()).max().expect("polled")
    };
    let without_rejected = last_first_poll(0);
    for rejected in [1, 5, 10] {
        let delay = last_first_poll(rejected).saturating_sub(without_rejected);
        assert!(delay <= 30 * SECOND, "{rejected} rejected jobs: {delay} ms later");
    }
}

/// Job 1 is rejected once after a minute; from then on no answer tells anything about the credentials.
fn one_rejection_then(
    settings: Vec<ProviderSettings>,
    kind: ProviderErrorKind,
    inconclusive: ProviderErrorKind,
) -> Simulation {
    let mut is_rejected = false;
    Simulation::with_settings(settings, move |job, at| {
        let answer = match (job.0, at < MINUTE, is_rejected) {
            (1, false, false) => {
                is_rejected = true;
                rejection(kind)
            }
            // Even numbers belong to a second provider in one of the tests.
            (number, _, true) if number % 2 == 1 => {
                Answer::failed(ProviderError::new(inconclusive, "an HTML page"))
            }
            _ => answer_with_state(ObservedState::Running),
        };
        (100, answer)
    })
}

#[test]
fn fault_60_jobs_are_polled_when_due_after_a_probe_that_tells_nothing_about_the_credentials() {
    for kind in REJECTIONS {
        for inconclusive in [ProviderErrorKind::Malformed, ProviderErrorKind::Transient] {
            let minute = Duration::from_mins(1);
            let backoff = Backoff { min: minute, max: minute };
            let settings = ProviderSettings { backoff, ..default_settings("dune") };
            let other = ProviderSettings { backoff, ..default_settings("other") };
            let mut sim = one_rejection_then(vec![settings, other], kind, inconclusive);
            for _ in 0..10 {
                sim.add_job("dune");
                sim.add_job("other");
            }
            sim.run_until(HOUR);
            let after = sim.requests.iter().filter(|polled| polled.provider == "dune");
            let after = after.filter(|polled| polled.sent_at >= 3 * MINUTE).count();
            assert!((50..=10 * 57).contains(&after), "{kind:?} {inconclusive:?}: {after} polls");
            for job in (1..20).step_by(2) {
                let polled = sim.poll_times(JobId(job)).len();
                assert!(polled <= 61, "{kind:?} {inconclusive:?}: job {job}, {polled} polls");
            }
        }
    }
}

#[test]
fn fault_60_a_provider_in_doubt_leaves_its_account_to_the_other_providers() {
    for inconclusive in [ProviderErrorKind::Malformed, ProviderErrorKind::Transient] {
        let second = Duration::from_secs(1);
        let providers = ["lake", "scripts"].map(|name| ProviderSettings {
            account: Some("huawei".to_owned()),
            requests_per_minute: 60,
            backoff: Backoff { min: second, max: second },
            ..default_settings(name)
        });
        let mut sim =
            one_rejection_then(providers.into(), ProviderErrorKind::Misconfigured, inconclusive);
        for _ in 0..20 {
            sim.add_job("lake");
            sim.add_job("scripts");
        }
        sim.run_until(HOUR);
        for job in 1..=40 {
            let polled = sim.poll_times(JobId(job));
            let late = polled.iter().filter(|at| **at >= 10 * MINUTE).count();
            assert!(late >= 10, "{inconclusive:?}: job {job} was polled {late} times");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn fault_60_any_set_of_rejected_jobs_leaves_the_others_polled(
        rejected in proptest::collection::btree_set(1i64..=40, 0..20),
        latency in 1u64..3000,
        max_in_flight in 1u32..10,
        kind in proptest::sample::select(REJECTIONS.to_vec()),
    ) {
        let settings = ProviderSettings { max_in_flight, ..default_settings("dune") };
        let all_rejected = rejected.clone();
        let mut sim = Simulation::with_settings(vec![settings], move |job, _| {
            let answer = if all_rejected.contains(&job.0) {
                rejection(kind)
            } else {
                answer_with_state(ObservedState::Running)
            };
            (latency, answer)
        });
        (0..40).for_each(|_| _ = sim.add_job("dune"));
        // Several rejected jobs in a row pause the provider, and the first good one ends the pause.
        while sim.requests.iter().all(|polled| rejected.contains(&polled.job.0)) && sim.now < 12 * HOUR {
            sim.run_until(sim.now + MINUTE);
        }
        sim.run_until(sim.now + 10 * MINUTE);
        for job in (1..=40).filter(|job| !rejected.contains(job)) {
            prop_assert_eq!(sim.state_history(JobId(job)), ["registered", "running"], "{}", job);
        }
        // From then on a good job is known, and nothing is paused.
        let (notices, from) = (sim.notices.len(), sim.now);
        sim.run_until(from + HOUR);
        prop_assert_eq!(sim.notices.len(), notices);
        for job in (1..=40).filter(|job| !rejected.contains(job)) {
            let polled: Vec<_> =
                sim.poll_times(JobId(job)).into_iter().filter(|at| *at >= from).collect();
            let longest = polled.windows(2).map(|pair| pair[1] - pair[0]).max();
            prop_assert!(longest.is_some_and(|wait| wait < 7 * MINUTE), "{} {:?}", job, longest);
        }
        for job in &rejected {
            prop_assert_eq!(sim.state_history(JobId(*job)), ["registered"]);
        }
    }
}
