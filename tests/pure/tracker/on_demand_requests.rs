//! Cancels, connection checks and polls that people order: they share the rate limit and the pauses, and
//! a flood of them sends few requests.

use std::time::Duration;

use jobtrack::job::{
    Answer, ConnectionCheck, FindingKind, JobId, ObservedState, ProviderError, ProviderErrorKind,
    RateLimitInfo,
};
use jobtrack::policy::Backoff;
use jobtrack::tracker::{Action, Input, ProviderSettings, RequestRefusal};

use super::fixtures::{
    HOUR, MINUTE, SECOND, answer_with_state, connection_check, default_settings,
};
use super::simulation::Simulation;

fn auth_error() -> ProviderError {
    ProviderError::new(ProviderErrorKind::Auth, "HTTP 401")
}

/// A provider with 30 requests a minute and `jobs` jobs, which rejects all requests if `rejects`.
fn provider(jobs: usize, rejects: bool) -> Simulation {
    let settings = ProviderSettings { requests_per_minute: 30, ..default_settings("dune") };
    let mut sim = Simulation::with_settings(vec![settings], move |_, _| {
        let answer = || answer_with_state(ObservedState::Running);
        (100, if rejects { Answer::failed(auth_error()) } else { answer() })
    });
    (0..jobs).for_each(|_| _ = sim.add_job("dune"));
    sim
}

fn order_check(sim: &mut Simulation) {
    sim.handle(Input::CheckConnection("dune".parse().expect("a name")));
}

fn order_cancel(sim: &mut Simulation, job: i64) {
    sim.handle(Input::Cancel("dune".parse().expect("a name"), JobId(job)));
}

fn sent_checks(sim: &Simulation) -> usize {
    sim.ordered.iter().filter(|(_, action)| matches!(action, Action::CheckConnection(_))).count()
}

fn sent_cancels(sim: &Simulation) -> Vec<(u64, JobId)> {
    let cancels = sim.ordered.iter().filter_map(|(at, action)| match action {
        Action::Cancel(_, job) => Some((*at, *job)),
        _ => None,
    });
    cancels.collect()
}

/// Runs for `duration`, and answers each check a second after it was sent.
fn run_answering_checks(sim: &mut Simulation, duration: u64, finding: FindingKind) {
    let until = sim.now + duration;
    while sim.now < until {
        let answered = sent_checks(sim);
        order_check(sim);
        sim.run_until(sim.now + SECOND);
        if sent_checks(sim) > answered {
            sim.finish_check("dune", finding);
        }
    }
}

#[test]
fn fault_62_a_flood_of_checks_shares_one_request() {
    let mut sim = provider(0, false);
    sim.run_until(MINUTE);
    (0..2000).for_each(|_| order_check(&mut sim));
    assert_eq!(sent_checks(&sim), 1);
    sim.finish_check("dune", FindingKind::Ok);
    (0..2000).for_each(|_| order_check(&mut sim));
    let shared = |(_, action): &&(u64, Action)| matches!(action, Action::ShareConnectionCheck(..));
    assert_eq!(sim.ordered.iter().filter(shared).count(), 2000);
    // A check every second for ten minutes.
    let before = sent_checks(&sim);
    run_answering_checks(&mut sim, 10 * MINUTE, FindingKind::Ok);
    let sent = sent_checks(&sim) - before;
    assert!((80..=120).contains(&sent), "{sent} in ten minutes: one in about five seconds");
}

#[test]
fn fault_62_rejected_checks_are_repeated_after_growing_times() {
    for finding in
        [FindingKind::InvalidCredentials, FindingKind::PermissionDenied, FindingKind::WrongEndpoint]
    {
        let mut sim = provider(0, true);
        sim.run_until(MINUTE);
        run_answering_checks(&mut sim, HOUR, finding);
        assert_eq!(sent_checks(&sim), 5, "{finding:?}: at 0, 1, 6, 21 and 51 minutes");
        // A reload that changes nothing changes nothing here; a new credential is checked at once.
        for (connection_fingerprint, sent) in [(0, 5), (1, 6)] {
            let defaults = default_settings("dune");
            sim.configure(vec![ProviderSettings { connection_fingerprint, ..defaults }]);
            order_check(&mut sim);
            sim.run_until(sim.now + MINUTE / 2);
            assert_eq!(sent_checks(&sim), sent, "{finding:?}");
        }
    }
}

