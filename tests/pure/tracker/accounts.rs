//! Providers of one account share its rate limit and its credentials. Credentials that have not
//! succeeded are tried with one request at a time.

use std::time::Duration;

use jobtrack::job::{Answer, JobId, ObservedState, ProviderError, ProviderErrorKind};
use jobtrack::policy::Backoff;
use jobtrack::tracker::ProviderSettings;

use super::fixtures::{
    HOUR, MINUTE, SECOND, answer_with_state, default_settings, not_found_answer, transient_error,
};
use super::simulation::Simulation;

fn auth_error() -> Answer {
    Answer::failed(ProviderError::new(ProviderErrorKind::Auth, "HTTP 401"))
}

/// A rejection of a credential that has been replaced since.
fn replaced_credential() -> Answer {
    Answer { credential_replaced: true, ..auth_error() }
}

/// A provider of the account `huawei` that polls each job every second.
fn shared_account_settings(name: &str, requests_per_minute: u32) -> ProviderSettings {
    let second = Duration::from_secs(1);
    let backoff = Backoff { min: second, max: second };
    let account = Some("huawei".to_owned());
    ProviderSettings { account, requests_per_minute, backoff, ..default_settings(name) }
}

/// The same with an account of its own.
fn own_account_settings(name: &str, requests_per_minute: u32) -> ProviderSettings {
    ProviderSettings { account: None, ..shared_account_settings(name, requests_per_minute) }
}

/// Twenty jobs of `lake`, with odd numbers, and twenty of `scripts`.
fn two_providers(
    providers: Vec<ProviderSettings>,
    provider: impl FnMut(JobId, u64) -> (u64, Answer) + 'static,
) -> Simulation {
    let mut sim = Simulation::with_settings(providers, provider);
    for _ in 0..20 {
        sim.add_job("lake");
        sim.add_job("scripts");
    }
    sim
}

fn belongs_to_lake(job: JobId) -> bool {
    job.0 % 2 == 1
}

fn send_times(sim: &Simulation, provider: &str) -> Vec<u64> {
    let of = sim.requests.iter().filter(|request| request.provider == provider);
    of.map(|request| request.sent_at).collect()
}

/// Panics if the account may have received more than `limit` requests in a minute.
fn assert_combined_rate_limit(mut sim: Simulation, limit: usize) {
    sim.requests.iter_mut().for_each(|request| "huawei".clone_into(&mut request.provider));
    sim.assert_rate_limit("huawei", limit);
}

/// Panics unless each request was sent after the previous answer.
fn assert_no_concurrent_requests(sim: &Simulation) {
    for pair in sim.requests.windows(2) {
        assert!(pair[0].answered_at.is_some_and(|at| at <= pair[1].sent_at), "{pair:?}");
    }
}

#[test]
fn fault_63_a_request_whose_credential_was_replaced_is_sent_again_within_the_rate_limit() {
    let mut polls = 0;
    // Every token is used for seven requests.
    let answer = move |_, _| {
        polls += 1;
        if polls % 8 == 0 {
            (300, replaced_credential())
        } else {
            (300, answer_with_state(ObservedState::Running))
        }
    };
    let settings =
        vec![shared_account_settings("lake", 40), shared_account_settings("scripts", 40)];
    let mut sim = two_providers(settings, answer);
    sim.run_until(HOUR);
    let sent = sim.requests.len();
    assert!(sent > 39 * 60, "{sent}: the budget is used");
    assert_combined_rate_limit(sim, 40);
}

#[test]
fn a_poll_whose_credential_was_replaced_is_sent_again_at_once_and_is_no_failure() {
    let mut polls = 0;
    let answer = move |_, _| {
        polls += 1;
        if polls == 3 {
            (300, replaced_credential())
        } else {
            (300, answer_with_state(ObservedState::Running))
        }
    };
    let minute = Duration::from_mins(1);
    let backoff = Backoff { min: minute, max: minute };
    let settings = ProviderSettings { backoff, ..own_account_settings("lake", 60) };
    let mut sim = Simulation::with_settings(vec![settings], answer);
    let job = sim.add_job("lake");
    sim.run_until(10 * MINUTE);
    let times = sim.poll_times(job);
    let repeated = times[3] - times[2];
    assert!(repeated <= 2 * SECOND, "{times:?}");
    assert!(times[4] - times[3] >= 50 * SECOND, "{times:?}");
    let row = &sim.store[&job];
    assert_eq!((row.job.failed_polls, &row.last_poll_error), (0, &None));
    assert!(sim.notices.is_empty(), "{:?}", sim.notices);
}

