//! A provider that is overloaded: `Retry-After` with any status, failures of all jobs, and rate limit
//! rejections with thousands of jobs.

use std::time::Duration;

use jobtrack::job::{
    Answer, JobId, ObservedState, ProviderError, ProviderErrorKind, RateLimitInfo,
};
use jobtrack::policy::Backoff;
use jobtrack::tracker::ProviderSettings;

use super::fixtures::{
    DAY, HOUR, MINUTE, SECOND, answer_with_state, default_settings, not_found_answer,
    transient_error,
};
use super::simulation::Simulation;

fn with_retry_after(answer: Answer, seconds: u64) -> Answer {
    let retry_after = Some(Duration::from_secs(seconds));
    Answer { rate_limit: RateLimitInfo { retry_after, ..RateLimitInfo::default() }, ..answer }
}

fn failed(kind: ProviderErrorKind) -> Answer {
    Answer::failed(ProviderError::new(kind, "failed"))
}

#[test]
fn fault_61_retry_after_is_heeded_for_the_provider_whatever_the_status() {
    let answers: [fn() -> Answer; 8] = [
        || Answer::failed(transient_error()),
        || failed(ProviderErrorKind::Auth),
        || failed(ProviderErrorKind::QuotaExceeded),
        || failed(ProviderErrorKind::Misconfigured),
        || failed(ProviderErrorKind::Malformed),
        || failed(ProviderErrorKind::RateLimited),
        not_found_answer,
        || answer_with_state(ObservedState::Running),
    ];
    for answer in answers {
        // (Retry-After, the shortest wait, the longest: a rejected job may have a longer pause)
        for (seconds, shortest, longest) in [(120, 120, 121), (0, 1, 62), (2_000_000, 3600, 3601)] {
            let mut sim = Simulation::with_settings(vec![default_settings("dune")], move |_, _| {
                (100, with_retry_after(answer(), seconds))
            });
            (0..50).for_each(|_| _ = sim.add_job("dune"));
            sim.run_until(3 * HOUR);
            let wait = sim.requests[1].sent_at - sim.requests[0].answered_at.expect("answered");
            let expected = shortest * SECOND..longest * SECOND;
            assert!(expected.contains(&wait), "{:?} {seconds}: {wait} ms", answer().result);
            assert!(sim.requests.iter().skip(1).zip(&sim.requests).all(|(next, previous)| {
                previous
                    .answered_at
                    .is_some_and(|at| next.sent_at < at || next.sent_at >= at + shortest * SECOND)
            }));
        }
    }
}

#[test]
fn fault_38_no_burst_follows_a_pause() {
    let remaining = Some((0, Duration::from_mins(1)));
    let used_up = RateLimitInfo { remaining, ..RateLimitInfo::default() };
    // (the answer that causes a pause, requests per minute after it)
    let answers: [(Answer, u64); 3] = [
        (with_retry_after(failed(ProviderErrorKind::RateLimited), 60), 36),
        (with_retry_after(Answer::failed(transient_error()), 60), 60),
        (Answer { rate_limit: used_up, ..answer_with_state(ObservedState::Running) }, 60),
    ];
    for (answer, rate) in answers {
        let pause = answer.clone();
        let settings = ProviderSettings { requests_per_minute: 60, ..default_settings("dune") };
        let mut sim = Simulation::with_settings(vec![settings], move |_, at| {
            (300, if at < HOUR { pause.clone() } else { answer_with_state(ObservedState::Running) })
        });
        sim.run_until(HOUR - 10);
        (0..50).for_each(|_| _ = sim.add_job("dune"));
        sim.run_until(HOUR + 2 * MINUTE);
        let after: Vec<_> =
            sim.requests.iter().map(|request| request.sent_at).filter(|at| *at > HOUR).collect();
        assert!(after.len() > 20, "{} requests after {:?}", after.len(), answer.result);
        for pair in after.windows(2) {
            assert!(pair[1] - pair[0] >= MINUTE / rate, "{pair:?} after {:?}", answer.result);
        }
    }
}

