//! Rejections and failures of a provider: pauses, one probe at a time, one notice at the begin and one at
//! the end of an outage, and never a change of a job's state.

use std::time::Duration;

use jobtrack::job::{
    Answer, ObservedState, OutageBoundary, ProviderError, ProviderErrorKind, RateLimitInfo,
    RateLimitPolicy,
};
use jobtrack::policy::Backoff;
use jobtrack::tracker::{Notice, ProviderSettings};

use super::fixtures::{
    DAY, HOUR, MINUTE, SECOND, answer_with_state, default_settings, transient_error,
};
use super::simulation::Simulation;

const LATENCY_MS: u64 = 500;

fn rejection(error: ProviderError, retry_after: Option<u64>) -> Answer {
    let retry_after = retry_after.map(Duration::from_secs);
    Answer {
        rate_limit: RateLimitInfo { retry_after, ..RateLimitInfo::default() },
        ..Answer::failed(error)
    }
}

fn rate_limited(retry_after: Option<u64>) -> Answer {
    rejection(ProviderError::new(ProviderErrorKind::RateLimited, "HTTP 429"), retry_after)
}

/// Twenty jobs, polled every second, of a provider that is rejecting from minute one to `until`.
fn rejecting_until(until: u64, rejection_answer: impl Fn() -> Answer + 'static) -> Simulation {
    rejecting_with_settings(Duration::from_secs(1), 20, until, rejection_answer)
}

/// The same with this number of jobs and this poll interval.
fn rejecting_with_settings(
    interval: Duration,
    jobs: usize,
    until: u64,
    rejection_answer: impl Fn() -> Answer + 'static,
) -> Simulation {
    let backoff = Backoff { min: interval, max: interval };
    let settings = ProviderSettings { backoff, ..default_settings("dune") };
    let mut sim = Simulation::with_settings(vec![settings], move |_, at| {
        let closed = (MINUTE..until).contains(&at);
        (
            LATENCY_MS,
            if closed { rejection_answer() } else { answer_with_state(ObservedState::Running) },
        )
    });
    for _ in 0..jobs {
        sim.add_job("dune");
    }
    sim
}

/// When requests were sent between the first rejection and `until`.
fn poll_times_until(sim: &Simulation, until: u64) -> Vec<u64> {
    let rejected_at =
        sim.requests.iter().find(|request| request.sent_at >= MINUTE).expect("a rejected request");
    let rejected_at = rejected_at.answered_at.expect("answered");
    let sent = sim.requests.iter().map(|request| request.sent_at);
    sent.filter(|sent| (rejected_at..until).contains(sent)).collect()
}

fn intervals_in_seconds(times: &[u64]) -> Vec<u64> {
    times.windows(2).map(|pair| (pair[1] - pair[0]) / SECOND).collect()
}

/// Panics unless no job changed and there was one notice of the outage and one of its end.
fn assert_one_notice_pair_and_no_transition(sim: &Simulation) {
    let jobs: Vec<_> = sim.store.keys().copied().collect();
    for job in jobs {
        assert_eq!(sim.state_history(job), ["registered", "running"]);
    }
    let notices: Vec<_> = sim.notices.iter().map(|(_, notice)| notice).collect();
    assert!(
        matches!(
            notices[..],
            [Notice::Paused { .. } | Notice::Failing { .. }, Notice::Recovered { .. }]
        ),
        "{notices:?}"
    );
}

#[test]
fn rate_limit_rejections_pause_the_provider_for_growing_times() {
    let until = 2 * MINUTE;
    // So few jobs that the reduced rate limit still suffices.
    let mut sim = rejecting_with_settings(Duration::from_secs(5), 5, until, || rate_limited(None));
    sim.run_until(5 * MINUTE);
    let probes = poll_times_until(&sim, until);
    assert!(probes[0] >= MINUTE + LATENCY_MS + 5 * SECOND, "{probes:?}");
    // Jitter lengthens the pauses of 10 s and 20 s by up to a fifth.
    let between = intervals_in_seconds(&probes);
    assert!((10..=12).contains(&between[0]) && (20..=24).contains(&between[1]), "{between:?}");
    assert!(probes.len() <= 4, "one probe at a time: {probes:?}");
    assert_one_notice_pair_and_no_transition(&sim);
    let late = sim.requests.iter().filter(|request| request.sent_at >= 4 * MINUTE).count();
    assert!(late > 50, "polling resumes: {late} requests in the last minute");
}