#[test]
fn fault_62_one_check_is_sent_in_a_pause_and_ends_it_or_changes_nothing() {
    for (finding, paused) in [(FindingKind::InvalidCredentials, true), (FindingKind::Ok, false)] {
        for (jobs, minutes) in [(20, 0), (20, 30), (1, 0), (1, 30)] {
            let mut sim = provider(jobs, true);
            sim.run_until(minutes * MINUTE + 30 * SECOND);
            let pause = sim.provider_report("dune").pause;
            assert!(pause.is_some());
            for _ in 0..50 {
                order_check(&mut sim);
            }
            assert_eq!(sent_checks(&sim), 1);
            sim.finish_check("dune", finding);
            (0..50).for_each(|_| order_check(&mut sim));
            assert_eq!(sent_checks(&sim), 1);
            let pause_after = sim.provider_report("dune").pause;
            let (polls, at) = (sim.requests.len(), sim.now);
            if paused {
                assert_eq!(pause_after, pause, "a rejected check does not lengthen the pause");
                // Also in a long pause, who has corrected the cause can check it.
                run_answering_checks(&mut sim, 5 * MINUTE, finding);
                assert_eq!(sent_checks(&sim), 2, "{jobs} {minutes}");
            } else {
                assert_eq!(pause_after, None);
                sim.run_until(at + 2 * SECOND);
                assert!(sim.requests.len() > polls, "{jobs} {minutes}: polls resume at once");
            }
        }
    }
}

#[test]
fn fault_62_cancels_keep_to_the_rate_limit_one_at_a_time() {
    let mut sim = provider(60, false);
    sim.run_until(MINUTE);
    (1..=60).for_each(|job| order_cancel(&mut sim, job));
    (1..=60).for_each(|job| order_cancel(&mut sim, job));
    let mut answered = 0;
    while sim.now < 4 * MINUTE {
        let sent = sent_cancels(&sim);
        assert!(sent.len() <= answered + 1, "one at a time");
        if sent.len() > answered {
            sim.finish_cancel(sent[answered].1, Ok(()));
            answered += 1;
        }
        sim.run_until(sim.now + 500);
    }
    let sent = sent_cancels(&sim);
    assert_eq!(sent.len(), 60, "each job is cancelled once");
    for pair in sent.windows(2) {
        assert!(pair[1].0 - pair[0].0 >= 2 * SECOND, "{pair:?}");
    }
}

#[test]
fn fault_62_cancels_are_refused_during_a_pause_and_beyond_the_queue() {
    let mut sim = provider(200, true);
    sim.run_until(30 * SECOND);
    (1..=50).for_each(|job| order_cancel(&mut sim, job));
    assert!(sent_cancels(&sim).is_empty());
    let paused = |(_, action): &&(u64, Action)| matches!(action, Action::RefuseCancel(_, _, RequestRefusal::Paused(pause)) if pause.reason.is_some());
    assert_eq!(sim.ordered.iter().filter(paused).count(), 50);

    let mut sim = provider(200, false);
    sim.run_until(20 * SECOND);
    (1..=200).for_each(|job| order_cancel(&mut sim, job));
    let full = |(_, action): &&(u64, Action)| {
        matches!(action, Action::RefuseCancel(_, _, RequestRefusal::QueueFull))
    };
    assert_eq!(sim.ordered.iter().filter(full).count() + 100 + sent_cancels(&sim).len(), 200);
    // The provider is removed: the others are not left waiting.
    sim.configure(Vec::new());
    let refused = |(_, action): &&(u64, Action)| {
        matches!(action, Action::RefuseCancel(_, _, RequestRefusal::ProviderRemoved))
    };
    assert_eq!(sim.ordered.iter().filter(refused).count(), 100);
}

#[test]
fn fault_62_a_rejected_cancel_is_followed_by_a_poll_before_the_next_cancel() {
    for rejects in [true, false] {
        let mut sim = provider(5, false);
        sim.run_until(MINUTE);
        if rejects {
            sim = provider(5, true);
        }
        (1..=5).for_each(|job| order_cancel(&mut sim, job));
        let mut answered = 0;
        while sim.now < 2 * MINUTE {
            let sent = sent_cancels(&sim);
            if sent.len() > answered {
                let polls = sim.requests.len();
                sim.finish_cancel(sent[answered].1, Err(auth_error()));
                answered += 1;
                sim.run_until(sim.now + 5 * SECOND);
                assert!(sim.requests.len() > polls, "a poll shows whether the key is rejected");
            }
            sim.run_until(sim.now + 100);
        }
        let sent = sent_cancels(&sim).len();
        assert!(if rejects { sent <= 2 } else { sent == 5 }, "{rejects}: {sent} cancels");
    }
}