#[test]
fn fault_39_61_a_failing_provider_is_probed_with_one_request_at_growing_intervals() {
    let (from, until) = (10 * MINUTE, 6 * HOUR);
    let mut sim = Simulation::with_settings(vec![default_settings("dune")], move |_, at| {
        let down = (from..until).contains(&at);
        let answer = if down {
            Answer::failed(transient_error())
        } else {
            answer_with_state(ObservedState::Running)
        };
        (100, answer)
    });
    (0..50).for_each(|_| _ = sim.add_job("dune"));
    sim.run_until(until);
    let probes: Vec<_> =
        sim.requests.iter().map(|polled| polled.sent_at).filter(|at| *at >= from).collect();
    let in_ten_minutes = probes.iter().filter(|at| **at < from + 10 * MINUTE).count();
    assert!(in_ten_minutes < 40, "{in_ten_minutes} requests of 50 jobs in ten minutes");
    let longest = probes.windows(2).map(|pair| pair[1] - pair[0]).max().expect("probes");
    assert!((50 * SECOND..70 * SECOND).contains(&longest), "{longest} ms");
    // When it is back, all jobs are polled soon.
    sim.run_until(until + 6 * MINUTE);
    let report = sim.provider_report("dune");
    assert_eq!((report.due_polls, report.consecutive_failures), (0, 0));
    assert!(sim.active_rows().all(|row| row.last_poll_error.is_none()));
}

#[test]
fn fault_39_a_job_that_alone_fails_for_ever_delays_no_other_job() {
    let minute = Duration::from_mins(1);
    let settings = ProviderSettings {
        backoff: Backoff { min: minute, max: minute },
        ..default_settings("dune")
    };
    let mut sim = Simulation::with_settings(vec![settings], |job, _| {
        let answer = if job == JobId(1) {
            Answer::failed(transient_error())
        } else {
            answer_with_state(ObservedState::Running)
        };
        (100, answer)
    });
    let broken = sim.add_job("dune");
    let healthy = sim.add_job("dune");
    sim.run_until(10 * MINUTE);
    let last = sim.poll_times(healthy).last().copied().expect("a poll");
    for seconds in 2..13 {
        sim.run_until(last + 4 * seconds * SECOND);
        sim.poll_on_demand(broken);
    }
    sim.run_until(last + 3 * MINUTE);
    let failed_since = sim.poll_times(broken).iter().filter(|at| **at > last).count();
    assert!(failed_since > 10, "{failed_since} failures");
    let wait = sim.poll_times(healthy).iter().find(|at| **at > last).expect("a poll") - last;
    // The interval has a jitter of a tenth.
    assert!(wait <= 68 * SECOND, "{wait} ms");
}

#[test]
fn fault_38_thousands_of_jobs_do_not_retry_together_after_a_rate_limit_rejection() {
    const JOBS: u64 = 10_000;
    // The service allows 60 requests in a calendar minute; the configuration says 600.
    let (mut minute, mut count) = (0, 0);
    let settings = ProviderSettings { max_in_flight: 16, ..default_settings("dune") };
    let mut sim = Simulation::with_settings(vec![settings], move |_, at| {
        if at / MINUTE != minute {
            (minute, count) = (at / MINUTE, 0);
        }
        count += 1;
        if count > 60 {
            return (300, failed(ProviderErrorKind::RateLimited));
        }
        (300, answer_with_state(ObservedState::Running))
    });
    sim.report_check_interval = 10_000;
    (0..JOBS).for_each(|_| _ = sim.add_job("dune"));
    sim.run_until(DAY / 2);
    let sent: Vec<_> = sim.requests.iter().map(|polled| polled.sent_at).collect();
    // The third request waits for the answer to the first, and makes up for it.
    for pair in sent[5..].windows(2) {
        assert!(pair[1] - pair[0] >= 100, "two requests at once: {pair:?}");
    }
    let answered = sim.store.values().filter(|row| row.job.polls > row.job.failed_polls).count();
    assert!(answered > 9_000, "{answered} of {JOBS} jobs answered in half a day");
    let failed: u32 = sim.store.values().map(|row| row.job.failed_polls).sum();
    let share = f64::from(failed) / f64::from(u32::try_from(sent.len()).expect("few"));
    assert!(share < 0.1, "{failed} of {} requests rejected", sent.len());
}