#[test]
fn a_restart_during_a_pause_is_followed_by_no_burst() {
    let settings = ProviderSettings { requests_per_minute: 60, ..default_settings("dune") };
    let mut sim = Simulation::with_new_database(vec![settings], |_, at| match at {
        ..SECOND => (50, rate_limited(Some(120))),
        _ => (50, answer_with_state(ObservedState::Running)),
    });
    sim.add_job("dune");
    sim.run_until(MINUTE);
    sim.restart_in_order();
    for _ in 0..20 {
        sim.add_job("dune");
    }
    sim.run_until(MINUTE + 5 * SECOND);
    let sent = sim.requests.iter().filter(|request| request.sent_at >= MINUTE).count();
    assert!((4..=6).contains(&sent), "{sent} requests in 5 s, 60 a minute");
}

#[test]
fn retry_after_is_honored_with_requests_in_flight() {
    let settings = ProviderSettings { max_in_flight: 4, ..default_settings("dune") };
    let mut sim = Simulation::with_settings(vec![settings], |job, at| match job.0 {
        // The first request must succeed before the others are sent.
        1 => (50, answer_with_state(ObservedState::Running)),
        2 if at < SECOND => (SECOND, rate_limited(Some(60))),
        _ => (3 * SECOND, answer_with_state(ObservedState::Running)),
    });
    for _ in 0..10 {
        sim.add_job("dune");
    }
    sim.run_until(3 * MINUTE);
    let rejected_at = sim.requests[1].answered_at.expect("answered");
    assert!(
        sim.requests[2].answered_at.is_some_and(|at| at > rejected_at),
        "the third request was in flight"
    );
    let next = sim.requests.iter().map(|request| request.sent_at).find(|sent| *sent > rejected_at);
    let pause = next.expect("another request") - rejected_at;
    assert!((MINUTE..MINUTE + SECOND).contains(&pause), "{pause} ms");
}

#[test]
fn a_rejected_credential_or_account_pauses_the_provider_for_1_5_15_and_30_minutes() {
    for kind in [
        ProviderErrorKind::Auth,
        ProviderErrorKind::QuotaExceeded,
        ProviderErrorKind::Misconfigured,
    ] {
        let until = MINUTE + 3 * HOUR;
        let mut sim =
            rejecting_until(until, move || rejection(ProviderError::new(kind, "rejected"), None));
        sim.run_until(until + 35 * MINUTE);
        let probes = poll_times_until(&sim, until);
        assert!(probes[0] - MINUTE <= SECOND, "another job is tried at once: {probes:?}");
        assert_eq!(
            intervals_in_seconds(&probes),
            [60, 300, 900, 1800, 1800, 1800, 1800, 1800],
            "the pauses in seconds"
        );
        assert_one_notice_pair_and_no_transition(&sim);
    }
}

#[test]
fn a_rejection_leaves_the_jobs_due_time_unchanged() {
    let mut count = 0;
    let mut sim = Simulation::new(move |_, _| {
        count += 1;
        (
            100,
            if count == 30 {
                rate_limited(Some(10))
            } else {
                answer_with_state(ObservedState::Running)
            },
        )
    });
    let job = sim.add_job("dune");
    sim.run_until(3 * HOUR);
    let polled = sim.poll_times(job);
    assert!(polled[29] - polled[28] > 4 * MINUTE, "the interval of the job has grown");
    assert_eq!(
        polled[30] - polled[29],
        100 + 10 * SECOND,
        "the job waits only for the pause of the provider"
    );
    assert!(polled[31] - polled[30] > 4 * MINUTE, "the interval continues as before");
}

#[test]
fn after_a_pause_one_probe_goes_out_and_no_more() {
    let mut sim = rejecting_until(HOUR, || rate_limited(Some(1)));
    sim.run_until(HOUR);
    for pair in poll_times_until(&sim, HOUR).windows(2) {
        assert!(pair[1] - pair[0] >= SECOND + LATENCY_MS, "concurrent probes: {pair:?}");
    }
}

#[test]
fn a_long_outage_is_reported_once_and_changes_no_state() {
    let until = 2 * DAY;
    let mut sim = Simulation::new(move |_, at| {
        let down = (HOUR..until).contains(&at);
        (
            LATENCY_MS,
            if down {
                Answer::failed(transient_error())
            } else {
                answer_with_state(ObservedState::Running)
            },
        )
    });
    for _ in 0..5 {
        sim.add_job("dune");
    }
    sim.run_until(until - 1);
    assert!(sim.active_rows().all(|row| row.last_poll_error.is_some()));
    assert_eq!(sim.provider_report("dune").consecutive_failures as usize, {
        let down = |sent: u64| sent >= HOUR;
        sim.requests
            .iter()
            .filter(|polled| down(polled.sent_at) && polled.answered_at.is_some())
            .count()
    });
    sim.run_until(until + HOUR);
    assert!(
        sim.active_rows().all(|row| row.last_poll_error.is_none()),
        "a successful answer clears the error"
    );
    assert_one_notice_pair_and_no_transition(&sim);
    let third = sim.requests.iter().filter(|request| request.sent_at >= HOUR).nth(2).expect("many");
    assert_eq!(
        Some(sim.notices[0].0),
        third.answered_at,
        "reported after three consecutive failures"
    );
}