#[test]
fn fault_62_a_poll_on_demand_is_refused_while_its_job_would_wait_for_a_pause() {
    let mut sim = provider(20, true);
    sim.run_until(30 * SECOND);
    let dune = "dune".parse().expect("a name");
    let now = jobtrack::job::MonotonicTime::from_millis(sim.now);
    for job in [1, 20, 999] {
        let refusal = sim.tracker.poll_refusal(&dune, JobId(job), now);
        assert!(matches!(refusal, Some(RequestRefusal::Paused(_))), "{job}: {refusal:?}");
    }
    // A rejected job among good ones waits; another does not.
    let mut sim = Simulation::new(|job, _| match job.0 {
        1 => (100, Answer::failed(auth_error())),
        _ => (100, answer_with_state(ObservedState::Running)),
    });
    (0..3).for_each(|_| _ = sim.add_job("dune"));
    let mut refusals = Vec::new();
    while sim.now < MINUTE {
        sim.run_until(sim.now + 100);
        let now = jobtrack::job::MonotonicTime::from_millis(sim.now);
        refusals.extend(sim.tracker.poll_refusal(&dune, JobId(1), now));
        assert_eq!(sim.tracker.poll_refusal(&dune, JobId(2), now), None);
    }
    assert!(!refusals.is_empty());
    let is_own = |refusal: &RequestRefusal| matches!(refusal, RequestRefusal::JobPaused(_));
    assert!(refusals.iter().all(is_own), "{refusals:?}");
}

#[test]
fn fault_62_a_rejected_job_does_not_hold_up_the_polls_on_demand_behind_it() {
    for others in [ProviderErrorKind::Malformed, ProviderErrorKind::Transient] {
        let mut sim = Simulation::new(move |job, _| match job.0 {
            1 => (100, Answer::failed(auth_error())),
            // No success ends the pause of the first job.
            _ => (100, Answer::failed(ProviderError::new(others, "unreadable"))),
        });
        (0..3).for_each(|_| _ = sim.add_job("dune"));
        sim.run_until(8 * MINUTE);
        let ordered_at = sim.now;
        (1..=3).for_each(|job| sim.poll_on_demand(JobId(job)));
        sim.run_until(ordered_at + 2 * SECOND);
        let was_polled =
            |job| sim.poll_times(JobId(job)).last().is_some_and(|at| *at >= ordered_at);
        assert_eq!([1, 2, 3].map(was_polled), [false, true, true], "{others:?}");
        // The rejected job is polled when its pause ends.
        sim.run_until(ordered_at + 30 * MINUTE);
        let first = sim.poll_times(JobId(1));
        assert!(first.last().is_some_and(|at| *at >= ordered_at), "{others:?}: {first:?}");
    }
}

/// How long no request is sent after the answer to a cancel (`check` is none) or to a check, which says
/// `Retry-After: 60`.
fn pause_after(result: Result<(), ProviderError>, check: Option<FindingKind>) -> u64 {
    let retry_after = Some(Duration::from_mins(1));
    let rate_limit = RateLimitInfo { retry_after, ..RateLimitInfo::default() };
    let settings = ProviderSettings {
        backoff: Backoff { min: Duration::from_secs(1), max: Duration::from_secs(1) },
        ..default_settings("dune")
    };
    let answer = |_, _| (100, answer_with_state(ObservedState::Running));
    let mut sim = Simulation::with_settings(vec![settings], answer);
    (0..5).for_each(|_| _ = sim.add_job("dune"));
    sim.run_until(MINUTE);
    if let Some(finding) = check {
        order_check(&mut sim);
        sim.run_until(sim.now + 5 * SECOND);
        assert_eq!(sent_checks(&sim), 1);
        sim.finish_connection_check(
            "dune",
            ConnectionCheck { rate_limit, ..connection_check(finding) },
        );
    } else {
        order_cancel(&mut sim, 1);
        sim.run_until(sim.now + 5 * SECOND);
        assert_eq!(sent_cancels(&sim).len(), 1);
        sim.finish_cancel_with_answer(
            JobId(1),
            Answer { rate_limit, ..Answer::from_result(result) },
        );
    }
    let answered_at = sim.now;
    sim.run_until(answered_at + 3 * MINUTE);
    let next = sim.requests.iter().map(|polled| polled.sent_at).find(|sent| *sent > answered_at);
    next.expect("polling resumes") - answered_at
}