#[test]
fn a_provider_gets_one_request_at_a_time_until_one_succeeds() {
    type ProbeCase = (&'static str, fn() -> Answer, u32);
    let cases: [ProbeCase; 4] = [
        ("successful", || answer_with_state(ObservedState::Running), 8),
        ("not found", not_found_answer, 8),
        ("transient", || Answer::failed(transient_error()), 1),
        // Another job is tried at once.
        ("rejected", auth_error, 1),
    ];
    for (what, answer, in_flight) in cases {
        let mut sim =
            Simulation::with_settings(vec![own_account_settings("lake", 600)], move |_, _| {
                (10 * SECOND, answer())
            });
        for _ in 0..20 {
            sim.add_job("lake");
        }
        sim.run_until(9 * SECOND);
        assert_eq!(sim.requests.len(), 1, "{what}: the first answer is outstanding");
        sim.run_until(19 * SECOND);
        assert_eq!(sim.provider_report("lake").in_flight, in_flight, "{what}");
    }
}

#[test]
fn reloaded_settings_are_probed_with_one_request() {
    let mut sim = Simulation::with_settings(vec![own_account_settings("lake", 600)], |_, _| {
        (10 * SECOND, answer_with_state(ObservedState::Running))
    });
    for _ in 0..20 {
        sim.add_job("lake");
    }
    sim.run_until(25 * SECOND);
    assert_eq!(sim.provider_report("lake").in_flight, 8);
    let before = sim.requests.len();
    sim.configure(vec![own_account_settings("lake", 600)]);
    // The requests in flight succeed, but they used the old key.
    sim.run_until(35 * SECOND);
    assert_eq!(sim.requests.len(), before + 1);
    let probe = sim.requests[before].sent_at;
    sim.run_until(probe + 10 * SECOND - 1);
    assert_eq!(sim.requests.len(), before + 1);
    sim.run_until(probe + 19 * SECOND);
    assert_eq!(sim.provider_report("lake").in_flight, 8);
}

#[test]
fn rejections_lower_the_rate_limit_and_it_recovers_over_time() {
    let mut count = 0;
    let mut sim =
        Simulation::with_settings(vec![own_account_settings("lake", 100)], move |_, at| {
            // Another program uses up the rate limit, twice.
            let refused = at > 5 * MINUTE && count < 2;
            count += u32::from(refused);
            let limited =
                || Answer::failed(ProviderError::new(ProviderErrorKind::RateLimited, "HTTP 429"));
            (100, if refused { limited() } else { answer_with_state(ObservedState::Running) })
        });
    for _ in 0..20 {
        sim.add_job("lake");
    }
    sim.run_until(5 * MINUTE);
    assert_eq!(sim.provider_report("lake").requests_per_minute, 100);
    sim.run_until(6 * MINUTE);
    let lowered = sim.provider_report("lake").requests_per_minute;
    assert!((25..=50).contains(&lowered), "{lowered}");
    // (minutes, range of the limit then)
    for (until, limits) in [(8, 25..=60), (10, 45..=80), (16, 100..=100)] {
        sim.run_until(until * MINUTE);
        let limit = sim.provider_report("lake").requests_per_minute;
        assert!(limits.contains(&limit), "{limit} after {until} minutes");
    }
    sim.run_until(20 * MINUTE);
    let late = send_times(&sim, "lake").into_iter().filter(|sent| *sent >= 19 * MINUTE).count();
    assert!(late >= 98, "the limit is used in full again: {late}");
}

#[test]
fn providers_of_one_account_share_the_lower_of_their_limits_fairly() {
    let providers =
        vec![shared_account_settings("lake", 30), shared_account_settings("scripts", 600)];
    let mut sim = two_providers(providers, |job, _| {
        (if belongs_to_lake(job) { 100 } else { 900 }, answer_with_state(ObservedState::Running))
    });
    sim.run_until(20 * MINUTE);
    let (lake, scripts) = (send_times(&sim, "lake").len(), send_times(&sim, "scripts").len());
    assert!(lake + scripts >= 590, "{lake} and {scripts} of 600");
    // A quarter of the selections is reserved for first polls, which one provider had sooner.
    assert!(lake.abs_diff(scripts) <= 6, "{lake} and {scripts}");
    assert_eq!(sim.provider_report("scripts").requests_per_minute, 30);
    assert_combined_rate_limit(sim, 30);
}

#[test]
fn unused_budget_is_shared_within_the_account() {
    let mut sim = Simulation::with_settings(
        vec![shared_account_settings("lake", 30), shared_account_settings("scripts", 30)],
        |_, _| (100, answer_with_state(ObservedState::Running)),
    );
    for _ in 0..20 {
        sim.add_job("lake");
    }
    sim.run_until(10 * MINUTE);
    assert!(sim.requests.len() >= 295, "{}", sim.requests.len());
}

#[test]
fn a_rejected_key_is_tried_by_one_provider_at_a_time_for_the_whole_account() {
    let until = 2 * HOUR;
    let providers =
        vec![shared_account_settings("lake", 600), shared_account_settings("scripts", 600)];
    let mut sim = two_providers(providers, move |_, at| {
        (
            500,
            if (MINUTE..until).contains(&at) {
                auth_error()
            } else {
                answer_with_state(ObservedState::Running)
            },
        )
    });
    sim.run_until(MINUTE + 2 * SECOND);
    for name in ["lake", "scripts"] {
        assert!(sim.provider_report(name).pause.is_some(), "{name} is paused");
    }
    let before = sim.requests.len();
    sim.run_until(until);
    let probes: Vec<_> = sim.requests[before..].iter().map(|request| request.sent_at).collect();
    let minutes: Vec<_> = probes.windows(2).map(|pair| (pair[1] - pair[0]) / MINUTE).collect();
    assert_eq!(minutes, [5, 15, 30, 30, 30], "one series of probes for the account");
    sim.run_until(until + HOUR);
    for name in ["lake", "scripts"] {
        let report = sim.provider_report(name);
        assert!(report.pause.is_none() && report.consecutive_failures == 0, "{name}: {report:?}");
    }
}

#[test]
fn a_wrong_key_is_never_sent_in_two_concurrent_requests() {
    let providers =
        vec![shared_account_settings("lake", 600), shared_account_settings("scripts", 600)];
    let mut sim = two_providers(providers.clone(), |_, _| (2 * SECOND, auth_error()));
    sim.run_until(30 * MINUTE);
    sim.configure(providers);
    sim.run_until(HOUR);
    assert!((4..=8).contains(&sim.requests.len()), "{:?}", sim.requests);
    assert_no_concurrent_requests(&sim);
}

#[test]
fn a_provider_that_alone_is_rejected_does_not_pause_the_others_of_its_account() {
    let providers =
        vec![shared_account_settings("lake", 60), shared_account_settings("scripts", 60)];
    let mut sim = two_providers(providers, |job, _| {
        (
            100,
            if belongs_to_lake(job) {
                auth_error()
            } else {
                answer_with_state(ObservedState::Running)
            },
        )
    });
    sim.run_until(5 * HOUR);
    assert!(send_times(&sim, "lake").len() <= 20, "the pauses of lake grow");
    let late = send_times(&sim, "scripts").into_iter().filter(|sent| *sent >= 4 * HOUR).count();
    assert!(late >= 3500, "{late} of 3600 in an hour");
}

#[test]
fn a_provider_that_changes_its_account_keeps_its_spent_budget() {
    let together =
        || vec![shared_account_settings("lake", 30), shared_account_settings("scripts", 30)];
    let apart = || vec![own_account_settings("lake", 30), shared_account_settings("scripts", 30)];
    for (first, second) in [(together(), apart()), (apart(), together())] {
        let mut sim = Simulation::with_settings(first, |_, _| {
            (10 * SECOND, answer_with_state(ObservedState::Running))
        });
        for _ in 0..20 {
            sim.add_job("lake");
        }
        sim.run_until(5 * MINUTE);
        assert!(sim.provider_report("lake").in_flight > 1, "requests are in flight");
        sim.configure(second);
        assert!(sim.provider_report("lake").requests_last_minute > 20);
        sim.run_until(10 * MINUTE);
        assert!(sim.requests.iter().any(|request| request.sent_at > 9 * MINUTE));
        sim.assert_rate_limit("lake", 30);
    }
}

#[test]
fn spent_budgets_are_added_when_accounts_merge() {
    let mut sim = two_providers(
        vec![own_account_settings("lake", 30), own_account_settings("scripts", 30)],
        |_, _| (20 * SECOND, answer_with_state(ObservedState::Running)),
    );
    sim.report_check_interval = u64::MAX;
    sim.run_until(5 * MINUTE);
    assert!(sim.provider_report("lake").in_flight > 1, "requests are in flight");
    sim.configure(vec![
        shared_account_settings("lake", 30),
        shared_account_settings("scripts", 30),
    ]);
    sim.run_until(10 * MINUTE);
    let after =
        sim.requests.iter().position(|polled| polled.sent_at >= 5 * MINUTE).expect("more requests");
    let from = sim.requests[after].sent_at;
    let counts = |request: &&super::fixtures::SimulatedRequest| {
        request.sent_at < from && request.answered_at.is_none_or(|at| at + MINUTE > from)
    };
    let spent = sim.requests[..after].iter().filter(counts).count();
    assert!(spent < 30, "{spent} requests in the minute before");
    sim.requests.drain(..after);
    assert_combined_rate_limit(sim, 30);
}

/// A job that is rejected with each credential, while other jobs are accepted with it.
#[test]
fn fault_63_a_job_whose_every_credential_is_replaced_and_rejected_fails() {
    let answer = |job: JobId, _| {
        let is_rejected = job == JobId(1);
        (
            300,
            if is_rejected {
                replaced_credential()
            } else {
                answer_with_state(ObservedState::Running)
            },
        )
    };
    let settings =
        vec![shared_account_settings("scripts", 40), shared_account_settings("lake", 40)];
    let mut sim = Simulation::with_settings(settings, answer);
    let rejected = sim.add_job("scripts");
    for _ in 0..20 {
        sim.add_job("lake");
    }
    sim.run_until(HOUR);
    let polls = sim.poll_times(rejected);
    // The first is repeated; the second and each later one is a rejection, after which the job waits longer.
    assert!((3..100).contains(&polls.len()), "{}: {polls:?}", polls.len());
    let row = &sim.store[&rejected];
    assert_eq!(row.job.failed_polls as usize, polls.len() - 1);
    assert_eq!(row.last_poll_error.as_deref(), Some("HTTP 401"));
    assert!(sim.requests.len() > 30 * 60, "{}: other jobs are polled", sim.requests.len());
}