#[test]
fn an_outage_is_recorded_from_its_first_failed_poll_to_the_next_good_answer() {
    let until = 2 * HOUR;
    let failures: [fn() -> Answer; 2] =
        [|| Answer::failed(transient_error()), || rate_limited(None)];
    for failure in failures {
        let mut sim = rejecting_until(until, failure);
        let start = sim.wall_time();
        sim.run_until(until + HOUR);
        let at = |ms| start.plus(Duration::from_millis(ms));
        let answered = |from: u64| {
            let first = sim.requests.iter().find(|request| request.sent_at >= from);
            first.and_then(|request| request.answered_at).expect("answered")
        };
        let failed = sim.requests.iter().filter(|polled| (MINUTE..until).contains(&polled.sent_at));
        let failed_polls = u32::try_from(failed.count()).expect("few");
        let reason = failure().result.expect_err("a failure").to_string();
        // The first successful answer after a start ends an outage that may have been left open.
        let first = OutageBoundary::Ended { at: at(answered(0)), failed_polls: 0 };
        let began = OutageBoundary::Began { at: at(answered(MINUTE)), reason };
        let ended = OutageBoundary::Ended { at: at(answered(until)), failed_polls };
        assert_eq!(sim.outages, [first, began, ended]);
        assert_eq!(sim.provider_report("dune").outage_since, None);
    }
}

#[test]
fn two_failed_polls_are_not_reported() {
    let mut count = 0;
    let mut sim = Simulation::new(move |_, _| {
        count += 1;
        (
            100,
            if count % 3 == 0 {
                answer_with_state(ObservedState::Running)
            } else {
                Answer::failed(transient_error())
            },
        )
    });
    sim.add_job("dune");
    sim.run_until(DAY);
    assert!(sim.notices.is_empty(), "{:?}", sim.notices);
}

#[test]
fn a_reload_ends_a_pause_with_a_single_probe_if_the_connection_changed() {
    for (connection_fingerprint, probes) in [(0, 0), (1, 2)] {
        let mut sim = rejecting_until(DAY, || {
            rejection(ProviderError::new(ProviderErrorKind::Auth, "HTTP 401"), None)
        });
        sim.run_until(MINUTE + 3 * SECOND);
        let before = sim.requests.len();
        assert!(sim.provider_report("dune").pause.is_some());
        let second = Duration::from_secs(1);
        let backoff = Backoff { min: second, max: second };
        for _ in 0..10 {
            let defaults = default_settings("dune");
            sim.configure(vec![ProviderSettings { backoff, connection_fingerprint, ..defaults }]);
            sim.run_until(sim.now + SECOND);
        }
        // Of the new connection another job is tried before the pause.
        assert_eq!(sim.requests.len() - before, probes, "{connection_fingerprint}");
    }
}

#[test]
fn every_exhausted_rate_limit_window_pauses_the_provider_until_reset() {
    let mut sim = Simulation::new(|_, _| {
        let left = Some((0, Duration::from_secs(20)));
        (
            100,
            Answer {
                rate_limit: RateLimitInfo { remaining: left, ..RateLimitInfo::default() },
                ..answer_with_state(ObservedState::Running)
            },
        )
    });
    for _ in 0..10 {
        sim.add_job("dune");
    }
    sim.run_until(10 * MINUTE);
    for request in &sim.requests {
        let Some(answered_at) = request.answered_at else { continue };
        let window = answered_at..answered_at + 20 * SECOND;
        let early = sim.requests.iter().find(|other| window.contains(&other.sent_at));
        assert!(
            early.is_none(),
            "a request at {:?} in {window:?}",
            early.map(|other| other.sent_at)
        );
    }
    assert!(sim.notices.is_empty(), "a used up window is no outage");
    assert!(sim.requests.len() > 20, "{}", sim.requests.len());
}

#[test]
fn an_announced_lower_limit_is_respected() {
    let quota = Some(RateLimitPolicy { requests: 10, window: Duration::from_secs(30) });
    let mut sim = Simulation::new(move |_, _| {
        (
            100,
            Answer {
                rate_limit: RateLimitInfo { quota, ..RateLimitInfo::default() },
                ..answer_with_state(ObservedState::Running)
            },
        )
    });
    for _ in 0..100 {
        sim.add_job("dune");
    }
    sim.run_until(10 * MINUTE);
    assert_eq!(sim.provider_report("dune").requests_per_minute, 20);
    sim.assert_rate_limit("dune", 20);
}