#[test]
fn a_cancel_or_a_check_whose_credential_was_replaced_is_sent_again_once() {
    let mut sim = provider(3, false);
    sim.run_until(MINUTE);
    order_cancel(&mut sim, 1);
    sim.run_until(sim.now + 5 * SECOND);
    let replaced = || Answer { credential_replaced: true, ..Answer::failed(auth_error()) };
    sim.finish_cancel_with_answer(JobId(1), replaced());
    sim.run_until(sim.now + 5 * SECOND);
    assert_eq!(sent_cancels(&sim).len(), 2);
    sim.finish_cancel(JobId(1), Ok(()));
    order_check(&mut sim);
    sim.run_until(sim.now + 5 * SECOND);
    assert_eq!(sent_checks(&sim), 1);
    let replaced_check = || ConnectionCheck {
        credential_replaced: true,
        ..connection_check(FindingKind::InvalidCredentials)
    };
    sim.finish_connection_check("dune", replaced_check());
    sim.run_until(sim.now + 5 * SECOND);
    assert_eq!(sent_checks(&sim), 2);
    sim.finish_check("dune", FindingKind::Ok);
    sim.run_until(sim.now + MINUTE);
    assert_eq!((sent_checks(&sim), sent_cancels(&sim).len()), (2, 2));
    assert_eq!(replies(&sim), [Ok(()), Ok(())]);
    // If the new credential is rejected too, the caller gets the rejection.
    order_cancel(&mut sim, 2);
    for _ in 0..2 {
        sim.run_until(sim.now + 5 * SECOND);
        sim.finish_cancel_with_answer(JobId(2), replaced());
    }
    order_check(&mut sim);
    for _ in 0..2 {
        sim.run_until(sim.now + 5 * SECOND);
        sim.finish_connection_check("dune", replaced_check());
    }
    sim.run_until(sim.now + MINUTE);
    assert_eq!((sent_checks(&sim), sent_cancels(&sim).len()), (4, 4));
    let rejected = || Err("HTTP 401".to_owned());
    assert_eq!(replies(&sim)[2..], [rejected(), rejected()]);
}

/// What the callers of cancels and connection checks were told.
fn replies(sim: &Simulation) -> Vec<Result<(), String>> {
    let replies = sim.ordered.iter().filter_map(|(_, action)| match action {
        Action::ReplyToCancel(_, result) => Some(result.clone().map_err(|error| error.message)),
        Action::ReplyToConnectionCheck(_, check) if check.is_ok() => Some(Ok(())),
        Action::ReplyToConnectionCheck(_, check) => Some(Err(check.finding.detail.clone())),
        _ => None,
    });
    replies.collect()
}

#[test]
fn fault_61_retry_after_in_the_answer_to_a_cancel_or_a_check_pauses_all_requests() {
    let error = |kind| Err(ProviderError::new(kind, "try again later"));
    let cancels = [
        Ok(()),
        error(ProviderErrorKind::Transient),
        error(ProviderErrorKind::RateLimited),
        error(ProviderErrorKind::Auth),
        error(ProviderErrorKind::QuotaExceeded),
        error(ProviderErrorKind::NotFound),
        error(ProviderErrorKind::Malformed),
    ];
    let checks = [
        FindingKind::Ok,
        FindingKind::ServiceError,
        FindingKind::RateLimited,
        FindingKind::InvalidCredentials,
        FindingKind::QuotaExceeded,
        FindingKind::UnrecognizedAnswer,
    ];
    let cancels = cancels.into_iter().map(|result| (result, None));
    for (result, check) in cancels.chain(checks.into_iter().map(|finding| (Ok(()), Some(finding))))
    {
        let pause = pause_after(result.clone(), check);
        assert!((MINUTE..MINUTE + 2 * SECOND).contains(&pause), "{result:?} {check:?}: {pause}");
    }
}

#[test]
fn fault_62_the_number_of_polls_on_demand_that_wait_is_bounded() {
    let mut sim = provider(300, false);
    sim.run_until(10 * SECOND);
    let dune = "dune".parse().expect("a name");
    let mut refused = 0;
    for job in 1..=300 {
        let now = jobtrack::job::MonotonicTime::from_millis(sim.now);
        match sim.tracker.poll_refusal(&dune, JobId(job), now) {
            Some(refusal) => {
                assert_eq!(refusal, RequestRefusal::QueueFull);
                refused += 1;
            }
            None => sim.poll_on_demand(JobId(job)),
        }
    }
    assert!((190..=200).contains(&refused), "{refused}");
}
